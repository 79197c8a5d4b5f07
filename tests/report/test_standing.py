"""Who leads at each budget, by how much, and when that is called established."""

import numpy as np
import pytest
from made_results import FD, IS, group, made

from bench.report.formats import with_interval
from bench.report.headline import headlines, shared_reason, units_needed
from bench.suite.claims import LEVEL, least_p


def spread(mean, trainings, seeds=4, *, seed=0, sd=0.1):
    return mean + sd * np.random.default_rng(seed).normal(size=(trainings, seeds))


def of_two(first, second, **more):
    return made(group("ve", "heun", 20, first), group("vp", "heun", 20, second), **more)


def test_a_clear_lead_of_enough_trainings_is_established_with_its_size_and_interval():
    results = of_two(spread(1.0, 6, seed=1), spread(2.0, 6, seed=2))
    (found,) = headlines(results)
    board = results.board.set_index("train")
    difference = board.loc["vp", FD] - board.loc["ve", FD]
    assert board.loc["vp", f"{FD} behind"] == pytest.approx(difference)
    low, high = (board.loc["vp", f"{FD} behind {end}"] for end in ("low", "high"))
    assert 0 < low < difference < high
    assert found.sentence == (
        f"At 20 NFE ve/heun leads vp/heun by {with_interval(difference, low, high)}: established."
    )
    assert list(results.board["verdict"]) == ["best", "established"]


def test_of_too_few_trainings_a_lead_is_a_hint_that_says_what_would_decide_it():
    results = of_two(spread(1.0, 1, seed=1), spread(2.0, 1, seed=2))
    (found,) = headlines(results)
    assert found.status == "hint"
    assert found.reason == "a hint; 1 training × 4 sample seeds; 5 × 4 would decide it"


def test_of_exact_scores_sample_seeds_decide():
    parts = [
        group(train, "heun", 20, spread(mean, 1, 10, seed=seed), training_images=0)
        for seed, (train, mean) in enumerate([("ve", 1.0), ("vp", 2.0)])
    ]
    assert headlines(made(*parts))[0].status == "established"
    few = [[row for row in part if row["sample_seed"] < 3] for part in parts]
    (found,) = headlines(made(*few))
    assert found.reason == "a hint; 3 sample seeds of exact scores; 6 sample seeds would decide it"


def test_too_few_images_are_asked_for_as_well():
    results = of_two(spread(1.0, 1, seed=1), spread(2.0, 1, seed=2))
    results.identities["aaaaaaaa"] |= {"count": 64}
    assert headlines(results)[0].why.endswith(
        "64 of 240 images; 5 × 4 and 240 images would decide it"
    )


def test_an_interval_that_holds_0_is_not_told_apart():
    results = of_two(spread(1.0, 6, seed=1), spread(1.01, 6, seed=2))
    assert headlines(results)[0].status == "tied"


def test_a_metric_that_is_better_when_higher_has_its_lead_positive():
    results = of_two(spread(1.0, 6, seed=1), spread(2.0, 6, seed=2), metrics=(IS, FD))
    (found,) = headlines(results)
    assert found.text.startswith("ve/heun leads vp/heun by 0.992 [0.904, 1.079]")
    assert (results.board[f"{IS} behind"] >= 0).all()


def test_the_lead_is_over_the_best_of_another_model_and_pays_for_what_lies_between():
    rows = [spread(1.0, 6, seed=1), spread(1.5, 6, seed=2), spread(2.0, 6, seed=3)]
    results = made(
        group("ve", "heun", 20, rows[0]),
        group("ve", "euler", 20, rows[1]),
        group("vp", "heun", 20, rows[2]),
    )
    (found,) = headlines(results)
    assert found.text.startswith("ve/heun leads vp/heun by")


def test_trainings_that_are_asked_for_let_the_least_p_value_pass():
    for comparisons in (1, 5, 20):
        for shared in (False, True):
            needed = units_needed(comparisons, shared=shared)
            assert least_p(needed, needed, shared=shared) * comparisons <= LEVEL
    assert units_needed(1, shared=False) == 5
    assert units_needed(1, shared=True) == 6
    assert units_needed(10**9, shared=True) is None


def test_reasons_are_said_once_if_they_are_the_same():
    budgets = [
        group(train, "heun", budget, spread(mean, 1, seed=budget))
        for budget in (5, 20)
        for train, mean in (("ve", 1.0), ("vp", 2.0))
    ]
    assert shared_reason(headlines(made(*budgets))).startswith("1 training × 4 sample seeds; 5 × 4")
    assert shared_reason(headlines(made(*budgets[:2]))) == ""
    between = [group("ve", f"s{k}", 20, spread(1.1, 1, seed=k)) for k in range(3)]
    found = headlines(made(*budgets, *between))
    assert [one.needs for one in found] == ["5 × 4 would decide it", "6 × 4 would decide it"]
    assert shared_reason(found) == "1 training × 4 sample seeds"


@pytest.mark.slow
def test_equal_models_are_rarely_called_different():
    """Five equal models, seven trainings each: some lead is established in at most 5 % of tables
    (here of 40, so at most 6 but for one chance in 300).
    """
    wrong = 0
    for table in range(40):
        noise = np.random.default_rng(table).normal(size=(5, 7, 4))
        parts = [group(f"m{k}", "heun", 20, 5 + noise[k]) for k in range(5)]
        wrong += "established" in set(made(*parts).board["verdict"])
    assert wrong <= 6
