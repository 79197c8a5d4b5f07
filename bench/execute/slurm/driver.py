"""The driver of a SLURM cluster: keeps jobs in the queue until every unit of a suite is done or has
failed.

Attached, it polls: one squeue a look, for everything, and feeds each stage as what it needs
appears. Detached, it submits everything at once, each stage after the jobs that it needs, and
leaves; whoever runs the suite again goes on. Both read the same files, and so does whoever only
looks (:mod:`bench.execute.slurm.reconcile`).
"""

import contextlib
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.execute.attempt import now, seconds, start_time
from bench.execute.board import RunProgress
from bench.execute.cancellation import Interrupted, is_cancelled, sweep_orders
from bench.execute.lease import Lease, noted
from bench.execute.outcome import DEATHS, trained_steps
from bench.execute.slurm import queue
from bench.execute.slurm.arrays import pack, split
from bench.execute.slurm.ending import ALIKE, Ending, endings, last_lines, shared_cause
from bench.execute.slurm.packing import Measured, Sizes
from bench.execute.slurm.queue import ClusterError, Entry
from bench.execute.slurm.reconcile import Assignment, entries_of, find_job, reconcile
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.submission import Order, Submission, prepare, submissions
from bench.execute.slurm.submit import RefusedError, recover, submit
from bench.files import scan
from bench.plan import Job
from bench.store import STAGES, Store, UnitId

LONGEST_POLL = 6.0
"""How many times ``poll_seconds`` a look at an old run waits at most."""

MEMORY_FACTOR = 1.5
MOST_TRIES = 20
REFUSALS = 4
HOLD_SECONDS = 60.0
"""How long units that do not fill a job wait for more of their stage."""

NODE_SECONDS = 60.0
"""How long a job whose node failed may stay out of the queue before it counts as gone: SLURM starts
it again.
"""

RETURNING = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED"})
"""States that SLURM may follow up by queueing the same job again."""


class ClusterRefusesError(Exception):
    """sbatch takes no jobs of this kind, or squeue does not answer."""


def _may_live(entry: Entry | None) -> bool:
    """Tells whether a job lives, or may be started again by SLURM itself."""
    return entry is not None and (entry.alive or entry.state in RETURNING)


def default_array(limits: queue.Limits) -> int:
    """Returns the most elements of an array where the executor file does not say."""
    return limits.array or 1000


@dataclass
class Group:
    """The jobs of one stage in this run, as far as they tell whether there is any use in more of
    them.
    """

    causes: dict[UnitId, str] = field(default_factory=dict)
    succeeded: bool = False
    held: float | None = None

    @property
    def broken(self) -> str:
        """Why no more of them should be tried."""
        return "" if self.succeeded else shared_cause(list(self.causes.values()))


class Campaign:
    """Runs the jobs of one suite on a cluster.

    Args:
        jobs: What is to be there in the end; finished units are left alone.
        results: The suite's results folder.
        watch: Called with a :class:`Tally` at every look.
        expected: What was measured of the time that units take.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Store,
        results: Path,
        executor: Slurm,
        watch: Callable[[RunProgress], None] = lambda tally: None,
        expected: Measured | None = None,
    ) -> None:
        self.jobs = {(job.stage, job.key): job for job in jobs}
        self.store = store
        self.results = results
        self.executor = executor
        self.watch = watch
        self.run = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
        self.units = [(job, unit) for job in jobs for unit in job.units]
        self.sizes = Sizes(store, jobs, executor, expected)
        self.over: dict[UnitId, str] = {}
        self.submitted: list[Submission] = []
        self.judged: set[tuple[str, int]] = set()
        self.gone: dict[tuple[str, int], float] = {}
        self.tries: dict[UnitId, list[str]] = {}
        self.roomy: set[UnitId] = set()
        self.groups = {stage: Group() for stage in STAGES}
        self.refused = 0
        self.not_before = 0.0
        self.room: int | None = None
        self.limits = queue.Limits()
        self.begin = time.time()
        self.entries: dict[str, Entry] | None = None
        self.where: dict[UnitId, Assignment] = {}
        self._ours = {unit for _, unit in self.units}
        self.tally = RunProgress()
        for job, _ in self.units:
            self.tally.total[job.stage] = self.tally.total.get(job.stage, 0) + 1

    # Attached and detached

    def missing(self) -> list[UnitId]:
        """Returns the units that are not there yet."""
        start_time = {stage: set(scan(self.store.root / stage)) for stage in STAGES}
        return [
            unit
            for job, unit in self.units
            if unit.key not in start_time[unit.stage] or not self._is_done(job, unit)
        ]

    def __call__(self, lease: Lease) -> None:
        """Works until nothing is left to do, while ``lease`` on the results folder is held.

        Raises:
            ClusterRefusesError: sbatch takes no jobs, or squeue does not answer for long.
            Interrupted: SIGINT or SIGTERM came, or ``cancel``; jobs stay in the queue.
        """
        lease.note(run=self.run)
        entries = self._take_stock()
        while self._look(entries):
            self._submit_ready()
            if is_cancelled(self.results, lease):
                raise Interrupted(signal.SIGTERM)
            time.sleep(self.pause())
            entries = self._queue()
        self._tidy()

    def pause(self) -> float:
        """Returns the seconds until the next look: longer as the run ages."""
        hours = (time.time() - self.begin) / 3600
        return self.executor.poll_seconds * min(1 + hours, LONGEST_POLL)

    def detach(self, lease: Lease) -> tuple[list[Submission], int]:
        """Submits everything that is neither there nor in the queue, each array after those that it
        needs.

        Returns:
            What was submitted, and how many units were left out, for the cluster takes no more jobs
            now.
        """
        lease.note(run=self.run)
        if not self._look(self._take_stock()):
            self._tidy()
            return [], 0
        there = {unit: where for unit, where in self.where.items() if where.alive}
        made: list[Submission] = []
        left_out = 0
        for level in self.levels(
            unit for _, unit in self.units if unit not in self.over and unit not in there
        ):
            for order in self.orders(level):
                needs = {
                    need
                    for units in order.elements
                    for unit in units
                    for need in self._job(unit).needs
                }
                needs = {need for need in needs if self.over.get(need) != "done"}
                after = {there[need].submission.job for need in needs if need in there}
                if needs <= there.keys() and self._has_room(len(order.elements)):
                    order = replace(order, after=tuple(sorted(filter(None, after))))
                    if (submission := self._submit(order)) is not None:
                        made.append(submission)
                        for element, units in enumerate(order.elements):
                            there |= {unit: Assignment(submission, element, None) for unit in units}
                        continue
                left_out += sum(map(len, order.elements))
        return made, left_out

    def levels(self, units: Iterable[UnitId]) -> list[list[UnitId]]:
        """Returns units in levels, one stage each, each of which needs only earlier ones."""
        depth: dict[UnitId, int] = {}
        wanted = list(units)
        for start in wanted:
            open_ = [start]
            while open_:  # no recursion: a chain of snapshots may be long
                job = self.jobs.get((open_[-1].stage, open_[-1].key))
                needs = () if job is None else job.needs
                if deeper := [need for need in needs if need not in depth]:
                    open_ += deeper
                    continue
                known = max((depth[need] for need in needs), default=0)
                depth[open_.pop()] = 0 if job is None else 1 + known
        levels: dict[tuple[int, int], list[UnitId]] = {}
        for unit in wanted:
            levels.setdefault((depth[unit], STAGES.index(unit.stage)), []).append(unit)
        return [levels[level] for level in sorted(levels)]

    # Looking

    def _take_stock(self) -> dict[str, Entry]:
        """Goes on from what earlier drivers submitted: what SLURM still has is adopted, the rest is
        over.
        """
        self.limits = queue.limits()
        sweep_orders(self.results)
        for job in self.jobs.values():
            self.store.tidy(job.stage, job.key)
        entries = self._queue(patience=3)
        if entries is None:
            raise ClusterRefusesError(
                "squeue does not answer, so nobody knows which jobs there are; try again later"
            )
        for submission in submissions(self.results):
            self._find(submission, entries)
            if submission.abandoned or submission.over:
                continue
            ended = [not _may_live(entry) for entry in entries_of(submission, entries)]
            if all(ended):
                submission.mark("over")
                continue
            self.submitted.append(submission)
            self.judged |= {
                (submission.name, element) for element, over in enumerate(ended) if over
            }
        return entries

    def _find(self, submission: Submission, entries: Mapping[str, Entry]) -> None:
        """Repairs what a driver left that died between the intent and the id, and ends what should
        not be.
        """
        if submission.job is None and not submission.abandoned:
            job = find_job(submission, entries)
            if job is None:
                submission.mark("abandoned", "its driver ended before sbatch did")
            else:
                recover(submission, job)
        if submission.abandoned:  # its jobs would do nothing; they need not wait for that
            alive = {
                entry.master
                for entry in entries.values()
                if entry.name == submission.name and entry.alive
            }
            with contextlib.suppress(ClusterError):
                queue.cancel(alive)

    def _queue(self, patience: int = 1) -> dict[str, Entry] | None:
        """Returns what the queue holds, None where it does not answer: then nothing is known, and
        nothing judged.
        """
        for trial in range(patience):
            try:
                return queue.queue()
            except ClusterError as error:
                self.tally.note = str(error)
                if trial + 1 < patience:
                    time.sleep(1 + 2 * trial)
        return None

    def _look(self, entries: dict[str, Entry] | None) -> int:
        """Looks at the files, judges what has left the queue, and returns how many units can still
        be made.
        """
        self.tally.note = self.tally.note if entries is None else ""
        self.entries = entries
        for job, unit in self.units:
            if unit not in self.over and self._is_done(job, unit):
                self._close(unit, "done")
        if entries is not None:
            self._judge(entries)
        self._block()
        self.where = reconcile(self.submitted, entries or {})
        open_ = [(job, unit) for job, unit in self.units if unit not in self.over]
        self._count(open_)
        self.watch(self.tally)
        return len(open_)

    def _count(self, open_: Sequence[tuple[Job, UnitId]]) -> None:
        tally = self.tally
        tally.open, tally.live = len(open_), []
        running = {
            where.id
            for where in self.where.values()
            if where.entry and where.entry.state == "RUNNING"
        }
        tally.workers = len(running)
        for job, unit in open_:
            where = self.where.get(unit)
            if where is not None and where.id in running and job.stage == "train":
                facts = noted(self.store.path(unit, ".lease"))
                if facts.get("submission") == where.submission.name:
                    tally.live.append({**facts, "stage": job.stage})

    def _is_done(self, job: Job, unit: UnitId) -> bool:
        return all(self.store.record(*result) is not None for result in job.made_by(unit))

    def _close(self, unit: UnitId, state: str) -> None:
        self.over[unit] = state
        counts = self.tally.done if state == "done" else self.tally.failed
        counts[unit.stage] = counts.get(unit.stage, 0) + 1
        if state == "done":
            job = self._job(unit)
            self.sizes.learn(job, unit)
            if unit.stage == "samples":
                self.tally.images += job.images // len(job.parts)

    def _job(self, unit: UnitId) -> Job:
        return self.jobs[unit.stage, unit.key]

    def _block(self) -> None:
        """Closes what needs something that failed."""
        for job, unit in self.units:
            if unit not in self.over and {self.over.get(need) for need in job.needs} & {
                "failed",
                "blocked",
            }:
                self._close(unit, "blocked")

    # Judging what has ended

    def _judge(self, entries: Mapping[str, Entry]) -> None:
        ended: list[tuple[Submission, int, str | None]] = []
        for submission in self.submitted:
            if submission.over:
                continue
            for element, entry in enumerate(entries_of(submission, entries)):
                place = (submission.name, element)
                if place in self.judged:
                    continue
                if entry is not None and entry.alive:
                    self.gone.pop(place, None)
                    continue
                since = self.gone.setdefault(place, time.monotonic())
                state = entry.state if entry is not None else None
                patience = self.executor.grace_seconds
                if _may_live(entry):
                    patience = max(patience, NODE_SECONDS)
                ours = (unit for unit in submission.elements[element] if unit in self._ours)
                made = all(self.over.get(unit) == "done" for unit in ours)
                if made or time.monotonic() - since >= patience:
                    ended.append((submission, element, state))
        forgotten = [
            submission.id(element) or "" for submission, element, state in ended if state is None
        ]
        told = queue.account(forgotten) if forgotten else {}
        for submission, element, state in ended:
            self.judged.add((submission.name, element))
            self._settle(submission, element, state or told.get(submission.id(element) or ""))
        for submission in self.submitted:
            places = ((submission.name, element) for element in range(len(submission.elements)))
            if not submission.over and all(place in self.judged for place in places):
                submission.mark("over")

    def _settle(self, submission: Submission, element: int, state: str | None) -> None:
        """Decides for each unit of an element that has ended whether it is tried again."""
        group = self.groups[submission.stage]
        units = [unit for unit in submission.elements[element] if unit in self._ours]
        left = [unit for unit in units if not self._is_done(self._job(unit), unit)]
        group.succeeded |= len(left) < len(units)
        failures = {}
        ended = endings(self.store, left, submission, element, state)
        if any(seen.kind == "memory" for seen in ended.values()):
            self.roomy |= (
                ended.keys()
            )  # those whose turn did not come would meet the same end, one job each
        for unit, seen in ended.items():
            if seen.kind == "missing":
                self._look_again()
            if self._may_try_again(unit, seen, submission):
                self.tries.setdefault(unit, []).append(seen.kind)
            elif unit not in self.over:
                self._give_up(unit, seen, submission)
            if seen.kind in ("exception", "start", "died", "memory", "broken"):
                failures[unit] = seen.cause
        group.causes |= dict(
            list(failures.items())[:1]
        )  # of a job that fails, the first unit tells
        if why := group.broken or next(
            (why for unit, why in failures.items() if why.startswith(ALIKE)), ""
        ):
            self._break(submission.stage, why)

    def _may_try_again(self, unit: UnitId, seen: Ending, submission: Submission) -> bool:
        earlier = self.tries.get(unit, [])
        if len(earlier) >= MOST_TRIES:
            return False
        if seen.kind in ("missing", "unreached"):
            return True
        if seen.kind == "memory":
            return (
                submission.intent["memory"] < MEMORY_FACTOR
                and submission.intent["resources"]["memory_gb"] is not None
            )
        if seen.kind in ("exception", "broken"):
            return False
        if seen.kind == "time" and (seen.attempt or {}).get("state") == "failed":
            return False  # its job found that it got nowhere
        if unit.stage == "train" and trained_steps(self.store, unit.key) > submission.intent[
            "steps"
        ].get(unit.key, 0):
            return True  # it gets on
        counted = [kind for kind in earlier if kind not in ("missing", "unreached", "memory")]
        return len(counted) < DEATHS - 1

    def _give_up(self, unit: UnitId, seen: Ending, submission: Submission) -> None:
        """Notes a failure beside its unit, where status and report find it."""
        times = [kind for kind in self.tries.get(unit, []) if kind == seen.kind]
        cause = seen.cause + (f", {len(times) + 1} times" if times else "")
        if seen.kind == "memory":
            asked = submission.intent["resources"]["memory_gb"]
            had = (
                "an unknown amount"
                if asked is None
                else f"{asked * submission.intent['memory']:g} GB"
            )
            cause += f" (it had {had}: give memory_gb more, or the suite a smaller batch, which is part of the key)"
        attempt = seen.attempt or {"attempt": uuid.uuid4().hex[:12]}
        verdict = {
            "state": "failed",
            "cause": cause,
            "kind": seen.kind,
            "log": seen.log,
            "tail": list(seen.tail),
        }
        if seen.attempt is None:
            verdict |= {"run": self.run, "start": now(), "submission": submission.name}
        elif (beat := self._last_beat(unit, attempt)) is not None and "end" not in attempt:
            verdict["end"] = beat
        self.store.note_attempt(unit, attempt=attempt["attempt"], **verdict)
        self._close(unit, "failed")

    def _last_beat(self, unit: UnitId, attempt: Mapping[str, Any]) -> str | None:
        facts = noted(self.store.path(unit, ".lease"))
        if facts.get("attempt") != attempt["attempt"] or "beat" not in facts:
            return None
        return datetime.fromtimestamp(facts["beat"]).astimezone().isoformat(timespec="seconds")

    def _break(self, stage: str, why: str) -> None:
        """Stops a stage whose first jobs all failed alike: what waits is not tried, what runs may
        end.
        """
        entries = self.entries or {}
        seen = [
            entry
            for submission in self.submitted
            if submission.stage == stage and not submission.over
            for entry in entries_of(submission, entries)
            if entry is not None and entry.alive
        ]
        with contextlib.suppress(ClusterError):
            queue.cancel(entry.id for entry in seen if entry.state == "PENDING")
        running = {entry.id for entry in seen if entry.state != "PENDING"}
        where = reconcile(self.submitted, entries)
        log, tail = self._example(stage)
        for job, unit in self.units:
            waits = unit not in where or where[unit].id not in running
            if job.stage == stage and unit not in self.over and waits:
                verdict = {
                    "state": "failed",
                    "cause": f"not tried: {why}",
                    "kind": "broken",
                    "log": log,
                    "tail": tail,
                }
                self.store.note_attempt(
                    unit, attempt=uuid.uuid4().hex[:12], run=self.run, start=now(), **verdict
                )
                self._close(unit, "failed")

    def _example(self, stage: str) -> tuple[str, list[str]]:
        for submission in self.submitted:
            if submission.stage == stage:
                for element in range(len(submission.elements)):
                    if (submission.name, element) in self.judged and submission.logs(element)[
                        0
                    ].exists():
                        log = submission.logs(element)[0]
                        return str(log), list(last_lines(log))
        return "", []

    def _look_again(self) -> None:
        """Looks again at what counted as done: a job may have found it damaged."""
        for unit, state in list(self.over.items()):
            if state == "done" and not self._is_done(self._job(unit), unit):
                del self.over[unit]
                self.tally.done[unit.stage] -= 1

    # Submitting

    def _submit_ready(self) -> None:
        if self.entries is None or time.monotonic() < self.not_before:
            return
        ready = [
            unit
            for job, unit in self.units
            if unit not in self.over
            and not ((where := self.where.get(unit)) and (where.alive or self._is_unjudged(where)))
            and all(self.over.get(need) == "done" for need in job.needs)
        ]
        for stage in STAGES:
            units = [unit for unit in ready if unit.stage == stage]
            for order in self.orders(units):
                whole = self._hold_back(order, stage)
                if whole is not None and self._has_room(len(whole.elements)):
                    self._submit(whole)

    def _is_unjudged(self, where: Assignment) -> bool:
        return (where.submission.name, where.element) not in self.judged

    def _hold_back(self, order: Order, stage: str) -> Order | None:
        """Leaves out an element that is not full for a while, in which more of its stage may become
        ready.
        """
        group = self.groups[stage]
        last, most = order.elements[-1], order.resources.units
        target = 60 * order.resources.element_minutes
        full = (
            sum(map(self.sizes.of, last)) >= 0.5 * target if most == "auto" else len(last) >= most
        )
        since = time.monotonic() if group.held is None else group.held
        if full or time.monotonic() - since >= HOLD_SECONDS or not self._waits(order, stage):
            group.held = None
            return order
        group.held = since
        rest = order.elements[:-1]
        return replace(order, elements=rest) if rest else None

    def _waits(self, order: Order, stage: str) -> bool:
        """Tells whether more of a stage than an order holds may become ready."""
        units = {unit for units in order.elements for unit in units}
        return any(
            job.stage == stage
            and unit not in self.over
            and unit not in units
            and unit not in self.where
            for job, unit in self.units
        )

    def orders(self, units: Sequence[UnitId]) -> list[Order]:
        """Returns the arrays that make units, one or more for each stage and class of resources."""
        classes: dict[tuple[str, float], list[UnitId]] = {}
        for unit in units:
            memory = MEMORY_FACTOR if unit in self.roomy else 1.0
            classes.setdefault((unit.stage, memory), []).append(unit)
        orders = []
        for (stage, memory), members in classes.items():
            resources = self.executor.of(stage)
            # One that takes the whole job with it is tried again alone.
            alone = [
                unit for unit in members if {"died", "time", "node"} & set(self.tries.get(unit, []))
            ]
            apart = set(alone)
            together = [unit for unit in members if unit not in apart]
            elements = [*self._pack(together, stage), *((unit,) for unit in alone)]
            size = self.most_elements(stage)
            for part in split(elements, size):
                steps = {
                    unit.key: at
                    for units in part
                    for unit in units
                    if unit.stage == "train" and (at := trained_steps(self.store, unit.key))
                }
                orders.append(
                    Order(
                        stage=stage, elements=part, resources=resources, memory=memory, steps=steps
                    )
                )
        return orders

    def _pack(self, units: Sequence[UnitId], stage: str) -> list[tuple[UnitId, ...]]:
        resources = self.executor.of(stage)
        most = 0 if resources.units == "auto" else resources.units
        if stage == "train" and resources.world > 1:
            most = 1  # a failure would leave the other processes in the middle of a step
        # A job must end before its time limit does, whatever the target.
        target = min(
            60 * resources.element_minutes, 60 * resources.minutes - resources.signal_seconds
        )
        return pack(units, most, [self.sizes.of(unit) for unit in units], target)

    def most_elements(self, stage: str) -> int:
        """Returns the most elements of an array: what the file says, and no more than the site and
        its queue take.
        """
        asked = self.executor.of(stage).array_size
        size = (
            default_array(self.limits)
            if asked == "auto"
            else min(asked, default_array(self.limits))
        )
        limit = self.submit_limit
        return size if limit is None else max(1, min(size, limit))

    @property
    def submit_limit(self) -> int | None:
        """Most jobs in the queue at once, None where nobody says."""
        limit = self.executor.submit_limit
        known = [
            value
            for value in (None if limit == "auto" else limit, self.limits.submit, self.room)
            if value
        ]
        return min(known, default=None)

    def _has_room(self, count: int) -> bool:
        limit = self.submit_limit
        if limit is None:
            return True
        return self._alive() + count <= limit

    def _alive(self) -> int:
        entries = self.entries or {}
        masters = {id_.partition("_")[0] for id_ in entries}
        fresh = sum(
            len(submission.elements)
            for submission in self.submitted
            if submission.job and submission.job not in masters and not submission.over
        )
        return sum(entry.alive for entry in entries.values()) + fresh

    def _submit(self, order: Order) -> Submission | None:
        """Submits an array; None where sbatch refused it, which is tried again later.

        Raises:
            ClusterRefusesError: It has refused too often.
        """
        jobs, settings = self.jobs, self.executor.settings
        submission = prepare(order, self.results, self.store, self.run, jobs, settings)
        try:
            submit(submission, order)
        except RefusedError as error:
            self._find(
                submission, self._queue() or {}
            )  # it may have been taken, and only the answer lost
            if submission.job is None:
                self._back_off(str(error), len(order.elements))
                return None
        self.refused = 0
        self.room = None if self.room is None else 2 * self.room
        self.submitted.append(submission)
        return submission

    def _back_off(self, why: str, count: int) -> None:
        alive = self._alive()
        if "limit" in why.lower() and (alive or count > 1):
            self.room = max(
                alive, count // 2
            )  # full: as jobs end there is room again, and fewer fit at once
            return
        self.refused += 1
        self.tally.note = why
        self.not_before = time.monotonic() + self.executor.poll_seconds * 2**self.refused
        if self.refused >= REFUSALS:
            raise ClusterRefusesError(f"sbatch refused {self.refused} times: {why}")

    def _tidy(self) -> None:
        """Deletes what was submitted once everything is done; where something failed, its logs
        stay.
        """
        if "failed" in self.over.values():
            return
        for submission in submissions(self.results):
            if submission.over or submission.abandoned:
                shutil.rmtree(submission.folder, ignore_errors=True)


# Cancelling and counting


def cancel_submissions(results: Path) -> int:
    """Cancels all jobs of a suite, those included whose driver died before it knew them; returns
    how many.

    Raises:
        ClusterError: SLURM does not answer.
    """
    entries = queue.queue()
    open_ = [submission for submission in submissions(results) if not submission.over]
    names = {submission.name for submission in open_}
    for submission in open_:
        submission.mark("abandoned", "cancelled")  # first, so that none starts to work
    alive = [entry for entry in entries.values() if entry.name in names and entry.alive]
    queue.cancel(entry.id for entry in alive)
    return len(alive)


@dataclass
class Compute:
    """What units have cost: all attempts, lost work included, in seconds."""

    gpu: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    lost: float = 0.0


def compute(store: Store, jobs: Sequence[Job]) -> Compute:
    """Returns what all attempts at units have cost, and how much of it came to nothing."""
    total = Compute()
    for job in jobs:
        for unit in job.units:
            attempts = store.attempts(*unit)
            spent = 0.0
            for attempt in attempts:
                took = seconds(attempt)
                if "end" not in attempt:  # it died, or lives: until when, its lease says
                    facts = noted(store.path(unit, ".lease"))
                    if facts.get("attempt") == attempt["attempt"] and "beat" in facts:
                        took = max(0.0, facts["beat"] - start_time(attempt, facts["beat"]))
                total.gpu += took * attempt.get("gpus", 0)
                total.cpu += took * attempt.get("cpus", 1)
                spent += took
            total.wall += spent
            wasted = sum(
                seconds(attempt)
                for attempt in attempts
                if attempt["state"] not in ("done", "running")
            )
            record = store.record(*unit) if unit.stage == "train" else None
            if (
                record is not None and "seconds" in record
            ):  # what earlier attempts left in checkpoints was of use
                wasted -= max(0.0, record["seconds"] - (spent - wasted))
            total.lost += max(0.0, wasted)
    return total
