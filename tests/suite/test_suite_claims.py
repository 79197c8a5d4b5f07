"""Claims: what is compared with what, and whether any run could decide it."""

from dataclasses import replace

import pytest
from synthetic_suite import METRICS

CLAIMED = """\
name: study
dataset: digits
metrics: [fd, {metric: fd, reference: test}]
samples: {count: 256, batch: 128, seeds: [0, 1]}
train:
  vp: {method: sde, seeds: [0, 1, 2, 3, 4, 5]}
  ve: {method: sde, params: {process: ve}, seeds: [0, 1, 2, 3, 4]}
points:
  - {train: [vp, ve], sampler: heun, grid: {nfe: [5, 10]}}
  - {train: vp, sampler: levels, grid: {nfe: [5, 10, 20]}}
claims:
  - %s
"""


def test_claims_on_unlike_sample_seeds_are_named_before_the_run(read):
    claimed = CLAIMED % "{metric: fd(test), smallest_effect: 0.5, pairs: [[vp heun, vp levels]]}"
    suite = read(claimed.replace("{nfe: [5, 10, 20]}", "{nfe: [5, 10]}, seeds: [0]"))
    for budget in (5, 10):
        assert (
            f"claims: vp · heun · nfe {budget} against vp · levels · nfe {budget} stays undecided: "
            "their sample seeds are unlike"
        ) in suite.notes
    assert "claims: 1 sample seed is too few, 2 are needed" in suite.notes


@pytest.mark.parametrize(
    ("claim", "pairs"),
    [
        (
            "pairs: [[vp heun, ve]]",
            [
                ("vp · heun · nfe 5", "ve · heun · nfe 5"),
                ("vp · heun · nfe 10", "ve · heun · nfe 10"),
            ],
        ),
        (
            "pairs: [[vp levels nfe 20, ve · heun · nfe 10]]",
            [("vp · levels · nfe 20", "ve · heun · nfe 10")],
        ),
        (
            "vs: vp heun",
            [
                ("ve · heun · nfe 5", "vp · heun · nfe 5"),
                ("ve · heun · nfe 10", "vp · heun · nfe 10"),
                ("vp · levels · nfe 5", "vp · heun · nfe 5"),
                ("vp · levels · nfe 10", "vp · heun · nfe 10"),
            ],
        ),
    ],
    ids=["equal budgets", "two single groups", "all others"],
)
def test_claims_name_groups_of_equal_budget_or_two_single_ones(read, claim, pairs):
    suite = read(CLAIMED % f"{{metric: fd(test), smallest_effect: 0.5, {claim}}}")
    assert [(c.first, c.second) for c in suite.claims] == pairs
    assert {(c.metric, c.smallest_effect) for c in suite.claims} == {("fd(test)", 0.5)}
    assert suite.resolved["claims"] == [
        {"metric": "fd(test)", "smallest_effect": 0.5, "first": first, "second": second}
        for first, second in pairs
    ]


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (
            "pairs: [[vp, ve]]",
            "claims.0.pairs.0: compares ve · heun · nfe 5 with vp · heun · nfe 5 and with vp · "
            "levels · nfe 5: say "
            'more words of the one that is meant (value: ["vp", "ve"])',
        ),
        (
            "vs: nothing",
            "claims.0.vs: names no group of the suite; allowed: vp heun nfe 5, vp heun nfe 10, "
            "ve heun nfe 5, "
            "ve heun nfe 10, vp levels nfe 5, vp levels nfe 10, vp levels nfe 20 (value: "
            '"nothing")',
        ),
        (
            "pairs: [[vp levels nfe 20, ve]]",
            'claims.0.pairs.0: names no two groups of equal budget (value: ["vp levels nfe 20", '
            '"ve"])',
        ),
        (
            "metric: fd, vs: ve",
            "claims.0.metric: names several columns: give the one that is meant; allowed: "
            "fd(train), fd(test) "
            '(value: "fd")',
        ),
    ],
)
def test_claims_that_do_not_say_what_they_are_about_are_problems(wrong, claim, message):
    metric = "" if "metric" in claim else "metric: fd(test), "
    assert wrong(CLAIMED % f"{{{metric}smallest_effect: 0.5, {claim}}}") == [
        f"suite.yaml:12: {message}"
    ]


def test_claims_that_no_run_could_decide_are_noted(read):
    def notes(text):
        return [note for note in read(text).notes if note.startswith("claims")]

    text = CLAIMED % "{metric: fd(train), smallest_effect: 0.5, pairs: [[vp heun, vp levels]]}"
    few = (
        "claims: 2 sample seeds; of differences of three deviations between trainings, two show "
        "one in five and 4 show "
        "three in four (docs/calibration)"
    )
    fit = text.replace("seeds: [0, 1]}", "seeds: [0, 1, 2, 3]}")
    assert notes(fit.replace("vp heun, vp levels", "vp heun nfe 5, vp levels nfe 5")) == []
    assert notes(text.replace("vp heun, vp levels", "vp heun nfe 5, vp levels nfe 5")) == [few]
    assert notes(fit) == [
        "claims: no difference can be shown: the least p-value of so few trainings is 0.031, "
        "after Holm's correction "
        "over 2 claims 0.062; state fewer claims or train more often"
    ]
    assert (
        notes(text.replace("seeds: [0, 1]}", "seeds: [0]}"))[0]
        == "claims: 1 sample seed is too few, 2 are needed"
    )
    assert notes(text.replace("3, 4, 5]", "3, 4]"))[0] == (
        "claims: vp · heun · nfe 5 against vp · levels · nfe 5 stays undecided: it needs 6 "
        "trainings that both share"
    )


def test_claims_go_with_the_groups_that_are_left(read):
    text = CLAIMED % (
        "{metric: fd(train), smallest_effect: 0.5, pairs: [[vp heun, ve], [vp levels nfe 5, ve "
        "heun nfe 5]]}"
    )
    assert len(read(text).claims) == len(read(text, smoke=True).claims) == 3
    assert read(text, only=["vp"]).claims == ()
    assert read(text, only=["ve", "levels"]).claims == read(text).claims[2:]


def test_claims_about_what_a_trial_run_does_not_have_are_noted(read):
    text = (CLAIMED % "{metric: fd, smallest_effect: 0.5, pairs: [[vp heun, ve]]}").replace(
        ", reference: test", ""
    )
    text = text.replace("[fd, {metric: fd}]", "[fd]")
    many = {"metrics": {"fd": replace(METRICS["fd"], needs=lambda params, data: (100, ""))}}
    assert len(read(text, **many).claims) == 2
    trial = read(text, smoke=True, **many)
    assert trial.claims == ()
    assert "claims.0.metric: fd is left out of the trial run" in trial.notes
