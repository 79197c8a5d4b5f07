"""What a check of a plugin found, and how a check that raises becomes a finding."""

import traceback
from collections.abc import Callable, Iterator

from bench.frozen import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of ``check``.

    Args:
        what: What was checked.
        right: Whether it is as it should be; None if it was not or cannot be checked.
        found: What was found, numbers included.
    """

    what: str
    right: bool | None
    found: str


def findings(what: str, check: Callable[[], Iterator[Finding]], file: str) -> Iterator[Finding]:
    """Yields the findings of a check; an exception ends it as one that FAILED.

    Args:
        what: What the check is of.
        file: The plugin, whose line is named if the exception came through it.
    """
    try:
        yield from check()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        place = f" (line {lines[-1]} of the file)" if lines else ""
        text = str(error).splitlines()[0] if str(error) else "no message"
        yield Finding(what, False, f"{type(error).__name__}: {text}{place}")
