"""Intervals over seeds, and the verdicts on what a suite claims."""

import io
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console
from synthetic_results import (
    BOUNDS,
    CARDS,
    FD,
    complete,
    draw,
    finish_scores,
    floor_of,
    quality_of,
    results_of,
    suite_of,
)

from bench.report.console import print_leaderboard
from bench.report.markdown import markdown
from bench.report.seeds import seed_table
from bench.report.statistics import estimate as estimate_of
from bench.report.writer import write
from bench.spec import key, place
from bench.store import Store, UnitId
from bench.suite.resolved import Suite

CLAIMS = """
name: claims
dataset: digits
metrics: [fd, {metric: fd, reference: test}]
samples: {count: 32, batch: 32, seeds: [0, 1, 2, 3]}
inspect: null
train:
  good: {method: toy, params: {quality: 0.5}, seeds: [0, 1, 2, 3, 4, 5]}
  twin: {method: toy, params: {kind: a, quality: 0.5}, seeds: [0, 1, 2, 3, 4, 5]}
  poor: {method: mute, seeds: [0, 1, 2, 3, 4, 5]}
  few: {method: mute, params: {kind: a}, seeds: [0, 1, 2]}
points:
  - {train: [good, twin, poor, few], sampler: euler, grid: {nfe: [10]}}
  - {train: good, sampler: heun, grid: {nfe: [10]}}
claims:
  - {metric: fd(digits-cnn@8), smallest_effect: 0.2,
     pairs: [[good euler, poor], [poor, good euler], [good euler, few]]}
  - {metric: fd(digits-cnn@8), smallest_effect: 5,
     pairs: [[good euler, twin], [good heun, good euler]]}
"""


def score_as(store: Store, suite: Suite, value) -> None:
    """Finishes every score with what ``value(point, metric's reference)`` says."""
    for point in suite.points:
        for score in point.scores:
            record = store.record(*place(score))
            reference = dict(score.params).get("reference", "train")
            store.finish(UnitId(*place(score)), {**record, "value": value(point, reference)})


def value_of(point, reference: str) -> float:
    """The quality, 0.3 of a training, 0.1 of a seed and 0.05 of each sample set; a sampler is worth
    nothing.
    """
    spec = point.sample
    effects = 0.3 * draw("a", key(spec.train)).normal() + 0.1 * draw("b", spec.seed).normal()
    return (
        4 * quality_of(point)
        + effects
        + 0.05 * draw("e", key(spec)).normal()
        + (reference == "test")
    )


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Suite, Store]:
    folder = tmp_path_factory.mktemp("claims")
    suite, store = suite_of(CLAIMS, folder), Store(folder / "store")
    complete(store, suite, images=False)
    score_as(store, suite, value_of)
    return suite, store


def test_a_group_has_the_interval_that_its_seeds_tell_and_its_parts_stand_in_a_table_of_their_own(
    claimed,
):
    suite, store = claimed
    results = results_of(suite, store)
    rows = results.rows
    values = seed_table(rows[rows["group"] == "good · euler · nfe 10"], FD).values
    assert values.shape == (6, 4)
    found = estimate_of(values, BOUNDS[FD])
    group = results.board.query("group == 'good · euler · nfe 10'").iloc[0]
    assert (group[FD], group[f"{FD} low"], group[f"{FD} high"]) == pytest.approx(
        (found.mean, found.low, found.high)
    )
    parts = results.uncertainty.query(
        f"group == 'good · euler · nfe 10' and metric == '{FD}'"
    ).iloc[0]
    assert (parts["trainings"], parts["sample seeds"], parts["sample sets"]) == (6, 4, 24)
    assert parts["interval over"] == group[f"{FD} interval over"] == "trainings and sample seeds"
    assert parts["sd retraining"] == pytest.approx(found.retraining**0.5)
    assert 0.5 < parts["share of retraining"] < 1
    assert parts["values"] == ""
    assert not parts.isna().any()


def test_claims_are_judged_with_holms_correction_over_all_of_them(claimed):
    judged = results_of(*claimed).verdicts
    assert list(judged["verdict"]) == [
        "better",
        "worse",
        "undecided",
        "within noise",
        "within noise",
    ]
    tested = judged[judged["p"].notna() & (judged["second"] != "few · euler · nfe 10")]
    assert (tested["p_holm"] >= tested["p"]).all()
    first, mirrored, few, twin, samplers = (judged.iloc[index] for index in range(5))
    assert first["p_holm"] == pytest.approx(min(1, 5 * first["p"]))
    assert first["difference"] == -mirrored["difference"]
    assert first["low"] < first["difference"] < first["high"] < 0
    assert few["note"] == "a claim needs 5 trainings each, here are 6 and 3: a hint"
    assert "permutation of the trainings" in twin["test"]
    assert "sign flips of the pairs" in samplers["test"]
    assert (samplers["first_nfe"], samplers["second_nfe"]) == (9, 10)


def test_claims_stand_on_the_page_in_the_terminal_and_in_a_file(claimed, tmp_path):
    suite, store = claimed
    results = write(replace(suite, figures="none"), store, tmp_path / "report", methods=CARDS)
    judged = pd.read_csv(tmp_path / "report" / "claims.csv")
    assert list(judged["verdict"]) == list(results.verdicts["verdict"])
    output = io.StringIO()
    print_leaderboard(results, Console(file=output, width=40))
    assert (
        f"claim: good · euler · nfe 10 against poor · euler · nfe 10 in {FD}: better"
        in output.getvalue()
    )
    for name in ("leaderboard.md", "report.html"):
        text = (tmp_path / "report" / name).read_text()
        assert (
            "Holm&#x27;s correction over 5 claims" in text
            or "Holm's correction over 5 claims" in text
        )
        assert "a claim needs 5 trainings each, here are 6 and 3: a hint" in text
        assert "differences that were named before the run, with verdicts of their own" in text
        assert "no difference was named" not in text
    write(replace(suite, figures="none", claims=()), store, tmp_path / "report", methods=CARDS)
    assert not (tmp_path / "report" / "claims.csv").exists()
    assert (
        "none is stated in the suite: no difference was named before the run"
        in (tmp_path / "report" / "leaderboard.md").read_text()
    )


def test_a_claim_about_what_is_not_complete_or_not_comparable_stays_undecided_with_the_reason(
    claimed, tmp_path
):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    poor = [point for point in suite.points if point.train == "poor"]
    twin = [point for point in suite.points if point.train == "twin"]
    store.discard(UnitId(*place(poor[0].scores[0])))
    for point in twin:
        finish_scores(store, point, weights="bb" * 32)
    judged = results_of(suite, store).verdicts
    assert list(judged["verdict"][[0, 3]]) == ["undecided"] * 2
    assert judged["note"][0] == "poor · euler · nfe 10 is not complete"
    assert judged["note"][3] == "the numbers have unlike identities: not comparable"
    assert pd.isna(judged["difference"][3])
    assert judged["p"][[0, 3]].isna().all()


def test_a_difference_below_two_deviations_of_the_floor_is_said_to_be_so(claimed, tmp_path):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    floor_of(store, suite, 0.4, 2.0)
    judged = results_of(suite, store).verdicts
    assert list(judged["verdict"])[:2] == ["better", "worse"]
    assert (
        "smaller than 2 standard deviations (4) of what one set of real images scores"
        in judged["note"][0]
    )
    floor_of(store, suite, 0.4, 1e-9)
    assert "standard deviations" not in results_of(suite, store).verdicts["note"][0]


def test_both_references_have_columns_floors_and_the_training_set_itself(claimed, tmp_path):
    suite, template = claimed
    shutil.copytree(template.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    to_test = "fd(digits-cnn@8, to test)"
    for point in suite.points:
        for score, extra in zip(
            point.scores, ({}, {"training_set": {"value": 0.0213, "images": 1437}}), strict=True
        ):
            unit = UnitId(*place(score))
            floor = {"mean": 0.4, "std": 0.1, "draws": 20, "split": "test", **extra}
            store.finish(unit, {**store.record(*unit), "floor": floor})
    results = results_of(suite, store)
    text = markdown(results)
    assert f"{FD} ↓" in text
    assert f"{to_test} ↓" in text
    assert f"{FD}: real images against themselves at n = 32" in text
    assert f"{to_test}: real images against themselves at n = 32" in text
    assert f"{to_test}: the training set itself, 1,437 images: 0.0213." in text
    assert f"{FD}: the training set" not in text
