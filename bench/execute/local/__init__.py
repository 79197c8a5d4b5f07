"""Jobs on this machine: a driver and its workers."""
