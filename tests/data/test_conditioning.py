"""What samples may be given: checked strictly, shown to methods in part only, and measured
afterwards.
"""

import numpy as np
import pytest
import yaml

from bench.card import cards
from bench.data import conditioning
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.execute.stop import Stop
from bench.metrics.conditional import (
    Restored,
    diversity,
    known_max,
    known_rmse,
    unknown_best,
    unknown_rmse,
)
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.plan import expand
from bench.report.writer import write
from bench.schema import build
from bench.spec import SampleSpec, TrainSpec, canonical, key, place
from bench.stages import context, jobs
from bench.store import Store
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

LEFT = {"task": "inpainting", "mask": "left"}
NETWORK = {"width": 8, "multipliers": [1], "blocks": 1, "attention": [], "embedding": "fourier"}


@pytest.fixture
def read(tmp_path):
    def reader(
        condition,
        *,
        dataset="digits",
        method="sde",
        metrics=("unknown_rmse",),
        params=None,
        smoke=False,
        **point,
    ):
        suite = {
            "name": "any",
            "dataset": dataset,
            "metrics": list(metrics),
            "samples": {"count": 32, "batch": 16},
            "train": {"vp": {"method": method, "params": {"network": NETWORK, **(params or {})}}},
            "points": [
                {"train": "vp", "sampler": "predictor_corrector", "given": condition, **point}
            ],
        }
        path = tmp_path / "any.yaml"
        path.write_text(yaml.safe_dump(suite))
        return read_suite(path, smoke=smoke)

    return reader


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("left", "a task"),
        ({"mask": "left"}, "a task"),
        ({"task": "inpaintin"}, "did you mean inpainting"),
        ({"task": "inpainting", "mask": "lefft"}, "did you mean left"),
        ({"task": "inpainting", "maks": "left"}, "did you mean mask"),
        ({"task": "inpainting", "images": 0}, "at least 1"),
        ({"task": "inpainting", "images": 361}, "the split test has 360 images"),
        ({"task": "colourisation"}, "3 channels, not 1"),
        ({"task": "class", "label": 10}, "from 0 to 9"),
        ({"task": "class"}, "none is trained"),
    ],
    ids=str,
)
def test_condition_that_cannot_be_is_refused_with_the_reason(read, condition, told):
    with pytest.raises(SuiteError, match=told):
        read(condition, metrics=["fd"])


def test_sampler_that_cannot_restore_is_refused(read):
    with pytest.raises(SuiteError, match="flow_heun cannot sample under it"):
        read(LEFT, sampler="flow_heun")


@pytest.mark.parametrize("method", ["ncsn", "cld", "soft"])
def test_methods_without_classes_say_why(read, method):
    with pytest.raises(SuiteError, match=r"cannot sample under it .*trained without classes"):
        read({"task": "class"}, method=method, sampler=next(iter(cards()[method].samplers)))


def test_metric_of_given_images_without_such_a_point_is_refused(read):
    with pytest.raises(SuiteError, match=r"no point has class .*accuracy"):
        read(LEFT, metrics=["unknown_rmse", "accuracy"])


def test_classifier_asks_for_classes_in_the_data(read):
    params = {"classifier": {"kind": "resnet"}}
    with pytest.raises(SuiteError, match="which the data set has not"):
        read({"task": "colourisation"}, dataset="photo_tiles", params=params)


def test_repeats_set_the_count_and_not_the_key(read):
    few, many = (read({**LEFT, "images": 5, "repeats": repeats}).points[0] for repeats in (2, 3))
    assert (few.count, many.count) == (10, 15)
    assert key(few.sample) == key(many.sample)
    assert few.sample.given == {**LEFT, "images": 5, "drawn": 1}
    assert few.group.endswith("inpainting left")


def test_what_is_given_is_in_the_key_and_nothing_is_by_default():
    train = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)
    rest = {
        "train": train,
        "sampler": "any",
        "sampler_version": 1,
        "times": "",
        "params": {},
        "batch": 1,
    }
    assert "given" not in canonical(SampleSpec(**rest))
    assert (
        len({place(SampleSpec(**rest, given=g)) for g in (None, LEFT, {"task": "inpainting"})}) == 3
    )


def test_budget_of_a_class_pays_for_the_classifier_too(read):
    params = {"classifier": {"kind": "resnet"}}
    suite = read(
        {"task": "class"},
        metrics=["accuracy"],
        params=params,
        sampler="ancestral",
        grid={"nfe": [40]},
    )
    assert suite.points[0].sample.params["steps"] == 20
    assert suite.points[0].count == 32


def test_smoke_restores_two_images_twice(read):
    point = read(LEFT, smoke=True).points[0]
    assert (point.count, point.sample.given["images"]) == (4, 2)


@pytest.mark.parametrize("mask", ["left", "right", "top", "bottom", "centre", "random"])
def test_hidden_pixels_are_not_in_what_a_method_sees(mask):
    data = load_images("digits")
    wanted = conditioning.truth({"task": "inpainting", "mask": mask, "images": 16}, data, 0, 20)
    seen = wanted.known_part(wanted.images.astype(float))
    np.testing.assert_array_equal(seen * ~wanted.known, 0)
    np.testing.assert_array_equal(seen * wanted.known, wanted.images * wanted.known)
    np.testing.assert_array_equal(
        wanted.known[:4], wanted.known[16:]
    )  # the same images come round again
    hidden = (~wanted.known).mean((1, 2, 3))
    expected = {"centre": 0.25, "random": hidden}.get(mask, 0.5)
    np.testing.assert_array_equal(hidden, expected)
    assert 0.4 < hidden.mean() < 0.6 or mask == "centre"


def test_mask_is_of_the_image_and_not_of_how_many_there_are():
    data = load_images("digits")
    few, many = (
        conditioning.truth({"task": "inpainting", "mask": "random", "images": n}, data, 0, 4)
        for n in (4, 16)
    )
    np.testing.assert_array_equal(few.known, many.known)
    later = conditioning.truth({"task": "inpainting", "mask": "random", "images": 16}, data, 2, 2)
    np.testing.assert_array_equal(later.known, many.known[2:])


def test_grey_has_no_colour_left():
    wanted = conditioning.truth(
        {"task": "colourisation", "images": 4}, load_images("photo_tiles"), 0, 4
    )
    seen = wanted.known_part(wanted.images.astype(float))
    assert np.ptp(seen, axis=1).max() == 0
    np.testing.assert_allclose(seen.mean(1), wanted.images.mean(1))


def test_classes_come_in_turn_or_are_one():
    data = load_images("digits")
    assert conditioning.truth({"task": "class"}, data, 8, 4).image.tolist() == [8, 9, 0, 1]
    assert conditioning.truth({"task": "class", "label": 3}, data, 8, 4).image.tolist() == [
        3,
        3,
        3,
        3,
    ]


@pytest.mark.parametrize(
    ("dataset", "condition"),
    [
        ("digits", {"task": "inpainting", "mask": "random"}),
        ("photo_tiles", {"task": "colourisation"}),
    ],
)
def test_errors_split_into_known_and_unknown(dataset, condition):
    """The mean square of an error is the sum of both parts', each by its share of the
    dimensions.
    """
    data, rng = load_images(dataset), np.random.default_rng(0)
    wanted = conditioning.truth(condition, data, 0, 16)
    error = rng.normal(size=wanted.images.shape)
    restored = Restored(wanted.images / (data.levels - 1) + error, wanted, data.levels)
    share = wanted.known_dimensions() / error[0].size
    known = np.square(wanted.known_part(error)).sum((1, 2, 3)) / wanted.known_dimensions()
    total = share * known + (1 - share) * restored.unknown_squares()
    np.testing.assert_allclose(total, np.square(error).mean((1, 2, 3)))
    assert known_rmse(restored) == pytest.approx(np.sqrt(known.mean()))
    assert known_rmse(restored) == pytest.approx(1, abs=0.1)
    assert unknown_rmse(restored) == pytest.approx(1, abs=0.1)


def test_truth_itself_has_no_error_and_no_diversity():
    data = load_images("digits")
    wanted = conditioning.truth(LEFT, data, 0, 32)
    restored = Restored(wanted.images / 16, wanted, data.levels)
    assert [
        measure(restored)
        for measure in (unknown_rmse, unknown_best, diversity, known_rmse, known_max)
    ] == [0] * 5


def test_draws_of_one_distribution_have_an_error_of_root_two_diversities():
    """As truth and samples are then alike: so is every sampler of the exact conditional
    distribution.
    """
    data, rng = load_images("digits"), np.random.default_rng(1)
    wanted = conditioning.truth({**LEFT, "images": 50}, data, 0, 1000)
    centre = rng.normal(size=(50, 1, 8, 8))
    truths = centre + 0.3 * rng.normal(size=centre.shape)
    restored = Restored(
        centre[wanted.image] + 0.3 * rng.normal(size=wanted.images.shape),
        conditioning.Truth(
            "inpainting", wanted.image, truths[wanted.image] * (data.levels - 1), wanted.known
        ),
        data.levels,
    )
    assert diversity(restored) == pytest.approx(0.3, rel=0.02)
    assert unknown_rmse(restored) == pytest.approx(2**0.5 * diversity(restored), rel=0.03)
    assert unknown_best(restored) < unknown_rmse(restored)


def test_diversity_of_single_samples_is_refused():
    data = load_images("digits")
    wanted = conditioning.truth({**LEFT, "images": 16}, data, 0, 16)
    with pytest.raises(ValueError, match=r"raise given\.repeats"):
        diversity(Restored(wanted.images / 16, wanted, data.levels))


def test_accuracy_counts_real_digits_of_the_class_asked_for():
    data = load_images("digits")
    of = data.labels("test")
    images = np.concatenate([data.test[of == 3][:20], data.test[of == 8][:20]])
    request = ("accuracy", METRICS["accuracy"].params())
    (measured,) = score([images], [request], data, given={"task": "class", "label": 3})
    assert measured.value == pytest.approx(0.5, abs=0.06)
    assert measured.identity["given"]["label"] == 3
    assert measured.identity["extractor"] == "digits-cnn@8"


def test_metric_of_given_images_says_when_nothing_was_given():
    data = load_images("digits")
    request = ("unknown_rmse", METRICS["unknown_rmse"].params())
    with pytest.raises(ValueError, match="need samples that were given something"):
        score([data.test[:8]], [request], data)
    measured = score([data.drawn("test", slice(8))], [request], data, given=LEFT)
    assert measured[0].value == 0
    assert "extractor" not in measured[0].identity


def test_labels_go_with_the_images_of_a_batch():
    data = load_images("digits")
    images, labels = data.labelled_batch(0, 25, 64)
    np.testing.assert_array_equal(images, data.batch(0, 25, 64))
    known = {
        image.tobytes(): label
        for image, label in zip(data.train, data.labels("train"), strict=True)
    }
    levels = (images * 16).round().byte().numpy()
    assert [known[image.tobytes()] for image in levels] == labels.tolist()


def test_photo_tiles_are_held_out_by_place():
    data = load_images("photo_tiles")
    assert data.train.dtype == np.uint8
    assert not {tile.tobytes() for tile in data.train} & {tile.tobytes() for tile in data.test}
    assert build(conditioning.TASKS["colourisation"], {"images": 416}).images == 416
    assert conditioning.refuse(
        "colourisation", conditioning.Colourisation(images=417), DATASETS["photo_tiles"]
    )


@pytest.mark.parametrize(
    ("task", "dataset", "metrics", "params"),
    [
        (LEFT, "digits", ["unknown_rmse", "diversity", "known_max"], {}),
        ({"task": "colourisation"}, "photo_tiles", ["unknown_rmse", "diversity", "known_rmse"], {}),
        ({"task": "class"}, "digits", ["accuracy"], {"classifier": {"kind": "resnet", "width": 8}}),
    ],
    ids=["inpainting", "colourisation", "class"],
)
def test_suite_runs_from_yaml_to_row_and_figure(read, tmp_path, task, dataset, metrics, params):
    params = {
        "training": {"steps": 2, "batch": 4, "heldout_images": 4},
        "dequantise": True,
        **params,
    }
    suite = read(
        task, dataset=dataset, metrics=metrics, params=params, smoke=True, grid={"nfe": [8]}
    )
    store = Store(tmp_path / "store")
    settings = {"device": "cpu", "checkpoint_seconds": 1e9}
    for job in expand(suite):
        for unit in job.units:
            jobs.make(
                job,
                unit,
                context.Context(store, settings, context.Unwatched(), Stop(), start="", attempts=1),
            )
    (row,) = write(suite, store, tmp_path / "results").rows.to_dict("records")
    assert (row["state"], row["nfe"], row["count"]) == ("done", 8, 4)
    assert conditioning.describe(suite.points[0].sample.given) in row["settings"]
    assert all(0 <= row[METRICS[name].column(METRICS[name].params())] <= 1 for name in metrics)
    assert row.get("known_max", 0) == 0
    assert [path.name for path in (tmp_path / "results" / "figures").glob("given-*.png")]
