"""The figure of samples: every model is on it, or is named as left out, with the reason."""

from dataclasses import replace

import pytest
from synthetic_results import CARDS, SMALL, complete, results_of, suite_of

from bench.report.figures import across as figure_of_samples
from bench.report.figures import families
from bench.report.figures.families import draw
from bench.report.page import document
from bench.report.page.document import html
from bench.report.records import Records
from bench.spec import place
from bench.store import Store, UnitId


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A suite of four models with many budgets."""
    folder = tmp_path_factory.mktemp("many")
    models = "".join(
        f"  m{k}: {{method: toy, params: {{quality: 0.{k}}}, seeds: [0]}}\n" for k in (7, 3, 5)
    )
    text = SMALL.partition("points:")[0].replace("  mute:", f"{models}  mute:")
    text += "points:\n  - {train: [good, m7, m3, m5, mute], sampler: heun, grid: {nfe: BUDGETS}}\n"
    text += "  - {train: good, sampler: adaptive, grid: {tolerance: [1.0e-2]}}\n"
    suite = suite_of(text.replace("BUDGETS", "[3, 5, 9, 13, 17, 21, 25, 29]"), folder)
    store = Store(folder / "store")
    complete(store, suite)
    return suite, store


def drawn(suite, store, folder):
    (figure,) = draw(
        replace(suite, figures=("samples",)),
        results_of(suite, store, CARDS),
        Records(store),
        folder,
    )
    assert not figure.fault
    return figure


def test_every_model_has_a_row_and_nothing_is_said_to_be_left_out(small, tmp_path):
    suite, store = small
    figure = drawn(suite, store, tmp_path / "figures")
    assert "Not shown" not in figure.caption


def test_models_without_images_are_named_in_the_caption_and_on_the_page(small, tmp_path):
    suite, store = small
    mute = [point for point in suite.points if point.train == "mute"]
    complete(store, suite, mute, images=False)
    figure = drawn(suite, store, tmp_path / "figures")
    assert "Not shown, since none of their images are in the store: mute (heun)." in figure.caption
    assert "none of their images are in the store: mute (heun)." in html(
        results_of(suite, store, CARDS), [figure]
    )


def test_what_is_beyond_the_last_row_is_named_the_worst_models_first_left_out(
    many, tmp_path, monkeypatch
):
    suite, store = many
    monkeypatch.setattr(figure_of_samples, "MOST_LINES", 3)
    caption = drawn(suite, store, tmp_path / "figures").caption
    named = caption.split("Not shown, since there are 3 rows, the best models first: ")[1]
    assert named.startswith("m7 (heun), mute (heun)")
    assert "m3" not in named


def test_columns_are_spread_over_the_budgets_and_rows_without_one_stand_at_the_nearest(
    many, tmp_path
):
    suite, store = many
    assert "Columns: 6 of 8 budgets." in drawn(suite, store, tmp_path / "figures").caption
    sets = {32.0: "images"}
    row = figure_of_samples.Row("good\nadaptive", sets, {32.0: 32.0}, None, has_budgets=False)
    fixed = row._replace(images=dict.fromkeys((3.0, 29.0), "other"), has_budgets=True)
    placed, columns, count = figure_of_samples._in_columns([row, fixed])
    assert (columns, count) == ([3.0, 29.0], 2)
    assert (placed[0].images, placed[0].costs) == ({29.0: "images"}, {29.0: 32.0})


def test_a_row_none_of_whose_budgets_are_columns_gets_one():
    rows = [
        figure_of_samples.Row("a", {float(k): "a" for k in range(1, 21)}, {}, None, True),
        figure_of_samples.Row("b", {2.0: "b", 3.0: "b"}, {}, None, True),
    ]
    placed, columns, count = figure_of_samples._in_columns(rows)
    assert count == 20
    assert len(columns) == figure_of_samples.MOST_BUDGETS + 1
    assert all(set(columns) & set(row.images) for row in placed)


def test_a_model_of_which_nothing_is_finished_is_said_to_be_so(small, tmp_path):
    suite, store = small
    for point in suite.points:
        if point.train == "mute":
            for score in point.scores:
                store.discard(UnitId(*place(score)))
    figure = drawn(suite, store, tmp_path / "figures")
    assert "Not shown, since no row of theirs is finished: mute." in figure.caption


@pytest.mark.parametrize(("few", "figures"), [(5, "default"), (4, "default"), (4, ("*",))])
def test_of_many_models_sheets_of_each_are_drawn_only_if_they_are_asked_for(
    many, tmp_path, monkeypatch, few, figures
):
    suite, store = many
    monkeypatch.setattr(families, "FEW_MODELS", few)
    monkeypatch.setattr(document, "FEW_MODELS", few)
    monkeypatch.setattr(
        families, "_rendered", lambda found: [{"png": b"x", "svg": b"x"}] * len(found)
    )
    results = results_of(suite, store, CARDS)
    drawn = families.draw(replace(suite, figures=figures), results, Records(store), tmp_path / "f")
    sheets = {figure.name for figure in drawn if figure.name.startswith("samples-")}
    wanted = few == 5 or figures != "default"
    assert sheets == ({f"samples-{name}" for name in suite.train} if wanted else set())
    told = "sheets of each are drawn only if the suite asks" in html(results, drawn)
    assert told == (not wanted)
