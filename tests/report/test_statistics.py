"""What seeds tell: exact small cases, and the null calibration of intervals and verdicts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.report.calibration import (
    COMPONENTS,
    GROUPS,
    NOISES,
    PAIRS,
    Components,
    Design,
    coverage,
    false_verdicts,
    simulate,
)
from bench.report.calibration import judged as verdicts_of
from bench.report.contrast import contrast
from bench.report.significance import compare, holm, verdicts
from bench.report.statistics import BOTH, KEPT, SUBTRACTED, estimate
from bench.suite.claims import least_p

ROOT = Path(__file__).resolve().parents[2]
NORMAL = np.random.default_rng(3)


def table(trainings, seeds, *, retraining=1.0, shared=1.0, apart=0.5, lead=()):
    draw = NORMAL.normal
    effects = retraining * draw(size=(*lead, trainings, 1)) + shared * draw(size=(*lead, 1, seeds))
    return effects + apart * draw(size=(*lead, trainings, seeds))


# Estimates


def test_one_sample_set_has_a_value_and_no_interval():
    found = estimate([[2.5]])
    assert found.mean == 2.5
    assert found.scope == ""
    assert np.isnan([found.low, found.high, found.retraining, found.resampling]).all()


def test_one_training_has_the_t_interval_of_its_sample_sets_and_says_nothing_of_retraining():
    values = table(1, 4)
    found = estimate(values)
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values[0]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.scope == "sample seeds"
    assert found.resampling == pytest.approx(values.var(ddof=1))
    assert np.isnan(found.retraining)


def test_trainings_of_one_sample_seed_each_have_the_t_interval_and_parts_that_cannot_be_told():
    values = table(5, 1)
    found = estimate(values)
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values[:, 0]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.scope == "trainings"
    assert np.isnan([found.retraining, found.resampling, found.shared]).all()


def test_shared_noise_that_is_not_seen_stays_in_the_interval():
    values = np.array([[1.0, 2.0], [4.0, 3.0], [6.0, 7.0]])  # seeds: +1, -1, +1, less than chance
    found = estimate(values)
    means = values.mean(1)
    assert found.shared == 0
    parts = np.array([means.var(ddof=1) / 3, KEPT * values.mean(0).var(ddof=1) / 2])
    assert found.error**2 == pytest.approx(parts.sum())
    half = np.sqrt(np.sum(stats.t.isf(0.025, [2, 1]) ** 2 * parts))
    assert (found.low, found.high) == (
        pytest.approx(means.mean() - half),
        pytest.approx(means.mean() + half),
    )
    assert stats.t.isf(0.025, found.df) * found.error == pytest.approx(half)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 2)])
def test_fewer_than_three_trainings_and_sample_seeds_have_no_interval(shape):
    found = estimate(table(*shape))
    assert found.scope == ""
    assert np.isnan([found.low, found.high, found.error, found.df]).all()
    assert np.isfinite(found.mean)


@pytest.mark.parametrize(
    ("shape", "scope"),
    [
        ((3, 2), BOTH),
        ((2, 3), BOTH),
        ((3, 1), "trainings"),
        ((1, 3), "sample seeds"),
        ((5, 4), BOTH),
    ],
)
def test_an_interval_says_what_it_holds_for(shape, scope):
    assert estimate(table(*shape)).scope == scope
    other = contrast(table(*shape), table(*shape), paired=False)
    assert (other.scope, contrast(table(*shape), table(*shape), paired=True).scope) == (
        scope,
        scope,
    )


def test_trainings_that_each_have_sample_seeds_of_their_own_speak_for_both():
    values = np.full((4, 8), np.nan)
    own = NORMAL.normal(size=(4, 2))
    for training in range(4):
        values[training, 2 * training : 2 * training + 2] = own[training]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 3, own.mean(), stats.sem(own.mean(1)))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.scope == BOTH
    assert estimate(values[:2]).scope == ""


# Bounds


def test_an_interval_of_a_positive_metric_is_symmetric_in_its_logarithm():
    values = np.array([[1.0, 2.0, 3.0, 6.0]])
    plain, found = estimate(values), estimate(values, (0, np.inf))
    assert found.mean == plain.mean == 3
    assert plain.low < 0 < found.low
    assert found.low * found.high == pytest.approx(9)
    assert np.log(found.high / 3) == pytest.approx((plain.high - 3) / 3)
    above_one = estimate(values + 1, (1, np.inf))
    assert (above_one.low, above_one.high) == (
        pytest.approx(found.low + 1),
        pytest.approx(found.high + 1),
    )


def test_an_interval_of_a_share_is_symmetric_in_its_logit_and_single_values_may_lie_on_a_bound():
    values = np.array([[1.0, 0.9, 1.0, 0.7]])
    plain, found = estimate(values), estimate(values, (0, 1))
    assert found.mean == pytest.approx(0.9)
    assert plain.high > 1 > found.high > found.mean > found.low > 0
    logit = np.log(
        np.array([found.low, 0.9, found.high]) / (1 - np.array([found.low, 0.9, found.high]))
    )
    assert np.diff(logit) == pytest.approx([(plain.high - 0.9) / 0.09] * 2)
    mirrored = estimate(1 - values, (0, 1))
    assert (mirrored.low, mirrored.high) == (
        pytest.approx(1 - found.high),
        pytest.approx(1 - found.low),
    )


@pytest.mark.parametrize("bounds", [(0, 1), (0, np.inf), (1, np.inf), (-np.inf, 2)])
def test_no_interval_leaves_its_bounds_however_wide_it_is(bounds):
    least, most = max(bounds[0], -5), min(bounds[1], 9)
    values = NORMAL.uniform(least, most, size=(300, 3, 2))
    found = estimate(values, bounds)
    assert (found.low >= bounds[0]).all()
    assert (found.high <= bounds[1]).all()
    assert (found.low < found.mean).all()
    assert (found.mean < found.high).all()


@pytest.mark.parametrize(
    ("value", "bounds"), [(0.0, (0, 1)), (1.0, (0, 1)), (0.0, (0, np.inf)), (-0.1, (0, np.inf))]
)
def test_a_mean_on_its_bound_has_no_interval(value, bounds):
    found = estimate(np.full((1, 4), value), bounds)
    assert found.mean == value
    assert np.isnan([found.low, found.high]).all()


def test_a_difference_of_shares_stays_within_one():
    first, second = np.array([[0.99, 0.8, 0.99]]), np.array([[0.02, 0.4, 0.01]])
    assert contrast(first, second, paired=False).high > 1
    found = contrast(first, second, paired=False, bounds=(0, 1))
    assert (found.low, found.high) == (contrast(first, second, paired=False).low, 1)


def test_balanced_components_are_those_of_the_analysis_of_variance():
    values = table(6, 4)
    trainings, seeds = values.shape
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    of_rest = (rest**2).sum() / ((trainings - 1) * (seeds - 1))
    of_trainings = seeds * values.mean(1).var(ddof=1)
    of_seeds = trainings * values.mean(0).var(ddof=1)
    found = estimate(values)
    assert found.retraining == pytest.approx((of_trainings - of_rest) / seeds)
    assert found.shared == pytest.approx((of_seeds - of_rest) / trainings)
    assert found.resampling == pytest.approx(found.shared + of_rest)
    squares = np.array([of_trainings, max(of_seeds - SUBTRACTED * of_rest, KEPT * of_seeds)])
    assert found.error**2 == pytest.approx(squares.sum() / values.size)
    half = stats.t.isf(0.025, [trainings - 1, seeds - 1]) ** 2 @ squares / values.size  # Banerjee
    assert found.high - found.mean == pytest.approx(half**0.5)


def test_components_of_tables_with_gaps_are_unbiased():
    # of few seeds with large effects, so that none is ever cut off at 0, which would bias it
    values = table(8, 6, retraining=3.0, shared=3.0, apart=0.5, lead=(8000,))
    values[:, 0, 0] = values[:, 1, 3:] = np.nan
    found = estimate(values)
    assert found.retraining.min() > 0
    assert found.shared.min() > 0
    assert found.retraining.mean() == pytest.approx(9.0, rel=0.03)
    assert found.shared.mean() == pytest.approx(9.0, rel=0.03)
    assert (found.resampling - found.shared).mean() == pytest.approx(0.25, rel=0.1)


def test_a_mean_counts_each_training_once_and_ignores_rows_and_columns_without_a_value():
    values = np.array([[1.0, 3.0, np.nan], [7.0, np.nan, np.nan], [np.nan] * 3])
    assert estimate(values).mean == (2 + 7) / 2


@pytest.mark.parametrize(
    "values", [np.full((2, 2), np.nan), [[[1.0, np.nan]], [[1.0, 2.0]]]], ids=["none", "unlike"]
)
def test_tables_without_values_or_of_unlike_designs_are_refused(values):
    with pytest.raises(ValueError, match="one design"):
        estimate(values)


# Comparisons


def test_six_pairs_that_all_agree_have_the_p_value_of_their_signs():
    first = table(6, 4)
    found = compare(
        first, first + 100 + NORMAL.normal(size=(6, 4)), paired=True, smallest_effect=1.0
    )
    assert found.p == pytest.approx(2 / 2**6) == least_p(6, 6, shared=True)
    assert "sign flips" in found.test


def test_three_trainings_against_three_cannot_differ_below_one_in_ten_and_five_can():
    for count, least in ((3, 0.1), (5, 2 / 252)):
        first = table(count, 3, shared=0.01, apart=0.01)
        found = compare(
            first, 100 + table(count, 3, shared=0.01, apart=0.01), paired=False, smallest_effect=1.0
        )
        assert found.p == pytest.approx(least) == least_p(count, count, shared=False)


def test_groups_that_are_the_same_do_not_differ_and_are_equivalent():
    values = table(6, 3)
    found = compare(values, values, paired=True, smallest_effect=0.1)
    assert (found.difference, found.p, found.p_equivalence) == (0, 1, 0)
    assert (
        verdicts(found.difference, found.p, found.p_equivalence, higher_is_better=True)
        == "within noise"
    )


def test_without_seed_effects_the_error_is_welchs():
    first = NORMAL.normal(size=(5, 1)) + np.array([[0.1, -0.1]]) * np.array(
        [[1], [-1], [1], [-1], [0]]
    )
    second = 3 * NORMAL.normal(size=(7, 1)) + np.array([[0.1, -0.1]]) * np.array(
        [[1], [-1], [1], [-1], [1], [-1], [0]]
    )
    found = compare(first, second, paired=False, smallest_effect=1.0)
    theirs = stats.ttest_ind(first.mean(1), second.mean(1), equal_var=False).confidence_interval(
        0.95
    )
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_what_one_seed_does_to_every_training_is_no_evidence_of_a_difference():
    trainings = NORMAL.normal(size=(10, 1)) * np.full((1, 4), 0.01)
    seeds = np.array(
        [[1.0, 0.1, 0.4, 1.3]]
    )  # the second group answers so to the seeds, each training alike
    found = compare(trainings, trainings[::-1] + seeds, paired=False, smallest_effect=0.1)
    assert (
        stats.ttest_ind(trainings[:, 0], trainings[::-1, 0] + seeds.mean()).pvalue < 1e-10
    )  # trainings alone
    assert found.p == pytest.approx(stats.ttest_1samp(seeds[0], 0).pvalue, rel=0.01)
    assert found.low < 0 < found.high


@pytest.mark.parametrize(
    ("first", "second", "paired"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), False),
        (np.zeros((1, 2)), np.zeros((5, 2)), False),
        (np.zeros((5, 1)), np.zeros((5, 1)), False),
        (np.zeros((5, 2)), np.zeros((6, 2)), True),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), False),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(first, second, paired):
    with pytest.raises(ValueError, match="tables"):
        compare(first, second, paired=paired, smallest_effect=1.0)


def test_holms_correction_multiplies_the_least_most_and_never_reorders():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([[0.6, 0.7], [0.02, 0.03]]).tolist() == [[1.0, 1.0], [0.04, 0.04]]
    assert len(holm([])) == 0


def test_verdicts_need_a_test_that_passed_and_know_the_direction():
    found = verdicts(
        [-1, 1, 1, 0.1, -1],
        [0.01, 0.01, 0.2, 0.9, 0.01],
        [1, 1, 0.2, 0.01, 0.01],
        higher_is_better=False,
    )
    assert list(found) == ["better", "worse", "undecided", "within noise", "within noise"]
    assert verdicts(-1, 0.01, 1, higher_is_better=True) == "worse"


# Null calibration


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS)
@pytest.mark.parametrize("design", GROUPS, ids=lambda design: design.title)
def test_intervals_cover_their_mean_as_often_as_they_say(design, components):
    found = coverage(design, components, np.random.default_rng(7), boards=4000)
    most = (
        0.98 if min(design.trainings) > 3 else 0.99
    )  # three trainings by three seeds: on the safe side
    chance = 2.5 * (0.05 * 0.95 / 4000) ** 0.5
    assert 0.93 <= found.plain <= most + chance
    assert 0.93 <= found.logarithms <= most + chance
    assert found.scope == {(1, 4): "sample seeds", (5, 1): "trainings"}.get(
        (design.trainings[0], design.seeds), BOTH
    )


def test_an_interval_of_one_sample_seed_is_not_one_for_others():
    """What the mark is for: of all trainings' values, the seed that they share is the larger
    part.
    """
    values, _ = simulate(
        Design((5, 5), 1), COMPONENTS["mostly shared noise"], np.random.default_rng(0), boards=2000
    )
    found = estimate(values)
    assert np.mean((found.low <= 0) & (found.high >= 0)) < 0.2
    assert found.scope == "trainings"


def test_skewed_noise_costs_coverage_and_the_shipped_table_says_how_much():
    shipped = pd.read_csv(ROOT / "docs" / "calibration" / "calibration.csv")
    intervals = shipped[(shipped["what"] == "interval") & (shipped["interval over"] == BOTH)]
    assert set(intervals["design"]) >= {"20 × 2", "50 × 2", "10 × 2", "5 × 2", "5 × 4"}
    assert {"5 × 1", "1 × 4"} <= set(shipped["design"])
    least = intervals.groupby("noise")["coverage"].min()
    assert least["normal"] >= 0.93
    assert least["very skewed"] < least["skewed"] < least["normal"]
    normal = intervals[(intervals["noise"] == "normal") & (intervals["design"] != "3 × 3")]
    assert normal["coverage"].max() <= 0.98 + 0.004  # of 10,000 simulated tables
    design, components = Design((5, 5), 4), COMPONENTS["flow"]
    again = coverage(
        design, components, np.random.default_rng(3), boards=4000, skew=NOISES["very skewed"]
    )
    row = intervals.query(
        "design == '5 × 4' and components == 'flow' and noise == 'very skewed'"
    ).iloc[0]
    assert again.plain == pytest.approx(row["coverage"], abs=0.02)


@pytest.mark.parametrize("alike", [0.0, 1.0])
@pytest.mark.parametrize(
    ("design", "components"),
    [(design, COMPONENTS[name]) for design in PAIRS[:4] for name in ("flow", "mostly shared noise")]
    + [(PAIRS[4], COMPONENTS["flow"])],
    ids=lambda value: value.title if isinstance(value, Design) else "",
)
def test_the_same_model_under_two_names_is_rarely_called_better(design, components, alike):
    wrong, same = false_verdicts(
        design, components._replace(alike=alike), np.random.default_rng(11)
    )
    assert wrong <= 0.05
    assert same <= 0.075  # a difference just as large as is of interest, in any of five claims


def test_large_differences_are_found_and_absent_ones_told_from_unknown_ones():
    design, components = Design((6, 6), 8), Components(0.2, 0.05, 0.1)
    first, second = simulate(design, components, np.random.default_rng(0), boards=100)
    assert (verdicts_of(first - 1.2, second, design, 1e-9) == "better").mean() > 0.95
    assert (verdicts_of(first + 1.2, second, design, 1e-9) == "worse").mean() > 0.95
    assert (verdicts_of(first, second, design, 1.2) == "within noise").mean() > 0.95
    assert (verdicts_of(first, second, design, 0.1) == "undecided").mean() > 0.9
