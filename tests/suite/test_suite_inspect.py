"""Which held-out images models are inspected on."""

from dataclasses import replace

import pytest
from synthetic_suite import CARDS, DATASETS, GOOD, METRICS

from bench.plan import expand
from bench.suite.reader import read_suite


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
            "inspect.image: unknown key; did you mean images? allowed: images, split, seed "
            "(value: 5)",
        ),
        ("{seed: -1}", "inspect.seed: should be at least 0 (value: -1)"),
    ],
)
def test_inspection_that_cannot_be_is_a_problem(wrong, given, message):
    assert wrong(GOOD + f"inspect: {given}\n") == [
        f"suite.yaml:{len(GOOD.splitlines()) + 1}: {message}"
    ]
