"""Profiles, options and --only: layers over the file, and a part of its points."""

import textwrap

import pytest
from synthetic_suite import GOOD, with_line

from bench.spec import TrainSpec


def test_unknown_profile_is_shown_with_the_profiles_there_are(wrong):
    assert wrong(GOOD + "profiles: {quick: {samples: {count: 8}}}\n", profile="quik") == [
        "--profile quik: there is no such profile; did you mean quick? allowed: quick (value: "
        '"quik")'
    ]


def test_unknown_only_is_shown_with_a_near_miss(wrong):
    assert wrong(only=["vp hein"]) == [
        "--only vp hein: matches no point; did you mean vp heun nfe 5?; train labels: vp"
    ]


def test_profile_merges_mappings_and_replaces_the_rest(read):
    text = GOOD + textwrap.dedent("""\
        profiles:
          quick:
            name: quick
            samples: {count: 8}
            likelihood: none
            train: {vp: {params: {steps: 7}}}
            points: [{train: vp, sampler: levels}]
        """)
    suite = read(text, profile="quick", sets=["train.vp.params.steps=9", "samples.seeds=[4]"])
    (point,) = suite.points
    assert suite.name == "quick"
    assert (point.count, point.sample.batch, point.sample.seed) == (8, 128, 4)
    assert point.sample.sampler == "levels"
    assert point.sample.train.params == {"steps": 9}
    assert point.likelihood is None
    assert len(read(text).points) == 2


def test_profile_takes_a_train_label_out_by_null(read):
    text = GOOD.replace("train:\n", "train:\n  other: {method: sde, params: {steps: 3}}\n")
    text += "profiles: {without: {train: {other: null}}}\n"
    assert read(text).train.keys() == {"vp", "other"}
    assert read(text, profile="without").train.keys() == {"vp"}


def test_profile_takes_claims_out_by_null(read):
    pair = "[vp heun nfe 5, vp heun nfe 10]"
    text = GOOD + f"claims: [{{metric: fd, smallest_effect: 0.5, pairs: [{pair}]}}]\n"
    text += "profiles: {bare: {claims: null}}\n"
    assert len(read(text).claims) == 1
    assert read(text, profile="bare").claims == ()


def test_profile_that_is_not_asked_for_needs_no_checkpoint(read, wrong):
    entry = "{method: sde, checkpoint: absent.pth, weights: ema}"
    text = GOOD + f"profiles: {{theirs: {{train: {{theirs: {entry}}}}}}}\n"
    assert read(text).train.keys() == {"vp"}
    assert "nothing lies at" in wrong(text, profile="theirs")[0]


def test_option_reaches_into_a_list(read):
    assert read(sets=["points.0.grid.nfe=[7]"]).points[0].budget == 7


def test_smoke_is_one_small_batch_of_every_point(read):
    text = with_line(7, "  vp: {method: sde, params: {steps: 70}, seeds: [3, 4]}").replace(
        "{images: 64}", "{images: 64, sweep: {tolerance: [0.1]}}"
    )
    suite = read(text, smoke=True)
    assert suite.name == "study-smoke"
    assert len(suite.points) == 2
    for point in suite.points:
        assert (point.count, point.sample.batch, point.scores[0].count) == (4, 4, 4)
        assert point.sample.train.params == {"steps": 2}
        assert point.sample.train.seed == 3
        assert (point.likelihood.images, point.likelihood.batch) == (2, 2)
    assert suite.sweep == {}


@pytest.mark.parametrize(
    ("only", "groups"),
    [
        (["vp"], ["vp · heun · nfe 5", "vp · heun · nfe 50", "vp · levels · nfe 5"]),
        (["heun"], ["vp · heun · nfe 5", "vp · heun · nfe 50", "ve · heun · nfe 5"]),
        (["heun nfe 5"], ["vp · heun · nfe 5", "ve · heun · nfe 5"]),
        (["vp · heun · nfe 50"], ["vp · heun · nfe 50"]),
        (["eve"], ["vp · levels · nfe 5"]),
        (["ve", "level"], ["vp · levels · nfe 5", "ve · heun · nfe 5"]),
    ],
)
def test_only_keeps_the_points_asked_for(read, only, groups):
    text = """\
        name: study
        dataset: digits
        metrics: [fd]
        samples: {count: 8, batch: 4}
        train: {vp: {method: sde}, ve: {method: sde, params: {process: ve}}}
        points:
          - {train: vp, sampler: heun, grid: {nfe: [5, 50]}}
          - {train: vp, sampler: levels, grid: {nfe: [5]}}
          - {train: ve, sampler: heun, grid: {nfe: [5]}}
        """
    suite = read(text, only=only)
    assert [point.group for point in suite.points] == groups
    assert set(suite.train) == {point.train for point in suite.points}


def test_batch_larger_than_the_count_is_noted(read):
    notes = read(with_line(4, "samples: {count: 100}")).notes
    assert "samples.batch: 500 images are made at a time and only 100 are used" in notes


def test_model_that_no_point_samples_from_is_kept_and_noted(read):
    suite = read(with_line(7, "  vp: {method: sde}\n  idle: {method: plain}"))
    assert isinstance(suite.train["idle"][0], TrainSpec)
    assert "train.idle: no point samples from it" in suite.notes
