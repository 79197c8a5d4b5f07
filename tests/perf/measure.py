"""How a row of the table is measured: this project and a peer by turns in one process, so that what
else the machine does meets both alike; the median of the pairs' ratios counts, never the seconds.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

MOST_SECONDS = 30.0
"""Of a measurement, after which no more repeats are begun."""


@dataclass(kw_only=True)
class Row:
    """A row of the table.

    Args:
        work: What is measured.
        peer: What it is measured against.
        figure: The number that the goal is about.
        low, high: Its quartiles over the pairs of repeats; None of a single measurement.
        unit: Of the figure.
        goal: What it should be.
        higher: Whether more is better.
        ours, theirs: Medians, in ``measure``.
        measure: What they are: "CPU s", "NFE".
        repeats: Pairs.
        threads: Of both.
        share: Of the 3x3 convolution's rate, measured in the same process; None if it says nothing.
        note: What else to know.
    """

    work: str
    peer: str
    figure: float
    goal: float | None
    higher: bool = True
    unit: str = "x"
    low: float | None = None
    high: float | None = None
    ours: float | None = None
    theirs: float | None = None
    measure: str = "CPU s"
    repeats: int = 1
    threads: int = 1
    share: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.goal is None:
            return None
        return self.figure >= self.goal if self.higher else self.figure <= self.goal

    def plain(self) -> dict[str, Any]:
        """Returns the row as plain values."""
        return {**asdict(self), "reached": self.reached}


@dataclass
class Turns:
    """Seconds of two things that were run by turns."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        """Ours and theirs."""
        return statistics.median(self.ours), statistics.median(self.theirs)

    def row(
        self, work: str, peer: str, goal: float | None, *, faster: bool = True, **more: Any
    ) -> Row:
        """Returns the row whose figure is how many times as fast as the peer this project is, or,
        if not ``faster``, how many times as long it takes.
        """
        ours, theirs = self.medians
        ratios = [b / a if faster else a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        low, figure, high = statistics.quantiles(ratios, n=4, method="inclusive")
        facts = {"ours": ours, "theirs": theirs, "repeats": len(self.ours)}
        return Row(
            work=work,
            peer=peer,
            figure=figure,
            goal=goal,
            higher=faster,
            low=low,
            high=high,
            **{**facts, **more},
        )


def by_turns(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    pairs: int = 7,
    least: int = 3,
    seconds: float = MOST_SECONDS,
    clock: Callable[[], float] = time.process_time,
    warm: bool = True,
) -> Turns:
    """Runs two things by turns and times them.

    Args:
        pairs: How often, at most.
        least: How often at least, however long it takes.
        seconds: After which no more pairs are begun.
        clock: The CPU time of this process, which a busy machine stretches least.
        warm: Whether both are run once before, untimed.
    """
    if warm:
        ours()
        theirs()
    turns, begin = Turns(), time.monotonic()
    for k in range(pairs):
        if k >= least and time.monotonic() - begin > seconds:
            break
        order = [(ours, turns.ours), (theirs, turns.theirs)]
        for run, found in order if k % 2 == 0 else reversed(order):
            start = clock()
            run()
            found.append(clock() - start)
    return turns


def convolution_rate(clock: Callable[[], float] = time.process_time, repeats: int = 5) -> float:
    """Returns the FLOPs per second of the fastest 3x3 convolution in float32 among those of the
    CIFAR-10 networks, either memory layout, each at its best.
    """
    rates = []
    for channels, size in ((128, 32), (256, 16)):
        weight = torch.randn(channels, channels, 3, 3)
        flops = 2 * 4 * channels * channels * 9 * size * size
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(4, channels, size, size).contiguous(memory_format=layout)
            kernel = weight.contiguous(memory_format=layout)
            times = []
            for _ in range(repeats):
                start = clock()
                with torch.no_grad():
                    F.conv2d(x, kernel, padding=1)
                times.append(clock() - start)
            rates.append(flops / min(times))
    return max(rates)


def flops_of(run: Callable[[], Any]) -> int:
    """Returns the FLOPs of products and convolutions that torch counts in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
