"""The harness: specs, files, jobs, metrics and tables. It names no network, no SDE and no paper."""
