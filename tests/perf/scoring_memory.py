"""Measures the peak memory of scoring: 50,000 images of 2048 features and 1008 classes, streamed
from shards on disk.

    python tests/perf/scoring_memory.py moments   FID and IS: below 1 GB
    python tests/perf/scoring_memory.py images    KID, precision and recall: below 4 GB

The extractor is a random layer, for only what is kept counts here. Its reference is computed first,
in another process, as it would be in a store that has it. Exit status 1 where the peak is above the
limit.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.data.card import DataCard
from bench.data.images import Images
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.extractors import load_extractor
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.metrics.view import View
from bench.store import Store

DIMENSION, CLASSES, SHAPE, SHARD = 2048, 1008, (3, 8, 8), 500
LIMITS = {"moments": 1.0, "images": 4.0}
ASKED = {"moments": ("fd", "is"), "images": ("kd", "precision", "recall")}


class Synthetic(View):
    """2048 rectified random projections of an image, and as many logits as the Inception has."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        pixels = math.prod(SHAPE)
        self.features = torch.randn(pixels, DIMENSION, generator=draws) / pixels**0.5
        self.logits = torch.randn(DIMENSION, CLASSES, generator=draws) / DIMENSION**0.5

    def forward(self, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu((levels.flatten(1).float() / 128 - 1) @ self.features)
        return features, features @ self.logits


def draw(seed: int, count: int) -> np.ndarray:
    """Returns images whose pixels are not independent."""
    draws = np.random.default_rng(seed)
    smooth = draws.normal(size=(count, 3, 4, 4)).repeat(2, 2).repeat(2, 3)
    return np.clip(128 + 40 * smooth + 15 * draws.normal(size=(count, *SHAPE)), 0, 255).astype(
        np.uint8
    )


def prepare(count: int) -> Images:
    """Registers the extractor; returns its data set."""
    weights = Path(__file__)
    EXTRACTORS["synthetic"] = ExtractorCard(  # type: ignore[index]
        name="synthetic",
        summary="",
        make=lambda inputs: Synthetic(),
        size=8,
        dimension=DIMENSION,
        classes=CLASSES,
        weights=(str(weights),),
    )
    card = DataCard(
        version=1,
        summary="",
        shape=SHAPE,
        levels=256,
        splits={"train": count, "test": 10},
        split_rule="by seed",
        load=lambda split: draw(1, count) if split == "train" else draw(2, 10),
    )
    return Images("synthetic", card)


def shards(folder: Path, count: int) -> Iterator[np.ndarray]:
    for index in range(math.ceil(count / SHARD)):
        yield np.load(folder / f"{index:05d}.npz")["images"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*LIMITS, "reference"])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the shards and the store are (default: a temporary folder)",
    )
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            words = ["--images", str(options.images), "--folder", folder]
            subprocess.run([sys.executable, __file__, "reference", *words], check=True)
            return subprocess.run(
                [sys.executable, __file__, options.what, *words], check=False
            ).returncode
    torch.set_num_threads(1)
    data, references = prepare(options.images), References(Store(options.folder / "store"))
    begin = time.perf_counter()
    if options.what == "reference":
        for index in range(math.ceil(options.images / SHARD)):
            np.savez(options.folder / f"{index:05d}.npz", images=draw(100 + index, SHARD))
        references.get(
            data, "train", load_extractor("synthetic", data=data), {"moments", "features"}
        )
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        requests = [
            (name, METRICS[name].params(extractor="synthetic")) for name in ASKED[options.what]
        ]
        found = score(
            shards(options.folder, options.images),
            requests,
            data,
            count=options.images,
            references=references,
        )
        print(", ".join(f"{one.identity['column']} {one.value:.5g}" for one in found))
        print(f"before scoring {before:.2f} GiB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.what}: {options.images} images, peak {peak:.2f} GiB, "
        f"{time.perf_counter() - begin:.0f} s"
    )
    return int(options.what in LIMITS and peak > LIMITS[options.what] * 1e9 / 2**30)


if __name__ == "__main__":
    sys.exit(main())
