"""Trains a small extractor and writes its weights: ``python -m bench.metrics.train_digits_cnn``.

Cross-entropy on the training images of ``digits``, each seen every epoch under a new small
rotation, scaling and shift; dropout on the features; AdamW with a one-cycle learning rate; the last
weights are kept. ``--dataset fashion_mnist14`` does the same with its images. Dropout, weight decay
and distortions were chosen by accuracy on a fifth of the digits' training images. Activation
and plain labels were chosen by how well the distance tells noisy and blurred images from real
ones, held-out images among these; the accuracy on held-out images, which is printed, chose
nothing. Equal seeds give equal weights on one machine type and torch build.

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
from bench.files import sha256
from bench.metrics.digits_cnn import SmallCNN
from bench.metrics.extractor_card import SHIPPED
from bench.metrics.extractor_cards import EXTRACTORS

EPOCHS = {"digits": 100, "fashion_mnist14": 8}
NAMES = {"digits": "digits-cnn", "fashion_mnist14": "fashion14-cnn"}
BATCH = 64
LEARNING_RATE = 4e-3


def train(seed: int, dataset: str = "digits", epochs: int | None = None) -> SmallCNN:
    """Returns the classifier trained on the training images only."""
    draws = Generator().manual_seed(seed)
    images, labels = _split(dataset, "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallCNN(images.shape[-1])
        return _fit(network, images, labels, draws, epochs or EPOCHS[dataset])


def _fit(
    network: SmallCNN, images: Tensor, labels: Tensor, draws: Generator, epochs: int
) -> SmallCNN:
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
        features = torch.cat([network(part)[0] for part in images.split(10_000)])
        network.deviations.copy_(features.std(0))
    return network


@torch.no_grad()
def accuracy(network: SmallCNN, dataset: str, split: str) -> float:
    """Returns the fraction of a split's images that are named rightly."""
    images, labels = _split(dataset, split)
    return (network(images)[1].argmax(1) == labels).double().mean().item()


def _split(dataset: str, name: str) -> tuple[Tensor, Tensor]:
    data = load_images(dataset)
    images = torch.from_numpy(data.split(name)).float() / (data.levels - 1) * 2 - 1
    return images, torch.from_numpy(data.labels(name))


def _jitter(images: Tensor, draws: Generator) -> Tensor:
    """Returns images turned by up to 15 degrees, scaled by 15 %, shifted by 3/32 of the width."""
    angle, scale, shift_x, shift_y = torch.rand(4, len(images), generator=draws) * 2 - 1
    angle, scale = angle * math.radians(15), 1 + 0.15 * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift_x, shift_y = 1.5 / 8 * shift_x, 1.5 / 8 * shift_y  # the grid is 2 units wide
    rows = (torch.stack([cos, -sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    # Beyond the border is black.
    return functional.grid_sample(images + 1, grid, align_corners=False) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=EPOCHS, default="digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = options.out or SHIPPED / EXTRACTORS[NAMES[options.dataset]].weights[0]
    network = train(options.seed, options.dataset)
    content = save({name: value.contiguous() for name, value in network.state_dict().items()})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    for split in ("train", "test"):
        print(f"accuracy on {split}: {accuracy(network, options.dataset, split):.4f}")
    print(f"{out}: {len(content) / 1e3:.0f} kB, sha256 {sha256(content)}")


if __name__ == "__main__":
    main()
