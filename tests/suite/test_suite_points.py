"""Grids expand to the points they say."""

import pytest
from synthetic_suite import GOOD, with_line

from bench.spec import key
from bench.suite.fault import SuiteError


def labels(suite):
    return [point.label for point in suite.points]


def test_grid_expands_to_its_product_over_models_seeds_and_sample_seeds(read):
    suite = read("""\
        name: study
        dataset: digits
        metrics: [fd]
        samples: {count: 8, batch: 4, seeds: [5, 6]}
        train:
          vp: {method: sde, seeds: [0, 1]}
          ve: {method: sde, params: {process: ve}}
        points:
          - {train: [vp, ve], sampler: heun, grid: {nfe: [5, 10], snr: [0.16, 0.2]}}
        """)
    assert len(suite.points) == 2 * 2 * (2 + 1) * 2
    assert labels(suite)[:5] == [
        "vp · heun · nfe 5 · snr 0.16 · seeds 0, 5",
        "vp · heun · nfe 5 · snr 0.16 · seeds 0, 6",
        "vp · heun · nfe 5 · snr 0.16 · seeds 1, 5",
        "vp · heun · nfe 5 · snr 0.16 · seeds 1, 6",
        "vp · heun · nfe 5 · snr 0.2 · seeds 0, 5",
    ]
    assert len({key(point.sample) for point in suite.points}) == len(suite.points)
    assert len({point.group for point in suite.points}) == 8


def test_an_entry_has_sample_seeds_of_its_own(read):
    entries = (
        "  - {train: vp, sampler: heun, grid: {nfe: [5]}}\n"
        "  - {train: vp, sampler: heun, grid: {nfe: [100]}, seeds: [7, 8, 9]}"
    )
    suite = read(with_line(9, entries))
    seeds = {}
    for point in suite.points:
        seeds.setdefault(point.budget, set()).add(point.sample.seed)
    assert seeds[100] == {7, 8, 9} != seeds[5]
    own = [point.get("seeds") for point in suite.resolved["points"]]
    assert own == [None, [7, 8, 9]]
    assert len(read(with_line(9, entries), smoke=True).points) == 2


@pytest.mark.parametrize("seeds", ["[]", "[-1]", "[1, 1]", "3", "[x]"])
def test_sample_seeds_of_an_entry_that_are_wrong_are_refused(read, seeds):
    entry = f"  - {{train: vp, sampler: heun, grid: {{nfe: [5]}}, seeds: {seeds}}}"
    with pytest.raises(SuiteError, match=r"points.0.seeds"):
        read(with_line(9, entry))


def test_budget_becomes_the_most_steps_that_fit(read):
    points = read(with_line(9, "  - {train: vp, sampler: heun, grid: {nfe: [1, 10, 11]}}")).points
    assert [(point.budget, point.sample.params) for point in points] == [
        (1, {"steps": 1}),
        (10, {"steps": 5}),
        (11, {"steps": 6}),
    ]


def test_rule_of_the_card_spends_the_budget(read):
    points = read(with_line(9, "  - {train: vp, sampler: levels, grid: {nfe: [3, 8]}}")).points
    assert [point.sample.params["steps"] for point in points] == [1, 2]
    assert [point.sample.times for point in points] == ["", ""]


def test_budgets_that_buy_the_same_steps_are_noted(read):
    suite = read(with_line(9, "  - {train: vp, sampler: heun, grid: {nfe: [9, 10]}}"))
    assert suite.points[0].sample == suite.points[1].sample
    assert "vp · heun: nfe 9 and nfe 10 buy the same steps" in suite.notes


def test_specs_hold_differences_versions_and_always_the_steps(read):
    suite = read(
        with_line(
            7, "  vp: {method: sde, preset: wide, params: {net: {multipliers: [1, 2]}, steps: 100}}"
        ).replace("grid: {nfe: [5, 10]}", "params: {snr: 0.16}")
    )
    (point,) = suite.points
    assert point.group == "vp · heun · steps 18"
    assert point.sample.params == {"steps": 18}
    assert point.sample.train.params == {"net": {"width": 32}}
    assert point.sample.train.method_version == 3
    assert point.sample.sampler_version == 2
    assert point.sample.times == "rho7"
    assert point.likelihood.version == 4
    assert point.likelihood.params == {}
    assert point.scores[0].metric_version == 5
    assert point.budget is None


def test_tolerance_is_always_named(read):
    suite = read(with_line(9, "  - {train: vp, sampler: adaptive}"))
    assert suite.points[0].sample.params == {"tolerance": 1e-5}
    assert suite.points[0].group == "vp · adaptive · tolerance 1e-05"


def test_time_grid_is_an_axis(read):
    suite = read(
        with_line(
            9, "  - {train: vp, sampler: heun, params: {steps: 3}, grid: {times: [rho7, uniform]}}"
        )
    )
    assert [(p.group, p.sample.times) for p in suite.points] == [
        ("vp · heun · steps 3 · times rho7", "rho7"),
        ("vp · heun · steps 3 · times uniform", "uniform"),
    ]


def test_likelihood_parameters_go_to_the_methods_that_know_them(read):
    suite = read("""\
        name: study
        dataset: digits
        metrics: [fd]
        samples: {count: 8, batch: 4}
        likelihood: {images: 64, probes: 2, sweep: {tolerance: [1e-1, 1e-2]}}
        train:
          vp: {method: sde, seeds: [0, 1]}
          other: {method: plain}
        points:
          - {train: vp, sampler: heun}
          - {train: other, sampler: jump}
        """)
    assert [point.likelihood and point.likelihood.params for point in suite.points] == [
        {"probes": 2},
        {"probes": 2},
        None,
    ]
    assert list(suite.sweep) == ["vp"]
    assert [(spec.train.seed, spec.params["tolerance"]) for spec in suite.sweep["vp"]] == [
        (0, 0.1),
        (1, 0.1),
        (0, 0.01),
        (1, 0.01),
    ]
    assert {(spec.images, spec.batch) for spec in suite.sweep["vp"]} == {(64, 64)}


def test_count_is_not_in_the_key_of_the_samples(read):
    few, many = read(), read(sets=["samples.count=512"])
    assert [key(p.sample) for p in few.points] == [key(p.sample) for p in many.points]
    assert key(few.points[0].scores[0]) != key(many.points[0].scores[0])


def test_precision_of_sampling_is_in_the_key_and_its_default_is_not(read):
    plain, rounded = (
        read(with_line(4, f"samples: {{count: 240{more}}}"))
        for more in ("", ", precision: bfloat16")
    )
    assert {point.sample.precision for point in rounded.points} == {"bfloat16"}
    assert {point.sample.precision for point in plain.points} == {"float32"}
    assert plain.points[0].sample.train == rounded.points[0].sample.train
    assert key(plain.points[0].sample) != key(rounded.points[0].sample)


def test_largest_budget_leaves_out_points_above_it_and_says_how_many(read):
    suite = read(GOOD + "  - {train: vp, sampler: heun, params: {steps: 50}}\nmost_nfe: 7\n")
    assert [point.budget for point in suite.points] == [5, None]  # what has no budget stays
    assert "most_nfe 7: 1 points of larger budgets are left out" in suite.notes
    assert suite.resolved["most_nfe"] == 7
    assert len(read(GOOD + "most_nfe: null\n").points) == len(read(GOOD).points) == 2
    profiled = read(GOOD + "profiles: {few: {most_nfe: 5}}\n", profile="few")
    assert [point.budget for point in profiled.points] == [5]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("most_nfe: 4", "leaves no budget of points.0, whose smallest is 5"),
        ("most_nfe: 0", "should be at least 1"),
        ("most_nfe: many", "most_nfe: should be"),
        ("profiles: {few: {most_nfe: 4}}", "leaves no budget of points.0"),
        ("most_nef: 5", "did you mean most_nfe?"),
    ],
)
def test_largest_budget_that_cannot_be_is_refused(wrong, line, why):
    assert any(why in message for message in wrong(GOOD + line + "\n"))
