"""Exit statuses: all done; some rows failed or something is missing; a wrong suite or command."""

DONE, FAILED, WRONG = 0, 1, 2
