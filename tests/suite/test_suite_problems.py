"""What is wrong is named with its line, key path, near miss and allowed values."""

import pytest
from synthetic_suite import GOOD, with_line

CLAIM = "metric: fd, smallest_effect: 0.5, pairs: [[vp heun nfe 10, vp heun nfe 5]]"


ONE_PROBLEM = {
    "unknown method": (
        with_line(7, "  vp: {method: sdee}"),
        "suite.yaml:7: train.vp.method: unknown method; did you mean sde? allowed: sde, plain "
        '(value: "sdee")',
    ),
    "no method": (
        with_line(7, "  vp: {}"),
        "suite.yaml:7: train.vp.method: is missing; allowed: sde, plain",
    ),
    "unknown preset": (
        with_line(7, "  vp: {method: sde, preset: wid}"),
        "suite.yaml:7: train.vp.preset: unknown preset; did you mean wide? allowed: wide (value: "
        '"wid")',
    ),
    "unknown parameter": (
        with_line(7, "  vp: {method: sde, params: {sgima_max: 3}}"),
        "suite.yaml:7: train.vp.params.sgima_max: unknown key; did you mean sigma_max? "
        "allowed: process, sigma_min, sigma_max, steps, net (value: 3)",
    ),
    "unknown nested parameter": (
        with_line(7, "  vp: {method: sde, params: {net: {widht: 3}}}"),
        "suite.yaml:7: train.vp.params.net.widht: unknown key; did you mean width? "
        "allowed: width, multipliers (value: 3)",
    ),
    "parameter of a wrong type": (
        with_line(7, "  vp: {method: sde, params: {steps: 1.5}}"),
        "suite.yaml:7: train.vp.params.steps: should be a whole number (value: 1.5)",
    ),
    "a number where true is no number": (
        with_line(7, "  vp: {method: sde, params: {steps: true}}"),
        "suite.yaml:7: train.vp.params.steps: should be a whole number (value: true)",
    ),
    "word that is none of the allowed": (
        with_line(7, "  vp: {method: sde, params: {process: vpp}}"),
        "suite.yaml:7: train.vp.params.process: should be one of 'vp', 've'; did you mean vp? "
        '(value: "vpp")',
    ),
    "item of a wrong type": (
        with_line(7, "  vp: {method: sde, params: {net: {multipliers: [1, x]}}}"),
        'suite.yaml:7: train.vp.params.net.multipliers.1: should be a whole number (value: "x")',
    ),
    "rule of the parameters": (
        with_line(7, "  vp: {method: sde, params: {sigma_min: 0}}"),
        'suite.yaml:7: train.vp.params: sigma_min should be positive (value: {"sigma_min": 0})',
    ),
    "parameters that do not fit the data": (
        with_line(7, "  vp: {method: sde, params: {net: {width: 7}}}"),
        "suite.yaml:7: train.vp.params: width 7 does not fit 8 pixels",
    ),
    "key that a model does not have": (
        with_line(7, "  vp: {method: sde, teacher: a.pth}"),
        "suite.yaml:7: train.vp.teacher: unknown key; allowed: method, preset, params, seeds, "
        "snapshots, ema, "
        'checkpoint, weights, if_missing, samples_from (value: "a.pth")',
    ),
    "label that is no file name": (
        with_line(7, "  vp/a: {method: sde}").replace("train: vp,", "train: vp/a,"),
        "suite.yaml:7: train.vp/a: should be a name for files: at most 80 letters, digits, '.', "
        "'_' and '-', "
        'a letter or digit first (value: "vp/a")',
    ),
    "name that is no file name": (
        with_line(1, "name: ../x"),
        "suite.yaml:1: name: should be a name for files: at most 80 letters, digits, '.', '_' "
        "and '-', "
        'a letter or digit first (value: "../x")',
    ),
    "negative seed": (
        with_line(7, "  vp: {method: sde, seeds: [-1]}"),
        "suite.yaml:7: train.vp.seeds.0: should be at least 0 (value: -1)",
    ),
    "repeated seed": (
        with_line(7, "  vp: {method: sde, seeds: [3, 3]}"),
        "suite.yaml:7: train.vp.seeds.1: stands in this list twice (value: 3)",
    ),
    "seeds that are no list": (
        with_line(4, "samples: {count: 256, batch: 128, seeds: 3}"),
        "suite.yaml:4: samples.seeds: should be a list (value: 3)",
    ),
    "unknown section": (
        GOOD + "metric: fd\n",
        "suite.yaml:10: metric: unknown key; did you mean metrics? allowed: name, dataset, "
        "metrics, samples, train, "
        "likelihood, inspect, points, claims, keep, figures, controlled, most_nfe, plugins, "
        "profiles "
        '(value: "fd")',
    ),
    "missing section": (GOOD.replace("dataset: digits\n", ""), "suite.yaml:1: dataset: is missing"),
    "missing points": (GOOD[: GOOD.index("points")], "suite.yaml:1: points: is missing"),
    "empty points": (
        GOOD[: GOOD.index("points")] + "points: []\n",
        "suite.yaml:8: points: should not be empty (value: [])",
    ),
    "unknown data set": (
        with_line(2, "dataset: digit"),
        "suite.yaml:2: dataset: unknown data set; did you mean digits? allowed: digits, faces, "
        "image_folder, lsun "
        '(value: "digit")',
    ),
    "unknown metric": (
        with_line(3, "metrics: [fdd]"),
        'suite.yaml:3: metrics.0: unknown metric; did you mean fd? allowed: fd (value: "fdd")',
    ),
    "unknown parameter of a metric": (
        with_line(3, "metrics: [{metric: fd, refernce: test}]"),
        "suite.yaml:3: metrics.0.refernce: unknown key; did you mean reference? allowed: "
        'reference (value: "test")',
    ),
    "one metric twice": (
        with_line(3, "metrics: [fd, {metric: fd, reference: train}]"),
        "suite.yaml:3: metrics.1: the column fd(train) is there already "
        '(value: {"metric": "fd", "reference": "train"})',
    ),
    "metric that does not read the data": (
        with_line(2, "dataset: faces"),
        'suite.yaml:3: metrics.0: reads grey images (value: "fd")',
    ),
    "metrics that are no list": (
        with_line(3, "metrics: fd"),
        'suite.yaml:3: metrics: should be a list (value: "fd")',
    ),
    "count of 0": (
        with_line(4, "samples: {count: 0}"),
        "suite.yaml:4: samples.count: should be at least 1 (value: 0)",
    ),
    "no count": (with_line(4, "samples: {batch: 8}"), "suite.yaml:4: samples.count: is missing"),
    "unknown rounding": (
        with_line(4, "samples: {count: 8, quantise: trunc}"),
        "suite.yaml:4: samples.quantise: should be one of 'round', 'truncate', 'none'; did you "
        "mean truncate? "
        '(value: "trunc")',
    ),
    "precision that is not there": (
        with_line(4, "samples: {count: 8, precision: float16}"),
        "suite.yaml:4: samples.precision: should be one of 'float32', 'bfloat16'; did you mean "
        "bfloat16? "
        '(value: "float16")',
    ),
    "more likelihood images than there are": (
        with_line(5, "likelihood: {images: 361}"),
        "suite.yaml:5: likelihood.images: the split test has 360 images (value: 361)",
    ),
    "unknown split": (
        with_line(5, "likelihood: {images: 61, split: tests}"),
        "suite.yaml:5: likelihood.split: unknown split; did you mean test? allowed: train, test "
        '(value: "tests")',
    ),
    "likelihood parameter that no method knows": (
        with_line(5, "likelihood: {images: 64, probe: 2}"),
        "suite.yaml:5: likelihood.probe: unknown key; did you mean probes? allowed: images, "
        "batch, split, seed, "
        "sweep, tolerance, probes (value: 2)",
    ),
    "wrong value in a likelihood sweep": (
        with_line(5, "likelihood: {images: 64, sweep: {tolerance: [0.1, small]}}"),
        'suite.yaml:5: likelihood.sweep.tolerance.1: should be a number (value: "small")',
    ),
    "likelihood where no method has one": (
        GOOD.replace("method: sde", "method: plain").replace("heun", "jump"),
        "suite.yaml:5: likelihood: no method here has a likelihood (plain: its model is no "
        "density)",
    ),
    "unknown train label": (
        with_line(9, "  - {train: vpp, sampler: heun}"),
        "suite.yaml:9: points.0.train: unknown train label; did you mean vp? allowed: vp (value: "
        '"vpp")',
    ),
    "unknown train label in a list": (
        with_line(9, "  - {train: [vp, vpp], sampler: heun}"),
        "suite.yaml:9: points.0.train.1: unknown train label; did you mean vp? allowed: vp "
        '(value: "vpp")',
    ),
    "unknown sampler": (
        with_line(9, "  - {train: vp, sampler: huen}"),
        "suite.yaml:9: points.0.sampler: unknown sampler of sde; did you mean heun? allowed: "
        "heun, levels, adaptive, published "
        '(value: "huen")',
    ),
    "no sampler": (
        with_line(9, "  - {train: vp}"),
        "suite.yaml:9: points.0.sampler: is missing; allowed: heun, levels, adaptive, published",
    ),
    "unknown sampler parameter": (
        with_line(9, "  - {train: vp, sampler: heun, params: {snt: 1}}"),
        "suite.yaml:9: points.0.params.snt: unknown key; did you mean snr? allowed: steps, snr "
        "(value: 1)",
    ),
    "sampler parameters that are no mapping": (
        with_line(9, "  - {train: vp, sampler: heun, params: 3, grid: {nfe: [5]}}"),
        "suite.yaml:9: points.0.params: should be a mapping; allowed: steps, snr (value: 3)",
    ),
    "unknown axis": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {nef: [1]}}"),
        "suite.yaml:9: points.0.grid.nef: unknown key; did you mean nfe? allowed: nfe, steps, "
        "snr, times (value: [1])",
    ),
    "empty grid": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {}}"),
        "suite.yaml:9: points.0.grid: should not be empty; allowed: nfe, steps, snr, times",
    ),
    "empty axis": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {nfe: []}}"),
        "suite.yaml:9: points.0.grid.nfe: should not be empty (value: [])",
    ),
    "axis value of a wrong type": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {snr: [0.1, a]}}"),
        'suite.yaml:9: points.0.grid.snr.1: should be a number (value: "a")',
    ),
    "axis that is given outside the grid too": (
        with_line(9, "  - {train: vp, sampler: heun, params: {snr: 0.1}, grid: {snr: [0.2]}}"),
        "suite.yaml:9: points.0.grid.snr: is given outside the grid as well (value: [0.2])",
    ),
    "unknown time grid": (
        with_line(9, "  - {train: vp, sampler: heun, times: uniforn}"),
        "suite.yaml:9: points.0.times: unknown time grid of heun; did you mean uniform? allowed: "
        "rho7, uniform "
        '(value: "uniforn")',
    ),
    "time grid for a sampler that takes none": (
        with_line(9, "  - {train: vp, sampler: levels, times: uniform}"),
        'suite.yaml:9: points.0.times: levels takes no time grid (value: "uniform")',
    ),
    "budget that buys no step": (
        with_line(9, "  - {train: vp, sampler: levels, grid: {nfe: [9, 2]}}"),
        "suite.yaml:9: points.0.grid.nfe.1: buys no step of levels for vp: one step "
        "costs 3 evaluations "
        "(value: 2)",
    ),
    "budget of 0": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {nfe: [0]}}"),
        "suite.yaml:9: points.0.grid.nfe.0: should be at least 1 (value: 0)",
    ),
    "budget for an adaptive sampler": (
        with_line(9, "  - {train: vp, sampler: adaptive, grid: {nfe: [9]}}"),
        "suite.yaml:9: points.0.grid.nfe: adaptive is adaptive: it has no budget, sweep its "
        "tolerance instead "
        "(value: [9])",
    ),
    "budget and steps": (
        with_line(9, "  - {train: vp, sampler: heun, params: {steps: 4}, grid: {nfe: [9]}}"),
        "suite.yaml:9: points.0.params.steps: is what a budget buys for heun: give nfe or steps, "
        "not both (value: 4)",
    ),
    "sampler and method that do not go together": (
        with_line(9, "  - {train: vp, sampler: heun, params: {snr: 0.5}, grid: {nfe: [9, 19]}}"),
        "suite.yaml:9: points.0: vp with heun: snr 0.5 asks for VE",
    ),
    "repeated point": (
        GOOD + "  - {train: vp, sampler: heun, times: rho7, grid: {nfe: [10]}}\n",
        "suite.yaml:10: points.1: repeats the point vp · heun · nfe 10 of points.0",
    ),
    "wrong keep": (
        GOOD + "keep: {samples: al}\n",
        "suite.yaml:10: keep.samples: should be 'all' or a whole number; did you mean all? "
        '(value: "al")',
    ),
    "wrong figures": (
        GOOD + "figures: nice\n",
        "suite.yaml:10: figures: should be one of 'default', 'none' or a list of texts "
        '(value: "nice")',
    ),
    "key twice": (
        GOOD + "name: other\n",
        "suite.yaml:10: name: the key stands here twice, first on line 1",
    ),
    "key that is no text": (
        GOOD + "2: {method: sde}\n",
        'suite.yaml:10: ?: a key should be a text: write it in quotes (value: "2")',
    ),
    "tag": (
        with_line(1, "name: !!binary aGk="),
        'suite.yaml:1: name: this tag is not allowed: values are plain (value: "!!binary")',
    ),
    "number with a leading 0": (
        with_line(4, "samples: {count: 0100}"),
        "suite.yaml:4: samples.count: is not a plain decimal number: write it without a leading "
        "0, or in quotes as a "
        'text (value: "0100")',
    ),
    "number in base 60": (
        with_line(7, "  vp: {method: sde, params: {steps: 12:30:45}}"),
        "suite.yaml:7: train.vp.params.steps: is not a plain decimal number: write it without a "
        "leading 0, or in "
        'quotes as a text (value: "12:30:45")',
    ),
    "word that was a boolean once": (
        GOOD + "controlled: no\n",
        'suite.yaml:10: controlled: should be true or false (value: "no")',
    ),
    "more images than can be made": (
        with_line(4, "samples: {count: 10000001, batch: 500}"),
        "suite.yaml:4: samples.count: makes 10,000,001 images per point: more than 10,000,000 "
        "are refused "
        "(value: 10000001)",
    ),
    "more batches than can be made": (
        with_line(4, "samples: {count: 600000, batch: 1}"),
        "suite.yaml:4: samples: makes 1,200,000 batches of images: more than 1,000,000 are "
        "refused (value: 1200000)",
    ),
    "broken rule of the likelihood": (
        with_line(
            5, "likelihood: {images: 64, probes: 2, tolerance: 0, sweep: {probes: [1, 2, 3]}}"
        ),
        "suite.yaml:5: likelihood.tolerance: tolerance should be positive (value: 0)",
    ),
    "broken rule in a likelihood sweep": (
        with_line(5, "likelihood: {images: 64, sweep: {tolerance: [0.1, -1], probes: [1, 2, 3]}}"),
        "suite.yaml:5: likelihood.sweep.tolerance.1: tolerance should be positive (value: -1.0)",
    ),
    "infinite number": (
        with_line(7, "  vp: {method: sde, params: {sigma_max: .inf}}"),
        'suite.yaml:7: train.vp.params.sigma_max: should be finite (value: "inf")',
    ),
    "claims that are no list": (
        GOOD + "claims: {metric: fd}\n",
        'suite.yaml:10: claims: should be a list (value: {"metric": "fd"})',
    ),
    "key that a claim does not have": (
        GOOD + f"claims:\n  - {{{CLAIM}, pair: []}}\n",
        "suite.yaml:11: claims.0.pair: unknown key; did you mean pairs? allowed: metric, "
        "smallest_effect, pairs, vs "
        "(value: [])",
    ),
    "claim without a smallest effect": (
        GOOD + "claims:\n  - {metric: fd, vs: vp heun nfe 10}\n",
        "suite.yaml:11: claims.0.smallest_effect: is missing",
    ),
    "smallest effect of 0": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('0.5', '0')}}}\n",
        "suite.yaml:11: claims.0.smallest_effect: should be positive (value: 0.0)",
    ),
    "claim with pairs and vs": (
        GOOD + f"claims:\n  - {{{CLAIM}, vs: vp}}\n",
        "suite.yaml:11: claims.0: should have either pairs or vs",
    ),
    "pair of three": (
        GOOD + "claims:\n  - {metric: fd, smallest_effect: 0.5, pairs: [[a, b, c]]}\n",
        'suite.yaml:11: claims.0.pairs.0: should be a list of texts (value: ["a", "b", "c"])',
    ),
    "claim about a metric that is not measured": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('fd', 'fdd')}}}\n",
        "suite.yaml:11: claims.0.metric: is no metric of the suite; did you mean fd? allowed: "
        "fd, fd(train) "
        '(value: "fdd")',
    ),
    "claim about a group that is not there": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('nfe 10', 'nfe 11')}}}\n",
        "suite.yaml:11: claims.0.pairs.0.0: names no group of the suite; did you mean vp heun "
        "nfe 10? allowed: "
        'vp heun nfe 5, vp heun nfe 10 (value: "vp heun nfe 11")',
    ),
    "claim that compares a group with itself": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('nfe 5', 'nfe 10')}}}\n",
        'suite.yaml:11: claims.0.pairs.0: compares a group with itself (value: ["vp heun nfe '
        '10", "vp heun nfe 10"])',
    ),
    "claim made twice": (
        GOOD
        + (
            f"claims:\n  - {{{CLAIM}}}\n  - "
            f"{{{CLAIM.replace('vp heun nfe 10', 'vp · heun · nfe 10')}}}\n"
        ),
        "suite.yaml:12: claims.1.pairs.0: vp · heun · nfe 10 against vp · heun · nfe 5 is "
        "claimed already by "
        "claims.0.pairs.0",
    ),
    "profile with an unknown section": (
        GOOD + "profiles:\n  quick: {sample: {count: 8}}\n",
        "suite.yaml:11: sample: unknown key; did you mean samples? allowed: name, dataset, "
        "metrics, samples, train, "
        "likelihood, inspect, points, claims, keep, figures, controlled, most_nfe, plugins, "
        "profiles "
        '(value: {"count": 8})',
    ),
    "profile with a wrong value": (
        GOOD + "profiles:\n  quick: {samples: {count: few}}\n",
        'suite.yaml:11: samples.count: should be a whole number (value: "few")',
    ),
}


@pytest.mark.parametrize(("text", "message"), ONE_PROBLEM.values(), ids=ONE_PROBLEM)
def test_problem_is_shown_with_line_key_path_near_miss_and_allowed_values(wrong, text, message):
    assert wrong(text) == [message]
