"""How readers of a user's files refuse them."""


class InputError(ValueError):
    """A file or folder of the user is not what it should be; the message says all: where, what is
    wrong and what to do, so that a failed job shows it without a traceback.
    """


class MissingError(InputError, FileNotFoundError):
    """A file or folder of the user is not there."""
