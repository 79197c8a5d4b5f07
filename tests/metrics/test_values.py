"""Values with their identities, references computed once, floors of real images."""

import json

import numpy as np
import pytest

from bench.data.images import load_images
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.extractors import load_extractor
from bench.metrics.floor import real_floor
from bench.metrics.frechet import frechet_from_features
from bench.metrics.inception import inception_score
from bench.metrics.parameters import FrechetParams, InceptionParams
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score

FD, FD_TEST, IS = (
    ("fd", FrechetParams()),
    ("fd", FrechetParams(reference="test")),
    ("is", InceptionParams()),
)


def value(images, request, data):
    return score([images], [request], data)[0].value


def test_score_is_the_measure_of_the_extracted_features(digits):
    extractor = load_extractor("digits-cnn")
    samples = extractor(digits.test[:256])
    train, test, inception = score([digits.test[:256]], [FD, FD_TEST, IS], digits)
    assert train.value == frechet_from_features(samples.features, extractor(digits.train).features)
    assert test.value == frechet_from_features(samples.features, extractor(digits.test).features)
    assert inception.value == pytest.approx(
        inception_score(np.exp(samples.log_probs))[0], rel=1e-12
    )


def test_shards_are_read_once_and_their_sizes_do_not_matter(digits):
    shards = iter([digits.test[:100], digits.test[100:101], digits.test[101:256]])
    in_parts, whole = score(shards, [FD, IS], digits), score([digits.test[:256]], [FD, IS], digits)
    assert next(shards, None) is None
    assert [m.value for m in in_parts] == [pytest.approx(m.value, rel=1e-9) for m in whole]
    assert [m.identity for m in in_parts] == [m.identity for m in whole]


def test_reference_is_computed_once_a_process_however_many_metrics_ask(digits, extracted):
    references = References()
    for _ in range(2):
        score(
            [digits.test],
            [FD, ("fd", FrechetParams(allow_few=True))],
            load_images("digits"),
            references=references,
        )
    assert sum(extracted) == 1437 + 2 * 360


def test_training_images_are_at_distance_zero_from_themselves(digits):
    assert value(digits.train, FD, digits) == pytest.approx(0, abs=1e-9)


def test_identity_says_all_that_the_number_depends_on(digits):
    frechet, to_test, inception = (
        m.identity for m in score([digits.test[:256]], [FD, FD_TEST, IS], digits)
    )
    card = EXTRACTORS["digits-cnn"]
    assert json.loads(json.dumps(frechet)) == frechet
    assert frechet["metric"] == "fd"
    assert frechet["version"] == METRICS["fd"].version
    assert frechet["extractor"] == "digits-cnn@8"
    assert frechet["weights_sha256"] == card.sha256
    assert frechet["input_shape"] == [1, 8, 8]
    assert frechet["levels"] == 17
    assert frechet["dimension"] == 24
    assert frechet["count"] == 256
    assert frechet["resize"] == "none"
    assert frechet["input_size"] == [8, 8]
    assert frechet["reference"]["dataset"] == "digits@1"
    assert frechet["reference"]["images"] == 1437
    assert frechet["reference"]["sha256"] == digits.digest("train")
    assert to_test["reference"]["sha256"] == digits.digest("test")
    assert inception["reference"] is None
    assert not {"FID", "IS"} & {
        text for text in json.dumps([frechet, to_test, inception]).split('"')
    }


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ([], "there are no images to score"),
        ([np.zeros((4, 1, 8, 8))], "should be uint8 levels, got float64"),
        ([np.zeros((4, 1, 9, 8), np.uint8)], r"should have shape \('N', 1, 8, 8\)"),
        ([np.zeros((0, 1, 8, 8), np.uint8)], "N > 0"),
        ([np.full((4, 1, 8, 8), 17, np.uint8)], r"pixels in 0\.\.16, got 17"),
        ([np.zeros((1, 1, 8, 8), np.uint8)], "needs 24 images, got 1"),
    ],
)
def test_images_that_cannot_be_scored_are_refused_with_the_cause(digits, images, why):
    with pytest.raises(ValueError, match=why):
        score(images, [FD], digits)


def test_deviation_of_the_floor_is_that_of_sets_without_common_images(digits):
    overlapping = real_floor(*IS, digits, 300, split="test", draws=200)
    disjoint = real_floor(*IS, digits, 300, split="train", draws=200)
    assert 0.5 < overlapping.std / disjoint.std < 2
    assert np.isnan(real_floor(*IS, digits, 360, split="test", draws=2).std)


def test_real_floor_falls_with_the_count_and_is_drawn_from_the_other_split(digits):
    small, large = (real_floor(*FD, digits, count, draws=10) for count in (64, 256))
    assert small.mean > 2 * large.mean > 0
    assert large.split == "test"
    assert real_floor(*FD_TEST, digits, 64, draws=2).split == "train"
    assert real_floor(*FD, digits, 64, draws=10) == small
    with pytest.raises(ValueError, match="split test has 360 images, fewer than the 500 asked for"):
        real_floor(*FD, digits, 500)
