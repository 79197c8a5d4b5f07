"""The reference Inception with stand-in weights, and DINOv2."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_sets import few
from standins import write_inception

from bench.metrics.extractor_cards import EXTRACTORS, extractor_card
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.frechet import frechet_from_features
from bench.metrics.parameters import FrechetParams
from bench.metrics.references import References
from bench.metrics.scoring import score


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    return write_inception(tmp_path_factory.mktemp("weights") / "inception-other.pth")


@pytest.fixture
def inception(standin, photos):
    return Extractor("inception-other", weights=standin, data=photos)


def distance(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.mark.slow
def test_inception_gives_what_torch_fidelity_gives(inception, standin, photos):
    """Both are within float32's rounding of the exact network, which random weights amplify to
    2e-6.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], str(standin)
    )
    images = photos.test[:3]
    with torch.inference_mode():
        plain = [found.double().numpy() for found in theirs(torch.from_numpy(images))]
        theirs.double().feature_extractor_internal_dtype = torch.float64
        exact = [found.double().numpy() for found in theirs(torch.from_numpy(images))]
    ours = inception(images)
    assert distance(ours.features, exact[0]) < max(2 * distance(plain[0], exact[0]), 1e-6) < 1e-5
    log_probs = torch.from_numpy(exact[1]).log_softmax(1).numpy()
    assert distance(ours.log_probs, log_probs) < 1e-5
    assert ours.features.std() > 0.01  # a stand-in whose features are alive


@pytest.mark.slow
def test_clean_inception_gives_what_clean_fid_gives(standin, photos, monkeypatch, tmp_path):
    from cleanfid.inception_pytorch import InceptionV3
    from cleanfid.resize import build_resizer

    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / "pt_inception-2015-12-05-6726825d.pth").symlink_to(standin)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(
        EXTRACTORS, "clean-inception", replace(EXTRACTORS["clean-inception"], sha256="")
    )
    extractor_card.cache_clear()
    images = photos.test[:3]
    ours = Extractor("clean-inception", weights=standin, data=photos)(images).features
    extractor_card.cache_clear()
    theirs = (
        InceptionV3(output_blocks=[3], resize_input=False, normalize_input=False).eval().double()
    )
    resize = build_resizer("clean")
    resized = np.stack([resize(image) for image in images.transpose(0, 2, 3, 1)])
    with torch.inference_mode():
        exact = (
            theirs((torch.from_numpy(resized).permute(0, 3, 1, 2).double() - 128) / 128)[0]
            .flatten(1)
            .numpy()
        )
    assert distance(ours, exact) < 5e-6


@pytest.mark.slow
def test_bare_names_need_the_reference_weights_and_other_weights_are_named(
    standin, photos, monkeypatch, tmp_path
):
    data = few(photos, train=6, test=4)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "inception-other.pth").symlink_to(standin)
    (tmp_path / "weights" / EXTRACTORS["inception"].weights[0]).symlink_to(standin)
    requests = [
        ("fd", FrechetParams(extractor=name, allow_few=True))
        for name in ("inception", "inception-other")
    ]
    with pytest.raises(ValueError, match="6726825d"):
        score([data.test], requests[:1], data, references=References())
    (found,) = score([data.test], requests[1:], data, references=References())
    assert found.identity["column"] == "fd(inception-other@299)"
    assert found.identity["weights_sha256"] == hashlib.sha256(standin.read_bytes()).hexdigest()
    assert found.identity["network"].startswith("torch-fidelity ")
    extractor = load_extractor("inception-other", data=data)
    expected = frechet_from_features(extractor(data.test).features, extractor(data.train).features)
    assert found.value == pytest.approx(expected, rel=1e-6)


def test_grey_images_become_three_channels_of_255_levels(digits):
    from bench.metrics.pretrained import _rgb

    found = _rgb(torch.from_numpy(digits.test[:2]), 16)
    assert found.shape == (2, 3, 8, 8)
    assert found.dtype == torch.uint8
    assert int(found.max()) == 255
    assert torch.equal(found[:, 0], found[:, 2])


def test_dinov2_is_read_from_what_torch_hub_has_and_nothing_is_fetched(
    tmp_path, monkeypatch, photos
):
    repository = tmp_path / "hub" / "facebookresearch_dinov2_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(
        "import torch\n"
        "def dinov2_vits14(pretrained=True):\n"
        "    assert not pretrained\n"
        "    pool = torch.nn.AvgPool2d(32)\n"
        "    return torch.nn.Sequential(pool, torch.nn.Flatten(), torch.nn.Linear(147, 384))\n"
    )
    (tmp_path / "hub" / "checkpoints").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    network = torch.nn.Sequential(
        torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(147, 384)
    )
    torch.save(
        network.state_dict(), tmp_path / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth"
    )
    extractor = load_extractor("dinov2-vit-s-14", data=photos)
    assert extractor(photos.test[:3]).features.shape == (3, 384)
    assert extractor(photos.test[:3]).features.std() > 0
