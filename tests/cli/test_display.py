"""What a run shows without a terminal: steps and rates of what runs, and what it waits for."""

import pytest

from bench.cli import display
from bench.cli.display import ProgressDisplay
from bench.execute.board import RunProgress


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


def training(step, steps=1000, label="vp"):
    facts = {"stage": "train", "unit": label, "label": label, "work": 10.0}
    return {**facts, "step": step, "steps": steps}


def shown(shower, clock, seconds, live=(), **values):
    clock.now += seconds
    progress = RunProgress({"train": 2, "scores": 1}, work={"train": 20.0, "scores": 0.5})
    progress.live, progress.workers, progress.open = list(live), 2, 3
    for name, value in values.items():
        setattr(progress, name, value)
    shower.show(progress)
    return shower.line


def test_plain_lines_move_with_steps(clock):
    with ProgressDisplay() as shower:
        line = shown(shower, clock, 0)
        assert line == "train 0/2; score 0/1; starting workers"
        line = shown(shower, clock, 5, [training(0)])
        assert line == "train 0/2: vp 0/1000 steps; score 0/1; 2 workers; estimating the time left"
        shown(shower, clock, 1, [training(10)])
        line = shown(shower, clock, 10, [training(420)])
        start = "train 0/2: vp 420/1000 steps (41/s); score 0/1; 2 workers; about "
        assert line.startswith(start)
        assert line.endswith("s left")


def test_notes_and_failures_are_on_the_line(clock):
    with ProgressDisplay() as shower:
        shown(shower, clock, 0)
        line = shown(shower, clock, 1, failed={"train": 1}, over={"train": 10.0}, note="squeue: no")
    assert "train 1/2" in line
    assert "1 failed or blocked" in line
    assert line.endswith("squeue: no")


def test_a_terminal_shows_them_too(clock, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay() as shower:
        shown(shower, clock, 0)
        shown(shower, clock, 1, [training(1), training(1, label="ve")], note="squeue: [no] answer")
        tasks = shower.progress.tasks
        assert "vp 1/1000 steps, ve 1/1000 steps" in tasks[0].fields["note"]
        assert "squeue" in tasks[1].fields["note"]
        assert tasks[0].completed == pytest.approx(0.002)
        shown(shower, clock, 1, [training(500)])
        assert tasks[0].completed == pytest.approx(0.5)
        assert tasks[0].fields["count"] == "0/2"
