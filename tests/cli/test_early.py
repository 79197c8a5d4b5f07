"""The rows that a run shows while it goes on."""

import pytest
from synthetic_results import CARDS, complete, suite_of

from bench.cli.display import ProgressDisplay
from bench.cli.early import EarlyRows
from bench.execute.board import RunProgress
from bench.report import results
from bench.store import Store

SUITE = """
name: early
dataset: digits
metrics: [fd]
samples: {count: 32, batch: 32, seeds: [0, 1]}
likelihood: {images: 8, batch: 8}
train:
  good: {method: toy, params: {quality: 1.0}}
  bad: {method: toy, params: {quality: 3.0}}
points:
  - {train: [good, bad], sampler: euler, grid: {nfe: [5, 10, 20, 50, 100, 200]}}
"""


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now

    monotonic = __call__


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "cards", lambda: CARDS)
    suite = suite_of(SUITE, tmp_path)
    return suite, Store(tmp_path / "store")


def points(suite, *groups):
    return [
        point
        for point in suite.points
        if any(point.train == train and point.budget == budget for train, budget in groups)
    ]


def test_a_row_is_shown_once_all_of_its_seeds_are_scored_whatever_else_is_open(study):
    suite, store = study
    clock = Clock()
    rows = EarlyRows(suite, store, clock)
    first, second = points(suite, ("good", 5))
    complete(store, suite, [first])
    assert rows.update(1) is None
    complete(store, suite, [second, *points(suite, ("bad", 5), ("good", 10))])
    table = rows.update(6)
    assert table.title == "so far 3 of 12 rows"
    assert [(row[0], row[1], row[2].split()[0]) for row in table.cells] == [
        ("5", "1", "good"),
        ("5", "2", "bad"),
        ("10", "1", "good"),
    ]
    expected = {point.label: store.record(*point.scores[0].place) for point in (first, second)}
    mean = sum(record["value"] for record in expected.values()) / 2
    assert table.cells[0][4].startswith(f"{mean:.3g}")


def test_tables_are_rare_and_come_with_news_only(study):
    suite, store = study
    clock = Clock()
    rows = EarlyRows(suite, store, clock)
    complete(store, suite, points(suite, ("good", 5)))
    assert rows.update(2) is not None
    complete(store, suite, points(suite, ("good", 10)))
    clock.now += 29
    assert rows.update(4) is None
    clock.now += 1000
    assert rows.update(4) is not None
    clock.now += 50
    complete(store, suite, points(suite, ("good", 20)))
    assert rows.update(6) is None, "after 1000 s a table comes every 100 s at most"
    clock.now += 60
    assert rows.update(6) is not None
    clock.now += 1000
    assert rows.update(7) is None, "one seed of two is no row"


def test_what_an_earlier_run_finished_is_no_news_but_in_the_table(study):
    suite, store = study
    complete(store, suite, points(suite, ("good", 5)))
    rows = EarlyRows(suite, store, Clock())
    assert rows.update(2) is None
    complete(store, suite, points(suite, ("bad", 5)))
    assert rows.update(4).title == "so far 2 of 12 rows"


def test_of_many_rows_the_best_of_each_budget_are_shown(study):
    suite, store = study
    rows = EarlyRows(suite, store, Clock())
    complete(store, suite)
    table = rows.update(24)
    ranks = [row[1] for row in table.cells]
    assert len(ranks) == 10
    assert ranks.count("1") == 6
    assert table.lines()[-1] == "  ... and 2 more"


def progress_of(scored):
    return RunProgress({"train": 2, "scores": 24}, {"scores": scored}, open=24 - scored, workers=2)


def test_plain_lines_and_a_terminal_show_the_table(study, monkeypatch, capsys):
    suite, store = study
    with ProgressDisplay(EarlyRows(suite, store, Clock())) as shower:
        complete(store, suite, points(suite, ("good", 5)))
        shower.show(progress_of(2))
    out = capsys.readouterr().out
    assert "so far 1 of 12 rows\n  budget  rank  group" in out
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "30")
    with ProgressDisplay(EarlyRows(suite, store, Clock())) as shower:
        complete(store, suite, points(suite, ("good", 10)))
        shower.show(progress_of(4))
        shower.live.refresh()
    shown = capsys.readouterr().out
    assert "so far 2 of 12 rows" in shown
    last = shown[shown.rindex("train") :]
    assert "so far" not in last, "the whole leaderboard follows"


def test_a_low_terminal_keeps_its_bars(study, monkeypatch):
    suite, store = study
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressDisplay(EarlyRows(suite, store, Clock())) as shower:
        complete(store, suite, points(suite, ("good", 5)))
        shower.show(progress_of(2))
        assert shower.table is None
