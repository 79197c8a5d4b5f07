"""A request to stop that a signal makes, and the exception that carries it out."""

import signal
from types import FrameType


class Stopped(BaseException):
    """The worker was asked to stop; not an Exception, so that no adapter swallows it."""


class Stop:
    """A request to stop, as SIGTERM and SIGINT make it.

    Training leaves at the next step, with a checkpoint; everything else leaves at once, for its
    unit is short. A second signal leaves at once always.
    """

    def __init__(self) -> None:
        self.requested = False
        self.gracefully = False
        self.saving = False
        self.number = signal.SIGTERM

    def install(self) -> None:
        """Makes SIGTERM and SIGINT ask for a stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        self.number = signal.Signals(number)
        if self.requested or not self.gracefully:
            self.requested = True
            raise Stopped
        self.requested = True

    def save(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal by asking for a checkpoint at the next step, and for nothing else."""
        self.saving = True

    def check(self) -> None:
        """Raises :class:`Stopped` if a stop was asked for."""
        if self.requested:
            raise Stopped
