"""The time left of recorded runs: near the truth after the first tenth, and falling."""

import itertools
import math

import pytest

from bench.execute.board import RunProgress
from bench.execute.pace import Pace

STAGES = {  # units, counted work of each, seconds that each really takes, steps that it notes
    "train": (5, 40.0, 60.0, 1000),
    "samples": (64, 1.2, 1.9, 20),
    "likelihood": (4, 6.0, 10.0, 0),
    "scores": (64, 0.5, 0.8, 0),
}
START_SECONDS = 6.0


def record(workers=2, poll=1.0, stages=STAGES, slow=lambda time: 1.0):
    """Yields (time, progress) of a run in which each worker makes one unit after the other.

    Args:
        slow: Factor by which units that begin at a time take longer.
    """
    waiting = [(stage, index) for stage, spec in stages.items() for index in range(spec[0])]
    begun, ends = {}, {}
    free = [START_SECONDS + 2.0 * worker for worker in range(workers)]
    for unit in waiting:
        worker = min(range(workers), key=free.__getitem__)
        begun[unit] = free[worker]
        free[worker] += stages[unit[0]][2] * slow(free[worker])
        ends[unit] = free[worker]
    total = {stage: spec[0] for stage, spec in stages.items()}
    work = {stage: spec[0] * spec[1] for stage, spec in stages.items()}
    for tick in range(math.ceil(max(ends.values()) / poll)):
        now = tick * poll
        done = {s: sum(ends[unit] <= now for unit in waiting if unit[0] == s) for s in stages}
        progress = RunProgress(total, done, workers=workers, work=work)
        progress.over = {stage: count * stages[stage][1] for stage, count in done.items()}
        progress.open = len(waiting) - sum(done.values())
        for unit in waiting:
            if begun[unit] <= now < ends[unit]:
                _, each, _, steps = stages[unit[0]]
                share = (now - begun[unit]) / (ends[unit] - begun[unit])
                facts = {"stage": unit[0], "unit": str(unit), "label": "vp", "work": each}
                # A training says how many steps it has after its imports, then each step.
                if steps and now - begun[unit] > 1.0:
                    facts |= {"step": int(share * steps), "steps": steps}
                progress.live.append(facts)
        yield now, progress
    yield max(ends.values()), RunProgress(total, total, work=work, over=work)


def replay(**options):
    run = list(record(**options))
    pace, end = Pace(), run[-1][0]
    shown = []
    for now, progress in run:
        pace.update(progress, now)
        shown.append((now, pace.left))
    return end, shown


SLOWER = {"slow": lambda time: 1.0 if time < 100 else 1.2}
FEW = {"stages": {**STAGES, "train": (3, 40.0, 90.0, 600)}}


@pytest.mark.parametrize(
    "options", [{}, {"workers": 1}, {"workers": 4}, {"poll": 0.25}, SLOWER, FEW]
)
def test_time_left_is_within_half_of_the_truth_after_a_tenth_and_falls(options):
    end, shown = replay(**options)
    after = [(now, left) for now, left in shown if 0.1 * end <= now < end]
    assert all(left is not None for _, left in after)
    wrong = [
        (now, left, end - now)
        for now, left in after
        if end - now > 10 and not (end - now) / 1.5 <= left <= (end - now) * 1.5
    ]
    assert not wrong
    falls = sum(later < earlier for (_, earlier), (_, later) in itertools.pairwise(after))
    assert falls >= 0.9 * (len(after) - 1)


def test_a_first_unit_that_takes_longer_is_soon_forgotten():
    pace, done = Pace(), 0
    facts = {"stage": "scores", "label": "vp", "work": 1.0}
    for now in range(701):  # the first one takes 600 s, each later one 2 s
        done = 0 if now < 600 else 1 + (now - 600) // 2
        progress = RunProgress({"scores": 151}, {"scores": done}, workers=1)
        progress.work, progress.over = {"scores": 151.0}, {"scores": float(done)}
        progress.live = [{**facts, "unit": str(done)}]
        pace.update(progress, now)
    assert 100 < pace.left < 400


def test_nothing_is_estimated_before_workers_have_made_anything():
    _, shown = replay()
    assert all(left is None for now, left in shown if now <= START_SECONDS + 1)


def test_steps_of_an_earlier_attempt_do_not_count_as_speed():
    pace = Pace()
    for now in range(20):
        facts = {"stage": "train", "unit": "u", "label": "vp", "work": 100.0, "steps": 1000}
        facts["step"] = 900 + now
        live = [facts] if now else []
        pace.update(RunProgress({"train": 1}, work={"train": 100.0}, live=live, workers=1), now)
    (one,) = pace.running.values()
    assert one.rate == pytest.approx(1.0)
    assert pace.left == pytest.approx(81, rel=0.15)


def test_share_of_a_stage_moves_with_steps():
    pace = Pace()
    facts = {"stage": "train", "unit": "u", "label": "vp", "work": 1.0, "step": 50, "steps": 100}
    progress = RunProgress({"train": 2}, {"train": 1}, live=[facts], workers=1)
    pace.update(progress, 0.0)
    assert pace.share("train", progress) == 0.75
