"""How fast a run goes and how long it still takes: from the steps of the units that run and the
counted work of those that wait.

A stage's rate is what its units, the last ones above all, have computed per second of a worker: the
first scoring, say, also reads the images that are compared with, which no later one does. A stage
of which too little has run is reckoned with the FLOPs per second of the stage that has made most.
The caller says what time it is, so that recorded runs can be replayed.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from bench.execute.board import UNIT_SECONDS, RunProgress

SIGNAL_SECONDS = 3.0
"""Worker seconds of a stage before its own rate counts."""

FORGETTING = 0.9
"""What units weigh in the rate of their stage, each time that another one ends."""

SMOOTHING_SECONDS = 5.0
SMOOTHING_SHARE = 0.25
"""The time left counts down, and moves towards a new estimate within this share of itself."""


@dataclass
class Running:
    """A unit that runs, by what its lease notes.

    Args:
        first: The step at which it was first seen, at the time ``since``.
        rate: Steps per second; 0 until there are two notes.
        spent: Seconds since it was first seen.
    """

    stage: str
    label: str
    work: float
    since: float
    first: float
    step: float
    steps: float
    rate: float = 0.0
    spent: float = 0.0

    @property
    def share(self) -> float:
        """Which share of the unit is made; never all of it while it runs."""
        return min(0.99, self.step / self.steps) if self.steps > 0 else 0.0


@dataclass
class Forgotten:
    """What is left out of the work and the seconds of a stage, so that its last units count most.

    Args:
        ended: Units that had ended at the last update.
        at_end: Work and seconds then.
    """

    work: float = 0.0
    seconds: float = 0.0
    ended: int = 0
    at_end: tuple[float, float] = (0.0, 0.0)

    def rate(self, work: float, seconds: float, ended: int) -> float:
        """Returns the work per second of a stage, given all of it and its ended units."""
        if ended > self.ended:
            share = 1 - FORGETTING ** (ended - self.ended)
            self.work += share * (self.at_end[0] - self.work)
            self.seconds += share * (self.at_end[1] - self.seconds)
            self.ended, self.at_end = ended, (work, seconds)
        return (work - self.work) / max(seconds - self.seconds, 1e-9)


@dataclass
class Pace:
    """Follows a run; :meth:`update` is called at every look at its progress.

    Attributes:
        running: The units that run, by name.
        left: Seconds left; None until there is a signal.
        started: Whether any unit has run or ended since the start.
    """

    running: dict[str, Running] = field(default_factory=dict)
    left: float | None = None
    started: bool = False
    _spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _resumed: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _forgotten: defaultdict[str, Forgotten] = field(default_factory=lambda: defaultdict(Forgotten))
    _at_start: dict[str, float] | None = None
    _time: float = 0.0
    _signal: float = 0.0

    def update(self, progress: RunProgress, now: float) -> None:
        """Takes in how far the run is at a time in seconds."""
        if self._at_start is None:
            self._at_start, self._time = dict(progress.over), now
        passed, self._time = now - self._time, now
        for one in self.running.values():
            one.spent += passed
            self._spent[one.stage] += passed
        self._follow(progress.live, now)
        made = {stage: self._made(stage, progress) for stage in progress.total}
        self.started = self.started or bool(self.running) or any(made.values())
        estimate = self._estimate(progress, made)
        if estimate is None or self.left is None:
            self.left, self._signal = estimate, now
            return
        ahead = max(0.0, self.left - passed)
        # The first estimates are rough: they give way as fast as better ones come, and so do those
        # that were far too long.
        within = max(SMOOTHING_SECONDS, min(SMOOTHING_SHARE * ahead, now - self._signal))
        within = SMOOTHING_SECONDS if estimate < 0.7 * ahead else within
        self.left = ahead + (estimate - ahead) * min(1.0, passed / within)

    def share(self, stage: str, progress: RunProgress) -> float:
        """Returns which share of a stage's units is made or given up, those that run in part."""
        ended = progress.done.get(stage, 0) + progress.failed.get(stage, 0)
        running = sum(one.share for one in self.running.values() if one.stage == stage)
        return min(1.0, (ended + running) / max(1, progress.total[stage]))

    def _follow(self, live: list[dict[str, Any]], now: float) -> None:
        before, self.running = self.running, {}
        for facts in live:
            name = str(facts.get("unit", facts.get("label", "")))
            step, steps = float(facts.get("step", 0)), float(facts.get("steps", 0))
            one = before.get(name)
            if one is None or step < one.step:
                stage, label = str(facts["stage"]), str(facts.get("label", ""))
                work = float(facts.get("work", 0.0))
                one = Running(stage, label, work, now, 0.0, 0.0, steps)
            if one.first == 0 and step > 0:
                # Its first steps may be those of an earlier attempt, and the time until then is
                # that of a start: both count from here.
                one.first, one.since = step, now
                self._spent[one.stage] -= one.spent
                resumed = work_of(one, step, steps)
                self._resumed[one.stage] += resumed
            one.step, one.steps = step, steps
            if now > one.since and step > one.first:
                one.rate = (step - one.first) / (now - one.since)
            self.running[name] = one

    def _made(self, stage: str, progress: RunProgress) -> float:
        """Returns the work made in a stage since the start."""
        assert self._at_start is not None
        ended = progress.over.get(stage, 0.0) - self._at_start.get(stage, 0.0)
        return max(0.0, ended + self._in_part(stage) - self._resumed[stage])

    def _in_part(self, stage: str) -> float:
        return sum(one.share * one.work for one in self.running.values() if one.stage == stage)

    def _estimate(self, progress: RunProgress, made: dict[str, float]) -> float | None:
        rates = {
            stage: rate
            for stage, work in made.items()
            if (rate := self._rate(stage, work, progress)) > 0
            and self._spent[stage] >= SIGNAL_SECONDS
        }
        if not rates:
            return None
        general = rates[max(rates, key=lambda stage: made[stage])]
        seconds = 0.0
        for stage, total in progress.work.items():
            work = max(0.0, total - progress.over.get(stage, 0.0) - self._in_part(stage))
            if stage in rates:
                seconds += work / rates[stage]
                continue
            ended = progress.done.get(stage, 0) + progress.failed.get(stage, 0)
            fixed = min(work, UNIT_SECONDS * (progress.total[stage] - ended))
            seconds += (work - fixed) / general + fixed
        longest = max(
            (
                one.work * (1 - one.share) / rates[one.stage]
                for one in self.running.values()
                if one.stage in rates
            ),
            default=0.0,
        )
        return max(seconds / max(1, progress.workers), longest)

    def _rate(self, stage: str, made: float, progress: RunProgress) -> float:
        ended = progress.done.get(stage, 0) + progress.failed.get(stage, 0)
        return self._forgotten[stage].rate(made, self._spent[stage], ended)


def work_of(one: Running, step: float, steps: float) -> float:
    """Returns the work of so many of a unit's steps."""
    return one.work * min(0.99, step / steps) if steps > 0 else 0.0
