"""Who leads at each budget, by how much, and when that is called established."""

import numpy as np
import pytest
from made_results import FD, IS, group, made

from bench.report.formats import value_text, with_interval
from bench.report.headline import units_needed, verdict
from bench.suite.claims import LEVEL, least_p


def spread(mean, trainings, seeds=4, *, seed=0, sd=0.1):
    return mean + sd * np.random.default_rng(seed).normal(size=(trainings, seeds))


def of_two(first, second, **more):
    return made(group("ve", "heun", 20, first), group("vp", "heun", 20, second), **more)


def test_a_clear_lead_of_enough_trainings_is_established_with_its_size_and_interval():
    results = of_two(spread(1.0, 6, seed=1), spread(2.0, 6, seed=2))
    (found,) = verdict(results).headlines
    board = results.board.set_index("train")
    difference = board.loc["vp", FD] - board.loc["ve", FD]
    assert board.loc["vp", f"{FD} behind"] == pytest.approx(difference)
    low, high = (board.loc["vp", f"{FD} behind {end}"] for end in ("low", "high"))
    assert 0 < low < difference < high
    ve, vp = (value_text(board.loc[name], FD) for name in ("ve", "vp"))
    p = board.loc["vp", "verdict p"]
    assert 0 < p <= LEVEL
    assert found.sentence == (
        f"At 20 NFE ve/heun ({ve}) leads vp/heun ({vp}) by {with_interval(difference, low, high)}: "
        f"established (p = {p:.3f})."
    )
    assert list(results.board["verdict"]) == ["best", "established"]
    assert np.isnan(board.loc["ve", "verdict p"])


def test_of_too_few_trainings_a_lead_is_a_hint_that_says_what_would_decide_it():
    results = of_two(spread(1.0, 1, seed=1), spread(2.0, 1, seed=2))
    (found,) = verdict(results).headlines
    assert found.status == "hint"
    assert np.isnan(results.board["verdict p"]).all()
    assert found.sentence.endswith(
        ": a hint (too few trainings for a test: 1 training × 4 sample seeds, 500 images each; a "
        "test takes 5 trainings × 4 sample seeds, 500 images each)."
    )


def test_of_exact_scores_sample_seeds_decide():
    parts = [
        group(train, "heun", 20, spread(mean, 1, 10, seed=seed), training_images=0)
        for seed, (train, mean) in enumerate([("ve", 1.0), ("vp", 2.0)])
    ]
    assert verdict(made(*parts)).headlines[0].status == "established"
    few = [[row for row in part if row["sample_seed"] < 3] for part in parts]
    (found,) = verdict(made(*few)).headlines
    assert found.why == (
        "too few sample seeds for a test: 3 sample seeds of exact scores, 500 images each; a test "
        "takes 6 sample seeds of exact scores, 500 images each"
    )


def test_too_few_images_are_asked_for_as_well():
    results = of_two(spread(1.0, 1, seed=1), spread(2.0, 1, seed=2))
    results.identities["aaaaaaaa"] |= {"count": 64}
    assert verdict(results).headlines[0].why == (
        "too few trainings and images for a test: 1 training × 4 sample seeds, 64 images each; a "
        "test takes 5 trainings × 4 sample seeds, 240 images each"
    )


def test_an_interval_that_holds_0_is_not_told_apart():
    results = of_two(spread(1.0, 6, seed=1), spread(1.01, 6, seed=2))
    (found,) = verdict(results).headlines
    assert found.status == "tied"
    assert "ve/heun (" in found.sentence
    assert ") is ahead of vp/heun (" in found.sentence
    assert ": not told apart (the interval of the difference holds 0: " in found.sentence


def test_a_metric_that_is_better_when_higher_has_its_lead_positive():
    results = of_two(spread(1.0, 6, seed=1), spread(2.0, 6, seed=2), metrics=(IS, FD))
    (found,) = verdict(results).headlines
    assert (found.names, found.verb) == (("ve/heun", "vp/heun"), "leads")
    assert found.by == "0.992 [0.904, 1.079]"
    assert "higher is better" in verdict(results).intro
    assert (results.board[f"{IS} behind"] >= 0).all()


def test_the_lead_is_over_the_best_of_another_model_and_pays_for_what_lies_between():
    rows = [spread(1.0, 6, seed=1), spread(1.5, 6, seed=2), spread(2.0, 6, seed=3)]
    results = made(
        group("ve", "heun", 20, rows[0]),
        group("ve", "euler", 20, rows[1]),
        group("vp", "heun", 20, rows[2]),
    )
    told = verdict(results)
    assert [one.names for one in told.headlines] == [("ve/heun", "vp/heun")]
    assert "beside the best row of another model." in told.intro


def test_with_one_model_the_next_row_is_what_the_best_is_held_against():
    rows = [spread(1.0, 6, seed=1), spread(1.5, 6, seed=2)]
    own = [group("ve", name, 20, row) for name, row in zip(("heun", "euler"), rows, strict=True)]
    told = verdict(made(*own))
    assert [one.names for one in told.headlines] == [("ve/heun", "ve/euler")]
    assert "of another model" not in told.intro
    assert "the next best row, of the same model" in told.intro
    both = verdict(
        made(*own, *(group(name, "heun", 5, row) for name, row in zip("ab", rows, strict=True)))
    )
    assert "or the next best row of its own where there is no other" in both.intro


def test_values_carry_the_mark_of_their_interval_once():
    results = of_two(spread(1.0, 1, seed=1), spread(2.0, 1, seed=2))
    told = verdict(results)
    assert "†" not in "".join(told.headlines[0].values)
    assert told.headlines[0].by.endswith("] †")
    assert any(line.startswith("†: the interval is for other sample seeds") for line in told.basis)


def test_trainings_that_are_asked_for_let_the_least_p_value_pass():
    for comparisons in (1, 5, 20):
        for shared in (False, True):
            needed = units_needed(comparisons, shared=shared)
            assert least_p(needed, needed, shared=shared) * comparisons <= LEVEL
    assert units_needed(1, shared=False) == 5
    assert units_needed(1, shared=True) == 6
    assert units_needed(10**9, shared=True) is None


def test_what_leads_rest_on_is_said_once_if_it_is_the_same():
    budgets = [
        group(train, "heun", budget, spread(mean, 1, seed=budget))
        for budget in (5, 20)
        for train, mean in (("ve", 1.0), ("vp", 2.0))
    ]
    told = verdict(made(*budgets))
    rests = "What is not established rests on 1 training × 4 sample seeds, 500 images each; to "
    assert told.basis[0] == (
        f"{rests}test all of it takes 5 trainings × 4 sample seeds, 500 images each."
    )
    assert {one.why for one in told.headlines} == {"too few trainings for a test"}
    between = [group("ve", f"s{k}", 20, spread(1.1, 1, seed=k)) for k in range(3)]
    told = verdict(made(*budgets, *between))
    assert "takes 6 trainings × 4" in told.basis[0], "the most that any of them takes"
    unlike = verdict(made(*budgets[:2], *(group(n, "heun", 20, spread(1.0, 2)) for n in "ab")))
    assert not any(line.startswith("What is not established") for line in unlike.basis)
    assert all("a test takes" in one.why for one in unlike.headlines)


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
