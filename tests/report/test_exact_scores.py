"""Claims about exact scores, which are not trained: their unit is a sample seed."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.metrics.registry import METRICS
from bench.report.significance import compare_seeds
from bench.report.verdicts import judge
from bench.suite.claims import Claim

NAME = "exact_fd"
DRAWS = np.random.default_rng(3).normal(size=(2, 10))


def rows_of(group, values, *, images=0, train="model"):
    return pd.DataFrame(
        {
            "group": group,
            "state": "done",
            "nfe": 20.0,
            "train_key": train,
            "sample_seed": range(len(values)),
            "training_images": images,
            "identity": [{NAME: "same"}] * len(values),
            NAME: values,
        }
    )


def verdict_of(first, second, *, effect=0.5, **more):
    rows = pd.concat([rows_of("a", first, **more), rows_of("b", second, **more)])
    claims = [Claim(NAME, effect, "a", "b")]
    return judge(claims, rows.reset_index(drop=True), {NAME: METRICS[NAME]}, {}).iloc[0]


def test_p_values_over_sample_seeds_are_those_of_paired_tests():
    first, second = DRAWS[0], DRAWS[1] + 1
    found = compare_seeds(first, second, smallest_effect=2.5)
    t = stats.ttest_rel(first, second)
    flips = stats.permutation_test(
        (first - second,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert found.p == pytest.approx(max(t.pvalue, flips.pvalue), rel=1e-9)
    sides = (
        stats.ttest_1samp(first - second, -2.5, alternative="greater").pvalue,
        stats.ttest_1samp(first - second, 2.5, alternative="less").pvalue,
    )
    assert found.p_equivalence == pytest.approx(max(sides), rel=1e-9)
    interval = t.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_six_sample_seeds_of_an_exact_score_decide_a_claim_and_five_do_not():
    noise = 0.01 * DRAWS[0]
    assert verdict_of(1 + noise[:6], 2 - noise[:6])["verdict"] == "better"
    assert verdict_of(2 - noise[:6], 1 + noise[:6])["verdict"] == "worse"
    assert verdict_of(1 + noise[:6], 1 - noise[:6])["verdict"] == "within noise"
    few = verdict_of(1 + noise[:5], 2 - noise[:5])
    assert few["verdict"] == "undecided"
    assert few["note"] == (
        "a claim needs 6 sample seeds, exact scores having no trainings, here are 5: a hint"
    )
    assert few["high"] < 0  # the interval is shown all the same


def test_one_training_of_a_network_stays_undecided_however_many_sample_seeds_there_are():
    found = verdict_of(1 + 0.01 * DRAWS[0], 2 - 0.01 * DRAWS[0], images=32_000)
    assert found["verdict"] == "undecided"
    assert "6 trainings that both share, here are 1" in found["note"]
