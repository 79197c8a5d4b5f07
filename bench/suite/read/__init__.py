"""The sections of a suite file, each read by a module of its own; standard library only."""
