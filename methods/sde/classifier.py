r"""The noise-conditional classifier: :math:`p_t(c \mid x)` of noisy images.

Its gradient turns the score into the score given c (:func:`methods.shared.controllable.guided`). It
is the way down of NCSN++, with the mean over pixels of its last features, with the noise
level s / m as its embedding input.

Shapes: B images, x is (B, C, H, W). Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 5, appendix I.1).
Departures: blocks of NCSN++ in place of a wide ResNet, so that digits and photographs alike have
one of their size; an average of its weights is what samples are guided by, as the score's is.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.images import Images
from bench.method import Noise, Run
from methods.shared.hyperparameters import Training
from methods.shared.layers import Conv, Dense, Fourier, ResBlock, group_norm
from methods.shared.training import Trainer, under

PREFIX = "classifier."

ClassLoss = Callable[[nn.Module, Tensor, Tensor, Noise], Tensor]
"""The loss of each image, shape (B,), given a classifier, images in [0, 1], their classes (B,) and
randomness.
"""


class Classifier(nn.Module):
    """Creates a classifier with weights of 0; :func:`methods.shared.layers.initialise` draws them.

    Args:
        channels: C.
        classes: How many.
        width: Channels at full resolution.
        multipliers: Channels of each resolution, from full to lowest, in multiples of ``width``.
        blocks: Residual blocks per resolution.
        fourier_scale: Standard deviation of the Fourier frequencies of the noise level's logarithm.
        dropout: Probability of dropping an activation in training.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        fourier_scale: float,
        dropout: float,
    ) -> None:
        super().__init__()
        features = 4 * width
        rule: dict[str, Any] = {"skip_rescale": True, "dropout": dropout, "init_scale": 0.0}
        self.embedding = Fourier(width, fourier_scale)
        self.dense1 = Dense(self.embedding.features, features)
        self.dense2 = Dense(features, features)
        self.input = Conv(channels, width)
        layers, inputs = [], width
        for i, multiplier in enumerate(multipliers):
            if i > 0:
                layers.append(ResBlock(inputs, inputs, features, resample="down", **rule))
            for _ in range(blocks):
                layers.append(ResBlock(inputs, width * multiplier, features, **rule))
                inputs = width * multiplier
        self.blocks = nn.ModuleList(layers)
        self.norm = group_norm(inputs)
        self.output = Dense(inputs, classes)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Returns the logits, shape (B, classes).

        Args:
            x: Noisy images of about unit size, shape (B, C, H, W).
            condition: Logarithm of the noise level, shape (B,).
        """
        embedded = F.silu(self.dense2(F.silu(self.dense1(self.embedding(condition)))))
        h = self.input(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h, embedded)
        return self.output(F.silu(self.norm(h)).mean((2, 3)))


def train_classifier(
    network: Classifier,
    average: Classifier,
    loss: ClassLoss,
    data: Images,
    settings: Training,
    run: Run,
) -> Run:
    """Trains a classifier, or goes on from the run's last checkpoint, before the training of what
    it guides.

    Args:
        network: What is trained, with its first weights.
        average: A classifier of the same shape, which ends as the average of the weights.
        loss: See :data:`ClassLoss`.
        data: Where images and their classes come from.
        settings: Hyper-parameters.
        run: Seed, device, checkpoints and log, of the classifier's updates first.

    Returns:
        The run for the training that follows, which knows nothing of the classifier: its updates
        count from 0, and its checkpoints carry the classifier along.
    """
    steps = settings.steps
    done, tensors = run.restore() or (0, {})
    trainer = Trainer(
        network, average, lambda network, x0, noise: loss(network, x0, classes, noise), settings
    )
    if tensors:
        trainer.load(under(PREFIX, tensors))

    def state() -> dict[str, Tensor]:
        return {PREFIX + name: tensor for name, tensor in trainer.tensors().items()}

    run.announce(steps)
    for step in range(done, steps):
        x0, classes = (
            batch.to(run.device) for batch in data.labelled_batch(run.seed, step, settings.batch)
        )
        trainer.update(step, x0, run.noise("classifier", "step", step))
        if step + 1 == steps:
            run.log(0, **_heldout(average, loss, data, run))
        run.checkpoint(step + 1, state)
    network.eval()
    return replace(
        run,
        restore=lambda: (done - steps, tensors) if done > steps else None,
        checkpoint=lambda step, others: run.checkpoint(
            steps + step, lambda: {**others(), **state()}
        ),
        announce=lambda others: run.announce(steps + others),
    )


@torch.no_grad()
def _heldout(average: Classifier, loss: ClassLoss, data: Images, run: Run) -> dict[str, float]:
    """Returns the mean loss on the test split, each image at one random time."""
    images = torch.from_numpy(data.test).to(run.device).float() / (data.levels - 1)
    classes = torch.from_numpy(data.labels("test")).to(run.device)
    return {
        "classifier_heldout_loss": loss(
            average, images, classes, run.noise("classifier", "heldout")
        )
        .mean()
        .item()
    }
