"""Prints how many 32x32x3 training images a second one core streams: flips, scaling to [0, 1] and
dequantisation.

    python tests/perf/stream.py [--images 50000] [--batch 128] [--seconds 5]

The images lie in a memory-mapped file, as converted archives do. The rate of an epoch counts its
permutation too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.data.card import DataCard
from bench.data.images import Images
from bench.method import Noise
from methods.shared.likelihood import dequantise


def rate(draw: Callable[[int], object], batch: int, seconds: float) -> float:
    """Returns images per second of CPU time."""
    draw(0)
    begin, k = time.process_time(), 1
    while time.process_time() - begin < seconds:
        draw(k)
        k += 1
    return (k - 1) * batch / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        draw = np.random.default_rng(0)
        np.save(path, draw.integers(0, 256, (options.images, 3, 32, 32), dtype=np.uint8))
        card = DataCard(
            version=1,
            summary="",
            shape=(3, 32, 32),
            levels=256,
            splits={"train": options.images},
            split_rule="",
            load=lambda split: np.load(path, mmap_mode="c"),
            flips=True,
        )
        data = Images("noise", card)

        def loss_sees(k: int) -> torch.Tensor:
            images = data.batch(0, k, options.batch)
            return dequantise(images * 255, 256, Noise(0, ("train", k)).child("dequantise"))

        def batch(k: int) -> torch.Tensor:
            return data.batch(0, k, options.batch)

        for name, drawn in (("images, scaled and flipped", batch), ("and dequantised", loss_sees)):
            print(f"{name:<28}{rate(drawn, options.batch, options.seconds):10,.0f} a second")


if __name__ == "__main__":
    main()
