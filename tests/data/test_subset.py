"""A part of a set is a sample of it: drawn by content, whatever the order of the file, and said
where it is shown.
"""

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from bench.cli.parser import main
from bench.data import conditioning, subset
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS
from bench.data.subset import describe_copies, describe_part, drawing
from bench.metrics import audit
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.spec import (
    DRAWING_RULE,
    ImagesSpec,
    InspectSpec,
    LikelihoodSpec,
    ScoreSpec,
    TrainSpec,
    canonical,
    from_plain,
    key,
    place,
)

TRAIN = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)


@pytest.fixture(scope="module")
def digits():
    """All digits, sorted by class."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.uint8)[np.argsort(data.target, kind="stable")][:, None]


def shuffled(images, seed=0):
    return images[np.random.default_rng(seed).permutation(len(images))]


def test_equal_sets_in_any_order_give_the_same_images_in_the_same_order(digits):
    other = shuffled(digits)
    first, second = digits[drawing(digits).order], other[drawing(other).order]
    assert np.array_equal(first, second)
    assert sorted(drawing(digits).order) == list(range(len(digits)))


def test_a_part_is_a_part_of_every_larger_part_and_of_every_set_that_it_is_drawn_from(digits):
    whole = digits[drawing(digits).order]
    most = [image.tobytes() for image in whole[:900]]
    less = digits[np.sort(drawing(digits).order[:900])]  # a set of these alone keeps their order
    assert [image.tobytes() for image in less[drawing(less).order]] == most


def test_a_part_of_sorted_digits_shows_every_class_as_often_as_the_whole_does():
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.argsort(data.target, kind="stable")
    images, classes = data.images.astype(np.uint8)[order], data.target[order]
    shares = np.bincount(classes[drawing(images).order[:300]], minlength=10) / 300
    # Without replacement the standard deviation of a share of 0.1 is 0.016: four of them.
    assert np.abs(shares - np.bincount(classes) / len(classes)).max() < 0.063


def test_frechet_distance_of_a_part_does_not_depend_on_how_the_file_is_sorted(digits):
    data, request = load_images("digits"), ("fd", METRICS["fd"].params())
    values = []
    for images in (digits, shuffled(digits)):
        (found,) = score([images[drawing(images).order[:300]]], [request], data)
        values.append(found.value)
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert values[0] < 1  # the first 300 of the sorted file are zeros and ones: 22.6


def test_copies_are_drawn_as_often_as_they_are_there_and_counted():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (2000, 1, 4, 4)).astype(np.uint8)
    images[:1000] = images[0]
    found = drawing(images)
    share = (found.order[:500] < 1000).mean()
    assert abs(share - 0.5) < 4 * np.sqrt(
        0.25 / 500 * 0.75
    )  # drawn as 1,000 images are, not all or none of them
    assert found.copies(2000) == 999
    assert found.copies(500) == round(share * 500) - 1
    other = shuffled(images)
    assert np.array_equal(images[found.order], other[drawing(other).order])


def test_sets_of_none_one_or_equal_images_have_an_order():
    assert len(drawing(np.zeros((0, 1, 2, 2), np.uint8)).order) == 0
    assert drawing(np.zeros((1, 1, 2, 2), np.uint8)).copies(1) == 0
    equal = drawing(np.zeros((5, 1, 2, 2), np.uint8))
    assert sorted(equal.order) == [0, 1, 2, 3, 4]
    assert equal.copies(3) == 2


def test_chunks_do_not_change_the_order(monkeypatch, digits):
    whole = drawing(digits).order
    monkeypatch.setattr(subset, "CHUNK", 64 * 100)
    assert np.array_equal(drawing(digits).order, whole)


def test_words_say_a_part_and_are_empty_of_a_whole():
    assert describe_part(300, 1797) == "300 of 1,797, drawn at random"
    assert describe_part(1797, 1797) == ""
    assert [describe_copies(n) for n in (0, 1, 1200)] == [
        "",
        "1 repeats another of them",
        "1,200 repeat another of them",
    ]


def sorted_by_brightness(split):
    images = DATASETS["digits"].load(split)
    return images[np.argsort(images.sum((1, 2, 3)), kind="stable")]


def test_splits_are_drawn_from_wherever_their_images_lie():
    usual = load_images("digits")
    other = Images("digits", replace(usual.card, load=sorted_by_brightness))
    for split in ("train", "test"):
        assert np.array_equal(usual.drawn(split, slice(40)), other.drawn(split, slice(40)))
    assert np.array_equal(
        usual.drawn("test", np.array([3, 3, 0])), usual.drawn("test", slice(4))[[3, 3, 0]]
    )
    for condition in (
        {"task": "inpainting", "mask": "random", "images": 5},
        {"task": "inpainting", "images": 5},
    ):
        first, second = (conditioning.truth(condition, data, 2, 6) for data in (usual, other))
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.known, second.known)
    assert not np.array_equal(usual.drawn("test", slice(5)), usual.test[:5])


def test_every_key_that_depends_on_what_is_drawn_holds_the_version_of_the_rule():
    made_elsewhere = ImagesSpec(dataset="digits", dataset_version=1, sha256="0" * 64)
    likelihood = LikelihoodSpec(train=TRAIN, version=1, images=8, batch=8)
    inspection = InspectSpec(train=TRAIN, version=1, images=8)
    for spec in (made_elsewhere, likelihood, inspection):
        assert canonical(spec)["drawn"] == DRAWING_RULE
        assert key(spec) != key(replace(spec, drawn=DRAWING_RULE + 1))
        assert from_plain(type(spec), canonical(spec)) == spec
    scored = ScoreSpec(source=made_elsewhere, count=8, metric="fd", metric_version=1)
    assert place(scored) != place(
        replace(scored, source=replace(made_elsewhere, drawn=DRAWING_RULE + 1))
    )
    values = conditioning.condition_values("inpainting", conditioning.Inpainting())
    assert values == {"task": "inpainting", "drawn": DRAWING_RULE}
    assert conditioning.condition(values) == conditioning.Inpainting()
    assert conditioning.condition_values("class", conditioning.Class()) == {
        "task": "class"
    }  # nothing is drawn for it
    assert "drawn" not in canonical(TRAIN)


ORDER = """\
name: order
dataset: digits
metrics: [{metric: fd, extractor: pca@4}]
samples: {count: 40, batch: 40, seeds: [0, 1]}
likelihood: {images: 4, batch: 4, tolerance: 0.1}
inspect: {images: 6}
train:
  sorted: {samples_from: sorted.npz}
  shuffled: {samples_from: shuffled.npz}
  vp:
    method: sde
    params:
      network: {width: 8, multipliers: [1], blocks: 1, attention: []}
      training: {steps: 1, batch: 4}
points:
  - {train: [sorted, shuffled]}
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [2]}}
figures: none
"""


def test_suite_says_what_was_drawn_in_plan_row_page_and_terminal(
    digits, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    images = np.concatenate([digits[:100], digits[:20]])
    np.savez("sorted.npz", images)
    np.savez("shuffled.npz", shuffled(images))
    (tmp_path / "order.yaml").write_text(ORDER)
    assert main(["plan", "order.yaml"]) == 0
    assert (
        "note: train.sorted.samples_from: 40 of 120, drawn at random\n" in capsys.readouterr().out
    )
    assert main(["order.yaml", "--executor", "inline"]) == 0
    copies = describe_copies(drawing(images).copies(40))
    told = f"40 of 120, drawn at random; {copies}"
    terminal = " ".join(capsys.readouterr().out.split())
    assert f"Images of sorted, shuffled: {told}." in terminal
    rows = pd.read_csv("results/order/results.csv").set_index("train")
    (column,) = (name for name in rows if name.startswith("fd("))
    assert rows.loc["sorted", column] == pytest.approx(rows.loc["shuffled", column], rel=1e-9)
    assert rows.loc["sorted", "drawn"] == rows.loc["shuffled", "drawn"] == told
    assert set(rows.loc["vp", "drawn"]) == {"bits/dim: 4 of 360, drawn at random"}
    assert set(rows.loc["vp", "heldout_loss_note"]) == {"6 of 360, drawn at random"}
    page = (tmp_path / "results/order/leaderboard.md").read_text()
    assert f"Images of sorted, shuffled: {told}." in page
    page = (tmp_path / "results/order/report.html").read_text()
    assert "Mean over held-out images (split test: 6 of 360, drawn at random)" in page


def test_scale_and_drawing_of_images_made_elsewhere_are_shown(capsys):
    assert main(["show", "samples_from"]) == 0
    said = capsys.readouterr().out
    assert "scale: the value of white in the file" in said
    assert "drawn at random by their content" in " ".join(said.split())


def test_metrics_are_checked_on_the_same_images_however_the_data_set_is_sorted():
    usual = load_images("digits")
    other = Images("digits", replace(usual.card, load=sorted_by_brightness))
    first, second = (
        [
            finding
            for finding in islice(audit.check(data, "pca@2", count=40), 7)
            if finding.what.endswith("of real images")
        ]
        for data in (usual, other)
    )
    assert len(first) == len(second) == 4
    assert float(first[0].found.split()[0]) == pytest.approx(
        float(second[0].found.split()[0]), rel=1e-3
    )
