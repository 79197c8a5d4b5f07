"""Trains the digits extractor and writes its weights: ``python -m bench.metrics.train_digits_cnn``.

Cross-entropy on the training images of ``digits``, each seen every epoch under a new small
rotation, scaling and shift; dropout on the features; AdamW with a one-cycle learning rate; the last
weights are kept. Dropout, weight decay and distortions were chosen by accuracy on a fifth of the
training images. Activation and plain labels were chosen by how well the distance tells noisy and
blurred images from real ones, held-out images among these; the accuracy on held-out images, which
is printed, chose nothing. Equal seeds give equal weights on one machine type and torch build.

After writing other weights, put the printed sha256 into their card of
:mod:`bench.metrics.extractor_cards` and raise the version of every metric that uses them.
"""

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Generator, Tensor
from torch.nn import functional

from bench.data.images import load_images
from bench.data.scikit import digits_labels
from bench.files import sha256
from bench.metrics.digits_cnn import DigitsCNN
from bench.metrics.extractor_card import SHIPPED
from bench.metrics.extractor_cards import EXTRACTORS

EPOCHS = 100
BATCH = 64
LEARNING_RATE = 4e-3


def train(seed: int, epochs: int = EPOCHS) -> DigitsCNN:
    """Returns the classifier trained on the training images only."""
    draws = Generator().manual_seed(seed)
    images, labels = _split("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _fit(DigitsCNN(), images, labels, draws, epochs)


def _fit(
    network: DigitsCNN, images: Tensor, labels: Tensor, draws: Generator, epochs: int
) -> DigitsCNN:
    batches = math.ceil(len(images) / BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * batches
    )
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=draws).split(BATCH):
            _, logits = network(_jitter(images[index], draws))
            optimiser.zero_grad()
            functional.cross_entropy(logits, labels[index]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        network.deviations.copy_(network(images)[0].std(0))
    return network


@torch.no_grad()
def accuracy(network: DigitsCNN, split: str) -> float:
    """Returns the fraction of a split's images that are named rightly."""
    images, labels = _split(split)
    return (network(images)[1].argmax(1) == labels).double().mean().item()


def _split(name: str) -> tuple[Tensor, Tensor]:
    data = load_images("digits")
    images = torch.from_numpy(data.split(name)).float() / (data.levels - 1) * 2 - 1
    return images, torch.from_numpy(digits_labels(name))


def _jitter(images: Tensor, draws: Generator) -> Tensor:
    """Returns images turned by up to 15 degrees, scaled by 15 % and shifted by 3/4 of a pixel."""
    angle, scale, shift_x, shift_y = torch.rand(4, len(images), generator=draws) * 2 - 1
    angle, scale = angle * math.radians(15), 1 + 0.15 * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift_x, shift_y = 1.5 / 8 * shift_x, 1.5 / 8 * shift_y  # the grid is 2 units, 8 pixels, wide
    rows = (torch.stack([cos, -sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    # Beyond the border is black.
    return functional.grid_sample(images + 1, grid, align_corners=False) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=SHIPPED / EXTRACTORS["digits-cnn"].weights[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network = train(options.seed)
    content = save({name: value.contiguous() for name, value in network.state_dict().items()})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    for split in ("train", "test"):
        print(f"accuracy on {split}: {accuracy(network, split):.4f}")
    print(f"{options.out}: {len(content) / 1e3:.0f} kB, sha256 {sha256(content)}")


if __name__ == "__main__":
    main()
