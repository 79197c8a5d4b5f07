"""The files of a report, and the terminal."""

import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from synthetic_results import (
    CARDS,
    FD,
    SMALL,
    complete,
    fail,
    results_of,
    suite_of,
)

from bench.plan import METRICS_PART
from bench.report.columns import identity_text
from bench.report.console import print_leaderboard
from bench.report.figures import families, samples, training
from bench.report.writer import write
from bench.spec import place
from bench.store import Store, UnitId


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn_once(template, tmp_path_factory):
    """The whole report of the small suite; a copy of it is drawn again only where it changes."""
    suite, store = template
    folder = tmp_path_factory.mktemp("drawn")
    write(suite, Store(store), folder / "report", methods=CARDS)
    return folder / "report"


@pytest.fixture
def report(drawn_once, tmp_path):
    return Path(shutil.copytree(drawn_once, tmp_path / "report"))


def test_equal_results_give_equal_bytes_and_no_leftovers(small, drawn_once, tmp_path):
    suite, store = small
    write(suite, store, tmp_path / "two", methods=CARDS)
    one, two = contents(drawn_once), contents(tmp_path / "two")
    assert one == two
    tables = {
        "results.csv",
        "curves.csv",
        "leaderboard.csv",
        "leaderboard.tex",
        "long.csv",
        "uncertainty.csv",
        "leaderboard.md",
        "identities.json",
        "report.html",
    }
    assert {str(path) for path in one if len(path.parts) == 1} - {"results.parquet"} == tables
    drawn = {path.stem for path in one if path.parts[0] == "figures"} - {"drawn"}
    expected = {
        "quality-vs-compute",
        "fd-digits-cnn-8-by-model",
        "samples",
        "bits-per-dim-vs-nfe",
        "training",
    }
    expected |= {"samples-good", "samples-mute", "budgets-good", "budgets-mute"}
    assert drawn == expected | {
        "heldout-loss",
        "strip-good-path",
        "strip-mute-path",
        "curve-levels",
    }
    assert {path.suffix for path in one if path.parts[0] == "figures"} == {".png", ".svg", ".json"}


def test_csv_reads_back_with_whole_numbers_whole(small, tmp_path):
    suite, store = small
    results = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    assert not (tmp_path / "report" / "figures").exists()
    text = (tmp_path / "report" / "results.csv").read_text()
    back = pd.read_csv(tmp_path / "report" / "results.csv")
    assert list(back.columns) == [name for name in rows.columns if name != "options"]
    assert np.array_equal(back[FD], rows[FD])
    assert ",103425," in text
    known = json.loads((tmp_path / "report" / "identities.json").read_text())
    named = {name for text in back["identity"] for name in text.split("; ")}
    assert {name.rsplit("=", 1)[1] for name in named} <= set(known)
    assert list(back["identity"]) == [identity_text(named) for named in rows["identity"]]
    assert back["versions"][0] == "toy 3, heun 2, digits 1, fd 2, is 2, likelihood 1"
    assert set(back["commit"]) == {"c0ffeec0ffee"}


def test_a_report_of_nothing_and_one_of_failures_and_nan_are_still_written(tmp_path):
    suite, store = suite_of(SMALL, tmp_path), Store(tmp_path / "store")
    results = write(suite, store, tmp_path / "report", methods=CARDS)
    rows = results.rows
    assert set(rows["state"]) == {"waiting"}
    assert not list((tmp_path / "report").glob("figures/*"))
    mute = [point for point in suite.points if point.train == "mute" and point.budget == 5]
    complete(store, suite, [*suite.points[:3], *mute], images=False)
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.finish(unit, {**store.record(*unit), "value": math.nan})
    fail(
        store,
        UnitId("samples", place(suite.points[3].sample)[1], "00000"),
        "<script>alert(1)</script>",
    )
    few = replace(suite, figures=("quality-vs-compute", "samples*"))
    write(few, store, tmp_path / "report", methods=CARDS)
    assert (tmp_path / "report/figures/quality-vs-compute.png").exists()
    assert not list((tmp_path / "report").glob("figures/samples-*"))  # their images are gone
    text = (tmp_path / "report/report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_picture_that_cannot_be_drawn_is_named_and_costs_no_other_file(
    small, report, monkeypatch, capsys
):
    suite, store = small
    folder, before = report, contents(report)

    def broken(*arguments):
        assert (folder / "leaderboard.md").exists()  # the tables come first
        raise TypeError("no <such> thing")

    monkeypatch.setattr(training, "_curves", broken)
    monkeypatch.setattr(samples, "_across_budgets", broken)
    for path in folder.iterdir():
        path.unlink() if path.is_file() else None
    write(suite, store, folder, methods=CARDS)
    after = contents(folder)
    lost = {path.stem for path in before} - {path.stem for path in after}
    assert lost == {"training", "budgets-good", "budgets-mute"}
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed == {"report.html", "drawn.json"}
    text = after[Path("report.html")].decode()
    assert "Training curves (training): TypeError: no &lt;such&gt; thing" in text
    assert "samples of good (samples-of-good): TypeError" in text
    assert 'id="training"' not in text
    error = capsys.readouterr().err
    assert "report: training could not be drawn: TypeError: no <such> thing" in error
    assert error.count("Traceback (most recent call last)") == 3


def test_a_second_report_draws_only_what_has_changed(small, report, monkeypatch):
    suite, store = small
    folder, before, titles = report, contents(report), []
    draw = families.rendered

    def counted(figure):
        titles.append([axes.get_title() for axes in figure.axes][:2])
        return draw(figure)

    monkeypatch.setattr(families, "rendered", counted)
    write(suite, store, folder, methods=CARDS)
    assert titles == []
    assert contents(folder) == before
    log = store.folder("train", place(suite.train["good"][0])[1]) / "log.jsonl"
    log.write_text(log.read_text() + '\n{"images": 200000, "loss": 0.5}')
    write(suite, store, folder, methods=CARDS)
    assert titles == [["good", "mute"]]
    after = contents(folder)
    changed = {path.stem for path in after if after[path] != before[path]}
    assert changed == {"training", "drawn", "report"}


def test_pictures_that_are_no_longer_made_disappear(small, report):
    suite, store = small
    stale = report / "figures" / "samples-gone.png"
    stale.write_bytes(b"")
    write(suite, store, report, methods=CARDS)
    assert not stale.exists()
    assert (stale.parent / "samples-good.png").exists()


def test_the_page_holds_all_that_it_shows_and_at_most_ten_figures(drawn_once):
    text = (drawn_once / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    kinds = {link.partition(",")[0].partition(";")[0] for link in links if link[0] != "#"}
    held = {"data:", "data:image/png", "data:text/csv", "data:text/x-tex", "data:text/yaml"}
    assert kinds - {"data:image/webp", "data:application/octet-stream"} == held
    assert "url(" not in text
    assert "@import" not in text
    figures = re.findall(r'<figure id="([^"]*)"', text)
    assert figures[0] == "hero"
    assert len(figures) == len(set(figures)) <= 10
    assert len(text) < 3_000_000


def test_the_terminal_table_is_plain_and_unwrapped_where_the_output_is_no_terminal(small):
    suite, store = small
    output = io.StringIO()
    print_leaderboard(results_of(suite, store), Console(file=output, width=40))
    lines = output.getvalue().splitlines()
    assert "\x1b" not in output.getvalue()
    assert len(lines) == 1 + 5 + 1 + 2 + 2
    assert lines[0].split("  ")[:3] == ["budget (NFE)", "rank", "row"]
    assert all("done" in line for line in lines[1:6])
    starts = ["The best r", "At 5 NFE g", "At 20 NFE ", "What is no", "Do not ran"]
    assert [line[:10] for line in lines[6:]] == starts


def test_the_terminal_says_what_failed_and_where_the_pictures_are(small, report):
    suite, store = small
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.discard(unit)
    fail(store, unit._replace(part=METRICS_PART), "[red] herring")
    results = results_of(suite, store, CARDS)
    output = io.StringIO()
    console = Console(file=output, width=200, force_terminal=True, color_system=None)
    print_leaderboard(results, console, report)
    assert "1 row: metrics failed: [red] herring (log: /logs/1.out)" in output.getvalue()
    assert str(report / "figures") in output.getvalue()


def test_a_cause_with_markup_and_control_characters_is_text_everywhere(small, tmp_path):
    suite, store = replace(small[0], figures="none"), small[1]
    unit = UnitId(*place(suite.points[0].scores[0]))
    store.discard(unit)
    fail(
        store,
        unit._replace(part=METRICS_PART),
        "<script>alert(1)</script> \x1b[2J | [a](b) \udcff\nnext",
    )
    results = write(suite, store, tmp_path / "report", methods=CARDS)
    markdown, html, csv = (
        (tmp_path / "report" / name).read_text()
        for name in ("leaderboard.md", "report.html", "results.csv")
    )
    assert "&lt;script>alert(1)&lt;/script> \\x1b[2J \\| [a]\\(b) \\udcff\\nnext" in markdown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in markdown
    assert html.count("<script") == 1, "its own"
    assert "\x1b" not in markdown + html
    assert "\\udcff" in csv
    for terminal in (True, False):
        output = io.StringIO()
        print_leaderboard(
            results, Console(file=output, width=400, force_terminal=terminal, color_system=None)
        )
        assert "alert(1)" in output.getvalue()
        assert "\x1b[2J" not in output.getvalue()
