"""The report as Markdown and as a page: what its sections say."""

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from made_results import group, made
from rich.console import Console
from synthetic_results import (
    CARDS,
    FD,
    Tolerance,
    fail,
    finish_inspection,
    floor_of,
    results_of,
)

from bench.card import LikelihoodCard
from bench.metrics.registry import METRICS
from bench.report.console import print_leaderboard
from bench.report.figures.families import draw as draw_figures
from bench.report.figures.figure import slug
from bench.report.figures.style import colours, lap_of
from bench.report.markdown import markdown
from bench.report.models import heldout_losses
from bench.report.page.document import html
from bench.report.records import Records
from bench.report.terms import terms
from bench.report.writer import write
from bench.spec import part_name, place
from bench.store import Store, UnitId
from bench.suite.resolved import Suite


def test_a_failed_inspection_leaves_its_rows_done_with_blanks_and_a_cause(small):
    suite, store = small
    unit = UnitId(*place(suite.inspections["mute"][0]))
    store.discard(unit)
    fail(store, unit, "ValueError: of another shape")
    results = results_of(suite, store)
    rows = results.rows
    mute = rows[rows["train"] == "mute"]
    assert set(mute["state"]) == {"done"}
    assert mute["heldout_loss@t=0.5"].isna().all()
    assert set(mute["heldout_loss_note"]) == {"inspect failed: ValueError: of another shape"}
    text = markdown(results)
    assert "held-out loss of mute, seed 0: inspect failed: ValueError: of another shape" in text


def test_a_table_of_held_out_losses_has_a_row_a_model_with_its_spread_over_trainings(small):
    suite, store = small
    results = results_of(suite, store)
    (part,) = heldout_losses(results.inspections)
    assert part.headers == ["model", "method", "weighting", "trainings", "t=0.25", "t=0.5", "t=1"]
    good, mute = [[cell.text for cell in line] for line in part.cells]
    assert good == [
        "good",
        "Toy",
        "std",
        "2",
        "1.00 (0.500, 1.50)",
        "1.50 (1.00, 2.00)",
        "2.50 (2.00, 3.00)",
    ]
    assert mute == ["mute", "Mute", "std", "1", "0.500", "1.00", "2.00"]


def test_models_at_unlike_times_have_tables_of_their_own(small):
    suite, store = small
    finish_inspection(store, suite.inspections["mute"][0], times=[0.1, 0.1001, 1.0])
    results = results_of(suite, store)
    parts = heldout_losses(results.inspections)
    assert [part.headers[4:] for part in parts] == [
        ["t=0.25", "t=0.5", "t=1"],
        ["t=0.1", "t=0.1001", "t=1"],
    ]
    assert [part.cells[0][0].text for part in parts] == ["good", "mute"]


def test_bits_per_dim_is_printed_with_its_error_over_images_and_over_trainings_apart(small):
    suite, store = small
    results = results_of(suite, store)
    error = np.std([0.0, 0.01, 0.02, 0.03, 0.0, 0.01], ddof=1) / 6**0.5
    text = f"2.5122 ± {error:.4f} (over images)"
    assert results.board.query("train == 'good'")[
        "bits_per_dim_image_error"
    ].tolist() == pytest.approx([error] * 3)
    lines = markdown(results).splitlines()
    ranked, models = (
        next(line for line in lines if start in line) for start in ("◆ good |", "| good  | Toy")
    )
    assert f"2.5122 ± {error:.4f}" in ranked
    assert f"{text}; over trainings 2.51 (2.51, 2.51)" in models
    assert "standard error over the images scored" in "\n".join(lines)


def test_bits_per_dim_of_a_bound_are_marked_wherever_they_are_printed(small):
    suite, store = small
    bound = replace(CARDS["toy"], likelihood=replace(CARDS["toy"].likelihood, kind="bound"))
    stream = io.StringIO()
    for methods, marks in ((CARDS, 0), ({**CARDS, "toy": bound}, 1)):
        results = results_of(suite, store, methods)
        print_leaderboard(results, Console(file=stream, width=300))
        lines = [
            *markdown(results).splitlines(),
            *stream.getvalue().splitlines(),
        ]
        known = [line for line in lines if "2.512 " in line or "2.5122 ±" in line]
        assert len(known) >= 5, "three groups and a model, and the groups in the terminal"
        assert all(line.count("(bound)") == marks for line in known)
        assert not any("(bound)" in line for line in lines if line not in known)
        stream.seek(stream.truncate(0))


def grow(store: Store, suite: Suite, *, parameters: float = 1.0, flops: float = 1.0) -> None:
    """Makes the network of model ``mute`` larger, as its records tell it."""
    unit = UnitId(*place(suite.train["mute"][0]))
    record = store.record(*unit)
    store.finish(unit, {**record, "parameters": round(record["parameters"] * parameters)})
    for point in suite.points:
        if point.train == "mute":
            for index in range(3):
                unit = UnitId("samples", place(point.sample)[1], part_name(index))
                record = store.record(*unit)
                store.finish(unit, {**record, "flops_per_row": record["flops_per_row"] * flops})


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({"parameters": 1.02}, "parameters differ by 2.0% (good: 103,425, mute: 105,494)"),
        (
            {"flops": 0.9},
            "forward GFLOPs of one evaluation differ by 11.1% (mute: 0.0018, good: 0.002)",
        ),
        ({"parameters": 0.0}, "parameters differ (mute: 0, good: 103,425)"),
        ({"parameters": 1.009, "flops": 1.009}, ""),
    ],
    ids=["parameters", "FLOPs", "no network", "within 1 %"],
)
def test_page_markdown_and_terminal_say_when_a_comparison_is_not_controlled_whatever_is_declared(
    small, tmp_path, factors, said
):
    suite, store = small
    grow(store, suite, **factors)
    for controlled in (True, False):
        asked = replace(suite, controlled=controlled, figures="none")
        results = write(asked, store, tmp_path / "report", methods=CARDS)
        output = io.StringIO()
        print_leaderboard(results, Console(file=output, width=40))
        texts = [
            (tmp_path / "report" / name).read_text() for name in ("leaderboard.md", "report.html")
        ]
        expected = f"not a controlled comparison: {said}" if said else ""
        assert results.uncontrolled == expected
        for text in (*texts, output.getvalue()):
            assert (expected in text) if expected else ("not a controlled comparison" not in text)


@pytest.mark.parametrize("std", [0.019, 0.19, math.nan])
def test_what_real_images_score_stands_below_each_table_and_in_the_pictures_of_its_metric(
    small, tmp_path, std
):
    suite, store = small
    results = write(replace(suite, figures="none"), store, tmp_path / "without", methods=CARDS)
    assert "real images against" not in (tmp_path / "without" / "leaderboard.md").read_text()
    floor_of(store, suite, 0.039, std)
    results = results_of(suite, store, CARDS)
    text = markdown(results)
    shown = {0.019: "0.039 ± 0.019", 0.19: "0.04 ± 0.19"}.get(std, "0.0390")
    line = f"{FD}: real images against themselves at n = 20: {shown}"
    line += "" if math.isnan(std) else " (standard deviation over sets)"
    assert text.splitlines().count(f"{line}.") == 1
    few = replace(suite, figures=(f"{slug(FD)}-by-model", "quality-vs-compute"))
    figures = draw_figures(few, results, Records(store), tmp_path / "f")
    drawn = {figure.name: figure for figure in figures}
    assert not any(figure.fault for figure in drawn.values())
    assert "held-out real images" in drawn[f"{slug(FD)}-by-model"].caption
    assert drawn["quality-vs-compute"].caption.count("held-out real images") == 1
    page = html(results)
    assert page.count('class="floor"') == 2 * 4, "two sizes, four kinds of compute, one metric"
    assert (">real images 0.039 ± 0.019<" in page) == (std == 0.019)
    assert ">Pareto front<" in page


def test_markdown_tables_are_aligned_and_the_best_of_a_budget_is_bold_once(small):
    suite, store = small
    results = results_of(suite, store)
    text = markdown(results)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    heads = [block[0].split("|")[1].strip() for block in blocks]
    assert heads == ["budget (NFE)", "equal", f"{FD} ↓", "model"]
    for lines in blocks:
        assert lines[0].count("|") <= 9, "eight columns at most"
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
    assert sum(line.count("**") for line in blocks[0]) == 2 * 2 * 2  # budgets, metrics, both ends
    assert "NLL of dequantised data (bits/dim)" in blocks[0][0]
    assert "ms/image" in blocks[0][0]
    assert "Langevin dynamics has none" in blocks[3][-1]


def test_thirty_models_look_unlike():
    looks = [(colour, lap_of(index)) for index, colour in enumerate(colours(30))]
    assert len(set(looks)) == len({colour for colour, _ in looks}) == 30
    parts = [group(f"m{i}", "heun", 20, [[1.0 + i]]) for i in range(12)]
    drawn = re.findall(r'<g class="model c(\d+)".*?class="dot" (\w+)=', html(made(*parts)), re.S)
    assert dict(drawn) == {str(i): "cx" if i < 10 else "d" for i in range(12)}


def test_a_sampler_that_takes_over_along_a_line_is_named_at_its_point():
    results = made(
        group("ve", "heun", 5, [[1.0, 1.1, 1.2]]),
        group("ve", "heun", 20, [[0.8, 0.9, 0.85]]),
        group("ve", "euler", 100, [[0.3, 0.31, 0.32]]),
    )
    page = html(results)
    labels = re.findall(r'<text[^>]*class="change end">(\w+)<', page)
    assert set(labels) == {"euler"}
    assert "<b>ve</b> heun at 5, 20; euler at 100</button>" in page


def test_the_key_explains_the_words_of_the_page_before_the_figure(small):
    suite, store = small
    page = html(results_of(suite, store))
    key = re.search(r'<details class="key">.*?</details>', page, re.S)[0]
    terms = re.findall(r"<dt>(.*?)</dt>", key)
    assert {"row", "point", "budget", "NFE", f"{FD} ↓", "established", "a hint"} <= set(terms)
    assert "20 samples" in key
    assert page.index(key) < page.index('id="hero"')


def test_the_key_says_what_the_size_in_the_name_of_a_metric_is(small):
    suite, store = small
    results = results_of(suite, store)
    short = results.board["identity"].iloc[0][FD]
    for extractor, said in (
        ("digits-cnn@8", "@8: 8 × 8 pixels of each image that it sees."),
        ("pca@50", "@50: 50 axes."),
    ):
        known = {**results.identities[short], "extractor": extractor}
        told = terms(replace(results, identities={**results.identities, short: known}))
        assert told[extractor].endswith(said)


def test_the_report_says_when_a_metric_has_too_few_images(small):
    suite, store = small
    results = results_of(suite, store)
    assert "Too few images" not in markdown(results)
    score = suite.points[0].scores[0]
    record = store.record(*place(score))
    store.finish(
        UnitId(*place(score)), {**record, "identity": {**record["identity"], "least_count": 240}}
    )
    results = results_of(suite, store)
    text = markdown(results)
    assert f"Too few images: 20 are a smoke test, not evidence; {FD} needs 240." in text


def test_rows_with_many_clipped_pixels_are_counted_and_those_with_memorised_images_named(small):
    suite, store = small
    results = results_of(suite, store)
    rows, is_mute = results.rows, results.rows["train"] == "mute"
    assert "Clipped pixels" not in markdown(results)
    rows.loc[is_mute, "clipped_fraction"] = 0.034
    results = replace(results, rows=rows)
    text = markdown(results)
    counted = "Clipped pixels above 1% in {} of 5 rows, most in mute · heun · nfe 5 (3.4%)."
    assert counted.format(2) in text
    everywhere = rows.assign(clipped_fraction=np.where(is_mute, 0.034, 0.02))
    text = markdown(replace(results, rows=everywhere))
    assert counted.format(5) in text
    metrics = dict(results.metrics)
    for name, share in (("nn_ratio(pixels)", 0.4), ("near_copies(pixels)", 0.2)):
        rows[name] = np.where(is_mute, share, 1.0 if "ratio" in name else 0.0)
        metrics[name] = replace(METRICS["fd"], higher_is_better=False, bounds=(0, math.inf))
    results = replace(results, rows=rows, metrics=metrics)
    text = markdown(results)
    for said in ("nn_ratio(pixels) below 0.5", "near_copies(pixels) above 0.01"):
        value = "0.400" if "ratio" in said else "0.200"
        named = f"mute · heun · nfe 5 ({value}); mute · heun · nfe 20 ({value})."
        assert f"Memorised, {said}: {named}" in text
    short = next(iter(results.identities))
    rows["identity"] = [{**named, "near_copies(pixels)": short} for named in rows["identity"]]
    floors = {**results.floors, "near_copies(pixels)": {short: {"mean": 0.15, "std": 0.01}}}
    text = markdown(replace(results, rows=rows, floors=floors))
    assert "Memorised, near_copies(pixels) above 0.16: mute · heun · nfe 5 (0.200);" in text


def test_a_bound_is_marked_in_every_table(small):
    suite, store = small
    bounds = {
        **CARDS,
        "toy": replace(
            CARDS["toy"], likelihood=LikelihoodCard(version=1, params=Tolerance, kind="bound")
        ),
    }
    results = results_of(suite, store, bounds)
    lines = markdown(results).splitlines()
    shown = [line for line in lines if "2.512" in line]
    assert len(shown) == 4  # two budgets, the adaptive one, the models
    assert all("(bound)" in line for line in shown)
    output = io.StringIO()
    print_leaderboard(results, Console(file=output, width=40))
    assert all("(bound)" in line for line in output.getvalue().splitlines() if "2.512" in line)
