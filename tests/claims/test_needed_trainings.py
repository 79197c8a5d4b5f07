"""How many trainings and sample seeds would decide a claim."""

import numpy as np
import pytest
from scipy import stats

from bench.claims.power import Need, Spread, needed, spread


def test_the_spread_of_pairs_and_of_sides_is_that_of_their_trainings_and_seeds():
    draw = np.random.default_rng(5).normal
    first, second = draw(size=(6, 4)), draw(size=(6, 4)) + 1
    paired = spread(first, second, paired=True)
    assert paired.difference == pytest.approx(first.mean() - second.mean())
    assert paired.trainings == pytest.approx((first - second).mean(1).var(ddof=1))
    assert paired.seeds == pytest.approx((first - second).mean(0).var(ddof=1))
    apart = spread(first, second[:3], paired=False)
    # 6 trainings on one side and 3 on the other: the variance of the difference, times 6
    parts = first.mean(1).var(ddof=1) / 6 + second[:3].mean(1).var(ddof=1) / 3
    assert apart.trainings == pytest.approx(6 * parts)


def test_seeds_of_an_exact_score_are_counted_until_the_t_test_and_the_sign_flips_both_speak():
    # 2.36^2 / 7 is less than 1 and 2.57^2 / 6 is not: t quantiles of 6 and 5 degrees of freedom
    assert stats.t.isf(0.025, 6) ** 2 / 7 < 1 < stats.t.isf(0.025, 5) ** 2 / 6
    of = Spread(difference=1.0, trainings=0.0, seeds=1.0)
    assert needed(of, 0.1, 1, shared=True, exact=True) == Need(0, 7, shows=True)
    # without noise the least p of sign flips is what counts: 2 / 2^6 <= 0.05, 2 / 2^10 <= 0.05 / 20
    still = of._replace(seeds=0.0)
    assert needed(still, 0.1, 1, shared=True, exact=True).seeds == 6
    assert needed(still, 0.1, 20, shared=True, exact=True).seeds == 10


def test_the_absence_of_a_difference_is_what_more_trainings_show_where_it_is_small():
    of = Spread(difference=0.0, trainings=1.0, seeds=0.0)
    found = needed(of, 0.8, 1, shared=True, exact=False)
    assert not found.shows
    assert stats.t.isf(0.05, found.trainings - 1) ** 2 / found.trainings < 0.8**2
    assert stats.t.isf(0.05, found.trainings - 2) ** 2 / (found.trainings - 1) > 0.8**2
    # never fewer than a claim needs, which is six that both share, or five of each
    assert needed(of, 9.0, 1, shared=True, exact=False) == Need(6, 4, shows=False)
    assert needed(of, 9.0, 1, shared=False, exact=False) == Need(5, 4, shows=False)
    assert needed(of, 0.1, 1, shared=True, exact=False) is None  # over 100


def test_a_forecast_is_kept_by_draws_of_the_same_spread():
    """Of claims with as many seeds as it says, most are decided; with half of them, fewer."""
    of = Spread(difference=1.0, trainings=0.0, seeds=1.0)
    seeds = needed(of, 0.1, 1, shared=True, exact=True).seeds

    def share(count):
        draws = 1 + np.random.default_rng(0).normal(size=(2000, count))
        return (stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05).mean()

    assert 0.5 < share(seeds) < 0.8  # the median claim just passes
    assert share(seeds // 2) < 0.3
