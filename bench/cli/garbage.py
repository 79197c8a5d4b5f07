"""Planning without the garbage collector: it would look at every object of a large plan again and
again, a fifth of the time, and find nothing to collect.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Switches the collection of cycles off while a block or a function runs."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def end_uncollected() -> None:
    """Lets this process end without a last collection, for a command that leaves nothing open."""
    atexit.register(gc.freeze)
