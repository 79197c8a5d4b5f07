"""Suites: what is wrong is named with its place, all at once; what is right expands to the points
it says.
"""

import json
import textwrap
import zipfile
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pytest
import yaml

from bench.card import Card, Effort, LikelihoodCard, SamplerCard, adaptive
from bench.data.card import DataCard
from bench.data.digest import digest_checkpoint
from bench.data.external import count_images, digest_images
from bench.data.registry import DATASETS as ALL_DATASETS
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS as ALL_METRICS
from bench.plan import Job, expand
from bench.spec import ImagesSpec, TrainSpec, key
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite


@dataclass(frozen=True, kw_only=True)
class Net:
    width: int = 8
    multipliers: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Params:
    process: Literal["vp", "ve"] = "vp"
    sigma_min: float = 0.01
    sigma_max: Literal["data"] | float = "data"
    steps: int = 100
    net: Net = field(default_factory=Net)

    def __post_init__(self):
        if self.sigma_min <= 0:
            raise ValueError("sigma_min should be positive")


@dataclass(frozen=True, kw_only=True)
class Heun:
    steps: int = 18
    snr: float = 0.16


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    tolerance: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    tolerance: float = 1e-5
    probes: int = 1

    def __post_init__(self):
        if self.tolerance <= 0:
            raise ValueError("tolerance should be positive")


@dataclass(frozen=True, kw_only=True)
class Distance:
    reference: Literal["train", "test"] = "train"


CARDS = {
    "sde": Card(
        name="sde",
        title="SDE",
        version=3,
        paper="https://example.org",
        adapter="methods.none:None",
        params=Params,
        samplers={
            "heun": SamplerCard(
                version=2,
                summary="",
                params=Heun,
                effort=Effort(evaluations=lambda p: 2 * p.steps - 1),
                times=("rho7", "uniform"),
                refuse=lambda m, p, times: (
                    ["snr 0.5 asks for VE"] if p.snr == 0.5 and m.process == "vp" else []
                ),
            ),
            "levels": SamplerCard(
                version=1, summary="", params=Heun, effort=Effort(evaluations=lambda p: 3 * p.steps)
            ),
            "adaptive": SamplerCard(version=1, summary="", params=Adaptive, effort=adaptive()),
        },
        presets={"wide": {"net": {"width": 32}}},
        shapes={"wide": (1, 8, 8)},
        checkpoints=True,
        variant=lambda p: p.process,
        likelihood=LikelihoodCard(version=4, params=Likelihood),
        refuse=lambda p, shape: (
            [f"width 7 does not fit {shape[-1]} pixels"] if p.net.width == 7 else []
        ),
        smoke={"steps": 2},
    ),
    "plain": Card(
        name="plain",
        title="Plain",
        version=1,
        paper="https://example.org",
        adapter="methods.none:None",
        params=Net,
        samplers={"jump": SamplerCard(version=1, summary="", params=Heun)},
        variant=lambda p: "",
        no_likelihood="its model is no density",
    ),
}
DATASETS = {
    name: DataCard(
        version=1,
        summary="",
        shape=shape,
        levels=17,
        splits={"train": 1437, "test": 360},
        split_rule="",
        load=lambda split: None,
    )
    for name, shape in {"digits": (1, 8, 8), "faces": (3, 8, 8)}.items()
}
METRICS = {
    "fd": MetricCard(
        version=5,
        summary="",
        params=Distance,
        higher_is_better=False,
        column=lambda p: f"fd({p.reference})",
        measure=None,
        reference=lambda p: p.reference,
        refuse=lambda p, data: ["reads grey images"] if data.shape[0] != 1 else [],
        least_count=lambda p, data: 240,
    )
}
GOOD = """\
name: study
dataset: digits
metrics: [fd]
samples: {count: 256, batch: 128}
likelihood: {images: 64}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: heun, grid: {nfe: [5, 10]}}
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a suite from text, with the cards of this file."""
    monkeypatch.chdir(tmp_path)

    def read_text(text=GOOD, **options):
        (tmp_path / "suite.yaml").write_text(textwrap.dedent(text))
        known = {"cards": CARDS, "datasets": DATASETS, "metrics": METRICS}
        return read_suite("suite.yaml", **{**known, **options})

    return read_text


@pytest.fixture
def wrong(read):
    """Returns the lines that a wrong suite is answered with."""

    def messages(text=GOOD, **options):
        with pytest.raises(SuiteError) as error:
            read(text, **options)
        assert str(error.value).splitlines() == [str(problem) for problem in error.value.problems]
        return str(error.value).splitlines()

    return messages


CLAIM = "metric: fd, smallest_effect: 0.5, pairs: [[vp heun nfe 10, vp heun nfe 5]]"


def with_line(number, text):
    """Returns the good suite with one line replaced."""
    lines = GOOD.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


ONE_PROBLEM = {
    "unknown method": (
        with_line(7, "  vp: {method: sdee}"),
        'suite.yaml:7: train.vp.method: unknown method; did you mean sde? allowed: sde, plain (value: "sdee")',
    ),
    "no method": (
        with_line(7, "  vp: {}"),
        "suite.yaml:7: train.vp.method: is missing; allowed: sde, plain",
    ),
    "unknown preset": (
        with_line(7, "  vp: {method: sde, preset: wid}"),
        'suite.yaml:7: train.vp.preset: unknown preset; did you mean wide? allowed: wide (value: "wid")',
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
        "suite.yaml:7: train.vp.params.process: should be one of 'vp', 've'; did you mean vp? (value: \"vpp\")",
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
        "suite.yaml:7: train.vp.teacher: unknown key; allowed: method, preset, params, seeds, snapshots, ema, "
        'checkpoint, weights, samples_from (value: "a.pth")',
    ),
    "label that is no file name": (
        with_line(7, "  vp/a: {method: sde}").replace("train: vp,", "train: vp/a,"),
        "suite.yaml:7: train.vp/a: should be a name for files: at most 80 letters, digits, '.', '_' and '-', "
        'a letter or digit first (value: "vp/a")',
    ),
    "name that is no file name": (
        with_line(1, "name: ../x"),
        "suite.yaml:1: name: should be a name for files: at most 80 letters, digits, '.', '_' and '-', "
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
        "suite.yaml:10: metric: unknown key; did you mean metrics? allowed: name, dataset, metrics, samples, train, "
        'likelihood, inspect, points, claims, keep, figures, controlled, most_nfe, profiles (value: "fd")',
    ),
    "missing section": (GOOD.replace("dataset: digits\n", ""), "suite.yaml:1: dataset: is missing"),
    "missing points": (GOOD[: GOOD.index("points")], "suite.yaml:1: points: is missing"),
    "empty points": (
        GOOD[: GOOD.index("points")] + "points: []\n",
        "suite.yaml:8: points: should not be empty (value: [])",
    ),
    "unknown data set": (
        with_line(2, "dataset: digit"),
        "suite.yaml:2: dataset: unknown data set; did you mean digits? allowed: digits, faces, image_folder, lsun "
        '(value: "digit")',
    ),
    "unknown metric": (
        with_line(3, "metrics: [fdd]"),
        'suite.yaml:3: metrics.0: unknown metric; did you mean fd? allowed: fd (value: "fdd")',
    ),
    "unknown parameter of a metric": (
        with_line(3, "metrics: [{metric: fd, refernce: test}]"),
        'suite.yaml:3: metrics.0.refernce: unknown key; did you mean reference? allowed: reference (value: "test")',
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
        "suite.yaml:4: samples.quantise: should be one of 'round', 'truncate', 'none'; did you mean truncate? "
        '(value: "trunc")',
    ),
    "precision that is not there": (
        with_line(4, "samples: {count: 8, precision: float16}"),
        "suite.yaml:4: samples.precision: should be one of 'float32', 'bfloat16'; did you mean bfloat16? "
        '(value: "float16")',
    ),
    "more likelihood images than there are": (
        with_line(5, "likelihood: {images: 361}"),
        "suite.yaml:5: likelihood.images: the split test has 360 images (value: 361)",
    ),
    "unknown split": (
        with_line(5, "likelihood: {images: 61, split: tests}"),
        'suite.yaml:5: likelihood.split: unknown split; did you mean test? allowed: train, test (value: "tests")',
    ),
    "likelihood parameter that no method knows": (
        with_line(5, "likelihood: {images: 64, probe: 2}"),
        "suite.yaml:5: likelihood.probe: unknown key; did you mean probes? allowed: images, batch, split, seed, "
        "sweep, tolerance, probes (value: 2)",
    ),
    "wrong value in a likelihood sweep": (
        with_line(5, "likelihood: {images: 64, sweep: {tolerance: [0.1, small]}}"),
        'suite.yaml:5: likelihood.sweep.tolerance.1: should be a number (value: "small")',
    ),
    "likelihood where no method has one": (
        GOOD.replace("method: sde", "method: plain").replace("heun", "jump"),
        "suite.yaml:5: likelihood: no method here has a likelihood (plain: its model is no density)",
    ),
    "unknown train label": (
        with_line(9, "  - {train: vpp, sampler: heun}"),
        'suite.yaml:9: points.0.train: unknown train label; did you mean vp? allowed: vp (value: "vpp")',
    ),
    "unknown train label in a list": (
        with_line(9, "  - {train: [vp, vpp], sampler: heun}"),
        'suite.yaml:9: points.0.train.1: unknown train label; did you mean vp? allowed: vp (value: "vpp")',
    ),
    "unknown sampler": (
        with_line(9, "  - {train: vp, sampler: huen}"),
        "suite.yaml:9: points.0.sampler: unknown sampler of sde; did you mean heun? allowed: heun, levels, adaptive "
        '(value: "huen")',
    ),
    "no sampler": (
        with_line(9, "  - {train: vp}"),
        "suite.yaml:9: points.0.sampler: is missing; allowed: heun, levels, adaptive",
    ),
    "unknown sampler parameter": (
        with_line(9, "  - {train: vp, sampler: heun, params: {snt: 1}}"),
        "suite.yaml:9: points.0.params.snt: unknown key; did you mean snr? allowed: steps, snr (value: 1)",
    ),
    "sampler parameters that are no mapping": (
        with_line(9, "  - {train: vp, sampler: heun, params: 3, grid: {nfe: [5]}}"),
        "suite.yaml:9: points.0.params: should be a mapping; allowed: steps, snr (value: 3)",
    ),
    "unknown axis": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {nef: [1]}}"),
        "suite.yaml:9: points.0.grid.nef: unknown key; did you mean nfe? allowed: nfe, steps, snr, times (value: [1])",
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
        "suite.yaml:9: points.0.times: unknown time grid of heun; did you mean uniform? allowed: rho7, uniform "
        '(value: "uniforn")',
    ),
    "time grid for a sampler that takes none": (
        with_line(9, "  - {train: vp, sampler: levels, times: uniform}"),
        'suite.yaml:9: points.0.times: levels takes no time grid (value: "uniform")',
    ),
    "budget that buys no step": (
        with_line(9, "  - {train: vp, sampler: levels, grid: {nfe: [9, 2]}}"),
        "suite.yaml:9: points.0.grid.nfe.1: buys no step of levels for vp: one step costs 3 evaluations "
        "(value: 2)",
    ),
    "budget of 0": (
        with_line(9, "  - {train: vp, sampler: heun, grid: {nfe: [0]}}"),
        "suite.yaml:9: points.0.grid.nfe.0: should be at least 1 (value: 0)",
    ),
    "budget for an adaptive sampler": (
        with_line(9, "  - {train: vp, sampler: adaptive, grid: {nfe: [9]}}"),
        "suite.yaml:9: points.0.grid.nfe: adaptive is adaptive: it has no budget, sweep its tolerance instead "
        "(value: [9])",
    ),
    "budget and steps": (
        with_line(9, "  - {train: vp, sampler: heun, params: {steps: 4}, grid: {nfe: [9]}}"),
        "suite.yaml:9: points.0.params.steps: is what a budget buys for heun: give nfe or steps, not both (value: 4)",
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
        "suite.yaml:10: keep.samples: should be 'all' or a whole number; did you mean all? (value: \"al\")",
    ),
    "wrong figures": (
        GOOD + "figures: nice\n",
        "suite.yaml:10: figures: should be one of 'default', 'none' (value: \"nice\")",
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
        "suite.yaml:4: samples.count: is not a plain decimal number: write it without a leading 0, or in quotes as a "
        'text (value: "0100")',
    ),
    "number in base 60": (
        with_line(7, "  vp: {method: sde, params: {steps: 12:30:45}}"),
        "suite.yaml:7: train.vp.params.steps: is not a plain decimal number: write it without a leading 0, or in "
        'quotes as a text (value: "12:30:45")',
    ),
    "word that was a boolean once": (
        GOOD + "controlled: no\n",
        'suite.yaml:10: controlled: should be true or false (value: "no")',
    ),
    "more images than can be made": (
        with_line(4, "samples: {count: 10000001, batch: 500}"),
        "suite.yaml:4: samples.count: makes 10,000,001 images a point: more than 10,000,000 are refused "
        "(value: 10000001)",
    ),
    "more batches than can be made": (
        with_line(4, "samples: {count: 600000, batch: 1}"),
        "suite.yaml:4: samples: makes 1,200,000 batches of images: more than 1,000,000 are refused (value: 1200000)",
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
        "suite.yaml:11: claims.0.pair: unknown key; did you mean pairs? allowed: metric, smallest_effect, pairs, vs "
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
        "suite.yaml:11: claims.0.metric: is no metric of the suite; did you mean fd? allowed: fd, fd(train) "
        '(value: "fdd")',
    ),
    "claim about a group that is not there": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('nfe 10', 'nfe 11')}}}\n",
        "suite.yaml:11: claims.0.pairs.0.0: names no group of the suite; did you mean vp heun nfe 10? allowed: "
        'vp heun nfe 5, vp heun nfe 10 (value: "vp heun nfe 11")',
    ),
    "claim that compares a group with itself": (
        GOOD + f"claims:\n  - {{{CLAIM.replace('nfe 5', 'nfe 10')}}}\n",
        'suite.yaml:11: claims.0.pairs.0: compares a group with itself (value: ["vp heun nfe 10", "vp heun nfe 10"])',
    ),
    "claim made twice": (
        GOOD
        + f"claims:\n  - {{{CLAIM}}}\n  - {{{CLAIM.replace('vp heun nfe 10', 'vp · heun · nfe 10')}}}\n",
        "suite.yaml:12: claims.1.pairs.0: vp · heun · nfe 10 against vp · heun · nfe 5 is claimed already by "
        "claims.0.pairs.0",
    ),
    "profile with an unknown section": (
        GOOD + "profiles:\n  quick: {sample: {count: 8}}\n",
        "suite.yaml:11: sample: unknown key; did you mean samples? allowed: name, dataset, metrics, samples, train, "
        'likelihood, inspect, points, claims, keep, figures, controlled, most_nfe, profiles (value: {"count": 8})',
    ),
    "profile with a wrong value": (
        GOOD + "profiles:\n  quick: {samples: {count: few}}\n",
        'suite.yaml:11: samples.count: should be a whole number (value: "few")',
    ),
}


@pytest.mark.parametrize(("text", "message"), ONE_PROBLEM.values(), ids=ONE_PROBLEM)
def test_problem_is_told_with_line_key_path_near_miss_and_allowed_values(wrong, text, message):
    assert wrong(text) == [message]


def test_every_problem_is_told_at_once_in_the_order_of_the_file(wrong):
    text = """\
        name: study
        dataset: digits
        metrics: [fdd]
        samples: {count: -1, batch: many}
        train:
          vp: {method: sde, params: {sgima_max: 3, steps: x}, preset: wid}
          ve: {method: sdee}
        points:
          - {train: vp, sampler: huen}
          - {train: [vp, vq], sampler: heun, grid: {nfe: [5, ten]}, times: rho8}
        """
    assert [
        message.split(";")[0].split(" (value")[0] for message in wrong(text, sets=["keep.sample=3"])
    ] == [
        "suite.yaml:3: metrics.0: unknown metric",
        "suite.yaml:4: samples.batch: should be a whole number",
        "suite.yaml:6: train.vp.preset: unknown preset",
        "suite.yaml:6: train.vp.params.sgima_max: unknown key",
        "suite.yaml:6: train.vp.params.steps: should be a whole number",
        "suite.yaml:7: train.ve.method: unknown method",
        "suite.yaml:9: points.0.sampler: unknown sampler of sde",
        "suite.yaml:10: points.1.times: unknown time grid of heun",
        "suite.yaml:10: points.1.grid.nfe.1: should be a whole number",
        "suite.yaml:10: points.1.train.1: unknown train label",
        "--set keep.sample=3: keep.sample: unknown key",
    ]


def test_lines_are_those_of_the_value_in_block_style(wrong):
    text = """\
        name: study
        dataset: digits

        metrics:
          - fd
          - dd
        samples:
          # a comment
          count: 256
          batch: no
        train:
          vp:
            method: sde
            params:
              net:
                width: wide
        points:
          - train: vp
            sampler: heun
            grid:
              nfe:
                - 5
                - six
        """
    assert [message.split(" ")[0] + message.split(" ")[1] for message in wrong(text)] == [
        "suite.yaml:6:metrics.1:",
        "suite.yaml:10:samples.batch:",
        "suite.yaml:16:train.vp.params.net.width:",
        "suite.yaml:23:points.0.grid.nfe.1:",
    ]


def test_problem_carries_its_parts(read):
    with pytest.raises(SuiteError) as error:
        read(with_line(9, "  - {train: vp, sampler: huen}"))
    (problem,) = error.value.problems
    assert problem.path == ("points", "0", "sampler")
    assert problem.place.text == "suite.yaml:9"
    assert problem.value == "huen"
    assert problem.near == "heun"
    assert problem.allowed == ("heun", "levels", "adaptive")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1,\n", "suite.yaml:2: is not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "suite.yaml:2: is not valid YAML: but found another document"),
        ("", "suite.yaml:1: should be a mapping"),
        ("- a\n", "suite.yaml:1: should be a mapping"),
        ("a: &x [*x]\n", "suite.yaml:1: a.0: an anchor cannot contain itself"),
    ],
)
def test_file_that_is_no_suite_is_refused_with_its_line(wrong, text, start):
    assert wrong(text)[0].startswith(start)


def test_missing_file_is_told_with_the_one_that_was_meant(read, tmp_path):
    read()
    with pytest.raises(
        SuiteError, match=r"suit.yaml: cannot be read: .*; did you mean suite.yaml\?"
    ):
        read_suite("suit.yaml")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "train.vp.params.sgima_max=3",
            "--set train.vp.params.sgima_max=3: train.vp.params.sgima_max: unknown key; did you mean sigma_max? "
            "allowed: process, sigma_min, sigma_max, steps, net (value: 3)",
        ),
        (
            "train.vp.params.steps=ten",
            '--set train.vp.params.steps=ten: train.vp.params.steps: should be a whole number (value: "ten")',
        ),
        (
            "train.ve.params.steps=10",
            "--set train.ve.params.steps=10: train.ve.method: is missing; allowed: sde, plain",
        ),
        (
            "samples.count",
            "--set samples.count: an option should read key.path=value (value: null)",
        ),
        (
            "points.1.sampler=heun",
            '--set points.1.sampler=heun: points.1: should be the number of an item, 0 to 0 (value: "1")',
        ),
        ("name.first=x", '--set name.first=x: name: has no keys to set (value: "study")'),
        ("samples.count=[1", None),
    ],
)
def test_problem_of_a_set_option_names_the_option(wrong, option, message):
    (found,) = wrong(sets=[option])
    if message is None:
        assert found.startswith("--set samples.count=[1: samples.count: is not valid YAML: ")
    else:
        assert found.replace(" (value: null)", "") == message.replace(" (value: null)", "")


def test_broken_rule_of_the_likelihood_names_the_option_that_broke_it(wrong):
    found = wrong(sets=["likelihood.probes=2", "likelihood.tolerance=-1"])
    assert found == [
        "--set likelihood.tolerance=-1: likelihood.tolerance: tolerance should be positive (value: -1)"
    ]


def test_points_that_could_never_be_written_out_are_refused_with_their_number(wrong):
    axis = ", ".join(map(str, range(1, 1002)))
    text = with_line(
        9, f"  - {{train: vp, sampler: heun, grid: {{steps: [{axis}], snr: [{axis}]}}}}"
    )
    assert wrong(text) == [
        "suite.yaml:8: points: makes 1,002,001 points: more than 1,000,000 are refused (value: 1002001)"
    ]


ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: " + "[" * 100_000, "suite.yaml:1: is nested deeper than 100 levels"),
        (
            "name: x\npoints:\n  " + "- " * 5_000 + "x",
            "suite.yaml:3: is nested deeper than 100 levels",
        ),
        (
            "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + ALIASES,
            "suite.yaml:6: a5: holds more than 200000 values once its aliases are written out",
        ),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 500)),
            "suite.yaml:99: a98: holds more than 100 levels once its aliases are written out",
        ),
    ],
    ids=["brackets", "dashes", "aliases of aliases", "chain of aliases"],
)
def test_file_that_could_exhaust_the_reader_is_refused(wrong, text, message):
    assert wrong(text) == [message]


def test_option_that_could_exhaust_the_reader_is_refused(wrong):
    (found,) = wrong(sets=["name=" + "[" * 100_000])
    assert ": name: is nested deeper than 100 levels" in found


def test_only_true_and_false_are_booleans_and_words_of_old_yaml_are_texts(read):
    text = GOOD.replace("  vp:", "  on:").replace("train: vp", "train: on") + "controlled: True\n"
    suite = read(text)
    assert list(suite.train) == ["on"]
    assert suite.controlled is True


@pytest.mark.parametrize(
    ("metric", "count", "message"),
    [
        (
            "{metric: fd, allow_few: true}",
            1,
            "fd(digits-cnn@8) needs 2 images, and samples.count asks for 1 "
            '(value: {"metric": "fd", "allow_few": true})',
        ),
        (
            "fd",
            23,
            "fd(digits-cnn@8) needs 24 images, and samples.count asks for 23: its covariance has 24 dimensions, "
            "and fewer images leave it singular; ask for more, take an extractor of fewer dimensions (digits-cnn, "
            'pca@K), use kd, or say allow_few: true (value: "fd")',
        ),
        (
            "{metric: is, splits: 10}",
            9,
            "is(digits-cnn@8, 10 splits) needs 10 images, and samples.count asks for 9 "
            '(value: {"metric": "is", "splits": 10})',
        ),
    ],
)
def test_metric_that_so_few_images_do_not_have_is_refused(wrong, metric, count, message):
    text = with_line(3, f"metrics: [{metric}]").replace(
        "count: 256, batch: 128", f"count: {count}, batch: 1"
    )
    assert wrong(text, metrics=ALL_METRICS) == [f"suite.yaml:3: metrics.0: {message}"]


def test_trial_run_leaves_out_a_metric_that_its_few_images_do_not_have(read):
    text = with_line(3, "metrics: [fd, {metric: is, splits: 10}]")
    suite = read(text, metrics=ALL_METRICS, smoke=True)
    assert [metric.column for metric in suite.metrics] == ["fd(digits-cnn@8)"]
    assert (
        "is(digits-cnn@8, 10 splits): left out of the trial run, whose 4 images are not the 10"
        in suite.notes
    )
    assert len(read(text, metrics=ALL_METRICS).metrics) == 2


def test_unknown_profile_is_told_with_the_profiles_there_are(wrong):
    assert wrong(GOOD + "profiles: {quick: {samples: {count: 8}}}\n", profile="quik") == [
        '--profile quik: there is no such profile; did you mean quick? allowed: quick (value: "quik")'
    ]


def test_unknown_only_is_told_with_a_near_miss(wrong):
    assert wrong(only=["vp hein"]) == [
        "--only vp hein: matches no point; did you mean vp heun nfe 5?; train labels: vp"
    ]


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


def test_exponents_without_a_dot_are_numbers_and_quotes_make_text(read, wrong):
    suite = read(
        with_line(9, "  - {train: vp, sampler: adaptive, grid: {tolerance: [1e-3, 1.0e-5]}}")
    )
    assert [point.sample.params["tolerance"] for point in suite.points] == [1e-3, 1e-5]
    assert (
        "should be a number"
        in wrong(with_line(9, "  - {train: vp, sampler: adaptive, params: {tolerance: '1e-3'}}"))[0]
    )


def test_metrics_with_parameters_have_columns_of_their_own(read):
    suite = read(with_line(3, "metrics: [fd, {metric: fd, reference: test}]"))
    assert [metric.column for metric in suite.metrics] == ["fd(train)", "fd(test)"]
    assert [score.params for score in suite.points[0].scores] == [{}, {"reference": "test"}]
    assert suite.points[0].scores[0].source is suite.points[0].sample


def test_suite_may_have_no_metrics_and_then_has_no_scores(read):
    suite = read(with_line(3, "metrics: []"))
    assert suite.metrics == ()
    assert all(point.scores == () for point in suite.points)


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


def test_count_is_not_in_the_key_of_the_samples(read):
    few, many = read(), read(sets=["samples.count=512"])
    assert [key(p.sample) for p in few.points] == [key(p.sample) for p in many.points]
    assert key(few.points[0].scores[0]) != key(many.points[0].scores[0])


def test_every_model_is_inspected_on_the_first_held_out_images_unless_the_suite_says_otherwise(
    read,
):
    suite = read(GOOD.replace("vp: {method: sde}", "vp: {method: sde, seeds: [3, 4]}"))
    assert [(spec.train.seed, spec.images, spec.split) for spec in suite.inspections["vp"]] == [
        (3, 256, "test"),
        (4, 256, "test"),
    ]
    assert suite.resolved["inspect"] == {"images": 256, "split": "test", "seed": 0}
    asked = read(GOOD + "inspect: {images: 32, split: train, seed: 7}\n").inspections["vp"][0]
    assert (asked.images, asked.split, asked.seed, asked.version) == (32, "train", 7, 1)
    none = read(GOOD + "inspect: null\n")
    assert (none.inspections, none.resolved["inspect"]) == ({}, None)
    assert not [job for job in expand(none) if job.stage == "inspect"]
    assert read(GOOD, smoke=True).inspections["vp"][0].images == 4


def test_fewer_held_out_images_than_usual_are_all_inspected(tmp_path):
    few = replace(DATASETS["digits"], splits={"train": 1437, "test": 20})
    (tmp_path / "suite.yaml").write_text(GOOD.replace("likelihood: {images: 64}\n", ""))
    suite = read_suite(
        tmp_path / "suite.yaml", cards=CARDS, metrics=METRICS, datasets={"digits": few}
    )
    assert suite.inspections["vp"][0].images == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{images: 0}", "inspect.images: should be at least 1 (value: 0)"),
        ("{images: 361}", "inspect.images: the split test has 360 images (value: 361)"),
        (
            "{split: tset}",
            'inspect.split: unknown split; did you mean test? allowed: train, test (value: "tset")',
        ),
        (
            "{image: 5}",
            "inspect.image: unknown key; did you mean images? allowed: images, split, seed (value: 5)",
        ),
        ("{seed: -1}", "inspect.seed: should be at least 0 (value: -1)"),
    ],
)
def test_inspection_that_cannot_be_is_a_problem(wrong, given, message):
    assert wrong(GOOD + f"inspect: {given}\n") == [
        f"suite.yaml:{len(GOOD.splitlines()) + 1}: {message}"
    ]


REAL = """
name: points
dataset: two_modes
metrics: [%s]
samples: {count: 1000, batch: 500}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: heun, grid: {nfe: [5]}}
"""


def real(tmp_path, text, **values):
    needs = replace(CARDS["sde"], needs_levels=lambda params: params.process == "ve")
    (tmp_path / "suite.yaml").write_text(text)
    return read_suite(
        tmp_path / "suite.yaml", cards={"sde": needs}, datasets=ALL_DATASETS, **values
    )


def test_samples_of_real_values_are_stored_as_they_are(tmp_path):
    suite = real(tmp_path, REAL % "mode_weight_error, energy_distance")
    assert {point.sample.quantise for point in suite.points} == {"none"}
    assert suite.resolved["samples"]["quantise"] == "none"
    assert real(tmp_path, REAL % "energy_distance", smoke=True).points[0].count == 4
    likelihood = (REAL % "energy_distance").replace("samples:", "likelihood: {images: 8}\nsamples:")
    assert real(tmp_path, likelihood).points[0].likelihood.images == 8


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("[mode_weight_error]", "[fd]"), "reads images of 17 pixel levels, not real values"),
        (("[mode_weight_error]", "[known_rmse]"), "only images are restored, not real values"),
        (
            ("method: sde", "method: sde, params: {process: ve}"),
            "dequantisation is of discrete levels",
        ),
        (
            ("batch: 500", "batch: 500, quantise: truncate"),
            "the values of the data set are real: they are stored",
        ),
        (("two_modes", "swiss_rolls"), "the data set declares no mixture"),
        (("two_modes", "digits"), "it compares values themselves"),
    ],
)
def test_what_is_asked_of_real_values_and_cannot_be_is_a_problem_with_its_reason(
    tmp_path, change, found
):
    with pytest.raises(SuiteError) as caught:
        real(tmp_path, (REAL % "mode_weight_error").replace(*change))
    assert found in str(caught.value.problems[0])


def test_pixels_have_levels_to_take(wrong):
    message = 'suite.yaml:4: samples.quantise: pixels have levels to take; allowed: round, truncate (value: "none")'
    assert wrong(GOOD.replace("batch: 128}", "batch: 128, quantise: none}")) == [message]


def test_resolved_suite_holds_every_default_and_version(read):
    resolved = read(GOOD + "keep: {samples: 16}\n").resolved
    assert resolved["train"]["vp"] == {
        "method": "sde",
        "version": 3,
        "likelihood_version": 4,
        "inspection_version": 1,
        "paper": "https://example.org",
        "preset": None,
        "params": {
            "process": "vp",
            "sigma_min": 0.01,
            "sigma_max": "data",
            "steps": 100,
            "net": {"width": 8, "multipliers": [1, 2]},
        },
        "seeds": [0],
    }
    assert resolved["samples"] == {
        "count": 256,
        "batch": 128,
        "seeds": [0],
        "quantise": "round",
        "precision": "float32",
    }
    assert resolved["points"] == [
        {
            "train": "vp",
            "sampler": "heun",
            "version": 2,
            "times": "rho7",
            "params": {"steps": 18, "snr": 0.16},
            "grid": {"nfe": [5, 10]},
        }
    ]
    assert resolved["metrics"] == {
        "fd(train)": {"metric": "fd", "version": 5, "reference": "train"}
    }
    assert resolved["likelihood"]["methods"] == {"sde": {"tolerance": 1e-5, "probes": 1}}
    assert resolved["keep"] == {"samples": 16}
    assert yaml.safe_load(yaml.safe_dump(resolved)) == json.loads(json.dumps(resolved)) == resolved


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
            "claims.0.pairs.0: compares ve · heun · nfe 5 with vp · heun · nfe 5 and with vp · levels · nfe 5: say "
            'more words of the one that is meant (value: ["vp", "ve"])',
        ),
        (
            "vs: nothing",
            "claims.0.vs: names no group of the suite; allowed: vp heun nfe 5, vp heun nfe 10, ve heun nfe 5, "
            've heun nfe 10, vp levels nfe 5, vp levels nfe 10, vp levels nfe 20 (value: "nothing")',
        ),
        (
            "pairs: [[vp levels nfe 20, ve]]",
            'claims.0.pairs.0: names no two groups of equal budget (value: ["vp levels nfe 20", "ve"])',
        ),
        (
            "metric: fd, vs: ve",
            "claims.0.metric: names several columns: give the one that is meant; allowed: fd(train), fd(test) "
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
        "claims: 2 sample seeds; of differences of three deviations between trainings, two show one in five and 4 show "
        "three in four (docs/calibration)"
    )
    fit = text.replace("seeds: [0, 1]}", "seeds: [0, 1, 2, 3]}")
    assert notes(fit.replace("vp heun, vp levels", "vp heun nfe 5, vp levels nfe 5")) == []
    assert notes(text.replace("vp heun, vp levels", "vp heun nfe 5, vp levels nfe 5")) == [few]
    assert notes(fit) == [
        "claims: no difference can be shown: the least p-value of so few trainings is 0.031, after Holm's correction "
        "over 2 claims 0.062; state fewer claims or train more often"
    ]
    assert (
        notes(text.replace("seeds: [0, 1]}", "seeds: [0]}"))[0]
        == "claims: 1 sample seed is too few, 2 are needed"
    )
    assert notes(text.replace("3, 4, 5]", "3, 4]"))[0] == (
        "claims: vp · heun · nfe 5 against vp · levels · nfe 5 stays undecided: it needs 6 trainings that both share"
    )


def test_claims_go_with_the_groups_that_are_left(read):
    text = (
        CLAIMED
        % "{metric: fd(train), smallest_effect: 0.5, pairs: [[vp heun, ve], [vp levels nfe 5, ve heun nfe 5]]}"
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


def test_batch_larger_than_the_count_is_noted(read):
    notes = read(with_line(4, "samples: {count: 100}")).notes
    assert "samples.batch: 500 images are made at a time and only 100 are used" in notes


def test_count_below_what_a_metric_asks_for_is_noted(read):
    notes = read(with_line(4, "samples: {count: 100, batch: 100}")).notes
    assert notes == ("fd(train): 100 images are few, 240 are asked for evidence",)


ELSEWHERE = """\
name: study
dataset: digits
metrics: [fd]
samples: {count: 5}
train: {mine: {samples_from: mine.npz}}
"""


def test_images_made_elsewhere_are_a_point_without_a_sampler(read, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    suite = read(ELSEWHERE)
    (point,) = suite.points
    assert point.label == point.group == point.train == "mine"
    assert isinstance(point.sample, ImagesSpec)
    assert point.likelihood is None
    assert point.scores[0].source == point.sample
    assert suite.sources == {"mine": tmp_path / "mine.npz"}
    assert read(ELSEWHERE + "points: [{train: mine}]\n").points == suite.points


def test_images_made_elsewhere_lie_below_the_data_root_first(read, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    np.savez(tmp_path / "data" / "mine.npz", images=np.ones((5, 1, 8, 8), np.uint8))
    assert read(ELSEWHERE).sources == {"mine": tmp_path / "data" / "mine.npz"}


def test_images_that_are_missing_or_too_few_are_problems(wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (found,) = wrong(ELSEWHERE)
    places = f"{tmp_path / 'data' / 'mine.npz'} or at {tmp_path / 'mine.npz'}"
    assert (
        found
        == f'suite.yaml:5: train.mine.samples_from: nothing lies at {places} (value: "mine.npz")'
    )
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 1, 8, 8), np.uint8))
    (found,) = wrong(ELSEWHERE)
    assert "holds 4 images, and samples.count asks for 5" in found
    (tmp_path / "mine.npz").write_bytes(b"not a zip")
    (found,) = wrong(ELSEWHERE)
    assert "is not an .npz file that can be read" in found


def test_images_made_elsewhere_take_no_sampler(wrong, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    (found,) = wrong(ELSEWHERE + "points: [{train: mine, sampler: heun}]\n")
    assert found.startswith(
        "suite.yaml:6: points.0.sampler: mine holds images made elsewhere, nothing to set"
    )


def test_images_are_counted_from_the_header_alone(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, labels=np.zeros(3), arr_0=np.zeros((7, 1, 2, 2)))
    assert count_images(path) == 7
    np.savez(path, a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(
        ValueError, match=r"should hold an array called images; .* \(arrays: a, b\)"
    ):
        count_images(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"cut")
    with pytest.raises(ValueError, match=r"is not an \.npz file that can be read"):
        count_images(path)


def test_digest_is_of_the_content_and_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(name.encode())
    first = digest_images(folder, cache)
    assert digest_images(folder) == first
    with monkeypatch.context() as patch:
        patch.setattr("bench.data.digest._digest", lambda file: pytest.fail("was read again"))
        assert digest_images(folder, cache) == first
    (folder / "a.png").write_bytes(b"another")
    assert digest_images(folder, cache) != first
    (folder / "a.png").write_bytes(b"a.png")
    assert digest_images(folder, cache) == first


def test_cut_short_cache_is_read_over(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    path, cache = tmp_path / "a.npz", tmp_path / "cache"
    np.savez(path, images=np.zeros((1, 1, 2, 2)))
    first = digest_images(path, cache)
    (known,) = cache.iterdir()
    known.write_text('{"path": ')
    assert digest_images(path, cache) == first


def test_model_that_no_point_samples_from_is_kept_and_noted(read):
    suite = read(with_line(7, "  vp: {method: sde}\n  idle: {method: plain}"))
    assert isinstance(suite.train["idle"][0], TrainSpec)
    assert "train.idle: no point samples from it" in suite.notes


IMPORTED = """name: small
dataset: digits
metrics: [fd]
samples: {count: 240, batch: 240}
train: {vp: {method: sde, preset: wide, checkpoint: there.pth}}
points: [{train: vp, sampler: heun, grid: {nfe: [5]}}]
"""


def test_checkpoint_is_in_the_key_by_its_content_and_by_which_of_its_weights_are_taken(
    read, tmp_path
):
    (tmp_path / "there.pth").write_bytes(b"weights")
    suite = read(IMPORTED)
    (spec,) = suite.train["vp"]
    assert spec.checkpoint == digest_checkpoint(tmp_path / "there.pth")
    assert spec.weights == "ema"
    assert suite.sources == {"vp": tmp_path / "there.pth"}
    entry = suite.resolved["train"]["vp"]
    assert (entry["sha256"], entry["weights"]) == (spec.checkpoint, "ema")
    assert "seeds" not in entry
    keys = {
        key(spec),
        key(read(IMPORTED.replace("there.pth", "there.pth, weights: raw")).train["vp"][0]),
    }
    (tmp_path / "there.pth").rename(tmp_path / "moved.pth")
    assert key(read(IMPORTED.replace("there.pth", "moved.pth")).train["vp"][0]) in keys
    (tmp_path / "there.pth").write_bytes(b"other weights")
    trained = read(IMPORTED.replace(", checkpoint: there.pth", ""))
    keys |= {key(read(IMPORTED).train["vp"][0]), key(trained.train["vp"][0])}
    assert len(keys) == 4


def test_job_of_a_checkpoint_knows_where_it_lies(read, tmp_path):
    (tmp_path / "there.pth").write_bytes(b"weights")
    job = next(job for job in expand(read(IMPORTED)) if job.stage == "train")
    assert job.path == str(tmp_path / "there.pth")
    assert Job.from_plain(json.loads(json.dumps(job.plain()))) == job


def test_trial_run_of_a_checkpoint_is_of_the_same_weights(read, tmp_path):
    (tmp_path / "there.pth").write_bytes(b"weights")
    assert key(read(IMPORTED, smoke=True).train["vp"][0]) == key(read(IMPORTED).train["vp"][0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, "train.vp.checkpoint: nothing lies at "),
        ({"there.pth": "3"}, "train.vp.checkpoint: should be a text"),
        ({"there.pth": "empty"}, "train.vp.checkpoint: "),
        (
            {"method: sde, preset: wide": "method: plain"},
            "train.vp.checkpoint: plain imports no published checkpoints",
        ),
        ({"there.pth": "here.pth, weights: best"}, "train.vp.weights: unknown kind of weights"),
        ({"there.pth": "here.pth, seeds: [0, 1]"}, "train.vp.seeds: belongs to a training"),
        ({"there.pth": "here.pth, snapshots: [10]"}, "train.vp.snapshots: belongs to a training"),
        ({"there.pth": "here.pth, ema: [0.1]"}, "train.vp.ema: belongs to a training"),
        (
            {"checkpoint: there.pth": "weights: raw"},
            "train.vp.weights: says which weights of a checkpoint",
        ),
    ],
)
def test_checkpoint_that_cannot_be_is_a_problem(wrong, tmp_path, change, found):
    (tmp_path / "here.pth").write_bytes(b"weights")
    (tmp_path / "empty").mkdir()
    text = IMPORTED
    for old, new in change.items():
        text = text.replace(old, new)
    if "plain" in text:
        text = text.replace("there.pth", "here.pth").replace("heun", "jump")
    (problem,) = wrong(text)
    assert found in problem


def test_preset_for_another_shape_is_refused_with_both(wrong):
    problems = wrong(IMPORTED.replace(", checkpoint: there.pth", "").replace("digits", "faces"))
    expected = (
        "train.vp.preset: is for images of 1 x 8 x 8 (channels x height x width), not 3 x 8 x 8"
    )
    assert any(expected in problem for problem in problems)


def test_digest_of_a_checkpoint_folder_is_of_all_its_files(tmp_path):
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.bin").write_bytes(b"1")
    first = digest_checkpoint(folder, cache)
    assert digest_checkpoint(folder, cache) == digest_checkpoint(folder) == first
    (folder / "config.json").write_text('{"a": 1}')
    assert digest_checkpoint(folder, cache) != first


def test_precision_of_sampling_is_in_the_key_and_its_default_is_not(read):
    plain, rounded = (
        read(with_line(4, f"samples: {{count: 240{more}}}"))
        for more in ("", ", precision: bfloat16")
    )
    assert {point.sample.precision for point in rounded.points} == {"bfloat16"}
    assert {point.sample.precision for point in plain.points} == {"float32"}
    assert plain.points[0].sample.train == rounded.points[0].sample.train
    assert key(plain.points[0].sample) != key(rounded.points[0].sample)


def test_trial_run_takes_too_few_images_for_a_distance_where_they_are_its_own_few(read):
    """A trial run exercises the path; its few images are no reason to leave the metric out."""
    suite = read(GOOD.replace("[fd]", "[fd, kd]"), metrics=ALL_METRICS, smoke=True)
    (fd, kd) = suite.metrics
    assert (fd.column, fd.params) == ("fd(digits-cnn@8)", {"allow_few": True})
    assert kd.params == {}


def test_shorthands_stand_for_metrics_of_the_reference_inception(read):
    text = GOOD.replace("dataset: digits", "dataset: faces").replace(
        "likelihood: {images: 64}\n", ""
    )
    text = text.replace(
        "[fd]", "[{metric: fid, allow_few: true}, is, kid, prc, {metric: prc, neighbours: 5}]"
    )
    suite = read(text, metrics=ALL_METRICS)
    assert [metric.column for metric in suite.metrics] == [
        *("FID", "IS", "KID", "precision", "recall", "precision(k=5)", "recall(k=5)"),
    ]
    assert suite.metrics[1].params == {"extractor": "inception", "splits": 10}


def test_extractor_that_is_none_is_a_problem_with_a_near_miss(wrong):
    (line,) = wrong(
        GOOD.replace("[fd]", "[{metric: fd, extractor: efnet-lite0@32}]"), metrics=ALL_METRICS
    )
    assert "there is no extractor 'efnet-lite0@32'; did you mean effnet-lite0?" in line


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
