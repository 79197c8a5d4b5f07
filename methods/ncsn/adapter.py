r"""Generative modelling by estimating gradients of the data distribution, and the improved
techniques of NCSNv2.

A network learns :math:`\nabla \log p_\sigma(x)`, the score of the data with Gaussian noise of
standard deviation :math:`\sigma`, at L levels :math:`\sigma_1 > \dots > \sigma_L` at once. Langevin
steps at one level after the other lead from noise to images.

Images live in [0, 1], the network sees [-1, 1]. NCSN's own network embeds the index of the level,
0 for the largest, and gives the score itself; NCSNv2's does not see the level, and its output over
:math:`\sigma` is the score. The network that all methods share (``backbone`` "unet") embeds
:math:`\log \sigma`, or the index if its embedding is positional, and its output over
:math:`\sigma` is the score too.

Shapes: B images, C channels, H x W pixels. Time: t = 1 is the largest level, t = 0 the smallest,
which is not 0.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600; Song & Ermon, 2020,
https://arxiv.org/abs/2006.09011.
Departures: the loss is the mean over dimensions, where the authors sum; NCSN's models too are
sampled from in NCSNv2's way, with a step size that follows from the levels and a denoising step at
the end, unless the sampler's parameters say otherwise (:mod:`methods.ncsn.langevin`).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Curve, Inspection, Noise, Run, Sampler
from methods.ncsn import refinenet
from methods.ncsn.card import CARD, Params
from methods.ncsn.checkpoint import read_checkpoint
from methods.ncsn.langevin import Arc, LevelScore
from methods.ncsn.levels import count_levels, geometric, restoring_step, step_size
from methods.ncsn.objective import annealed_loss, sliced_loss
from methods.ncsn.sampling import Annealed, Chain, Langevin
from methods.shared.adapter import Adapter
from methods.shared.checkpoint import CheckpointError
from methods.shared.controllable import Known
from methods.shared.distance import largest_distance
from methods.shared.objective import level_losses
from methods.shared.process import like
from methods.shared.sampling import options_of
from methods.shared.weights import Imported

INSPECTED = 10
"""The most noise levels at which the loss is inspected."""

SHOWN = 4
"""Images that an inspection denoises, and rows of images that go over into each other."""

ARC = 8
"""Images in such a row."""

ARC_BUDGET = 50
"""Network evaluations for each of them, the denoising step left out."""


class NCSN(Adapter):
    """Creates the method with weights of its own, as before any training."""

    card = CARD
    params: Params
    width = 1

    def reset(self) -> None:
        # Until training fits it, sigma_begin = "data" is the largest distance of two images.
        self.sigmas = self._levels(math.sqrt(math.prod(self.image_shape)))

    def make_network(self) -> nn.Module:
        if self.params.backbone == "unet":
            return super().make_network()
        return refinenet.make_refinenet(
            self.params.refinenet, self.image_shape[0], len(self.sigmas)
        )

    def initialise(self, noise: Noise) -> None:
        if self.params.backbone == "unet":
            super().initialise(noise)
        else:
            refinenet.initialise(self.network, noise)

    def _levels(self, distance: float) -> Tensor:
        """Returns the noise levels for images at most ``distance`` apart, float64, (L,)."""
        params = self.params
        begin = distance if params.sigma_begin == "data" else params.sigma_begin
        if begin <= params.sigma_end:
            raise ValueError(
                f"sigma_begin is {begin:.3g}, the images' largest distance: set sigma_end below it"
            )
        count = params.levels
        if count == "overlap":
            dims = math.prod(self.image_shape)
            count = count_levels(begin, params.sigma_end, dims, params.overlap)
        return geometric(begin, params.sigma_end, count)

    def exact_output(self, x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.double()
        score = self.mixture.score(x, torch.ones_like(sigma), sigma)
        return self.params.mistakes.of(score, like(1 / sigma, x))

    def score_fn(self, network: nn.Module) -> LevelScore:
        r"""Returns :math:`\nabla \log p_\sigma(x)` of a network, of x (B, C, H, W), sigma (B,)."""
        params = self.params
        if params.exact:
            return network
        if params.backbone == "refinenet" and params.refinenet.conditional:
            return lambda x, sigma: network(2 * x - 1, self.index(sigma))
        if params.backbone == "refinenet":
            return lambda x, sigma: network(2 * x - 1) / like(sigma, x)
        embedded = torch.log if params.any_level else lambda sigma: self.index(sigma).to(sigma)
        return lambda x, sigma: network(2 * x - 1, embedded(sigma)) / like(sigma, x)

    def field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns the score at noise levels."""
        return self.score_fn(self.average)(x, level.to(x.dtype))

    def index(self, sigma: Tensor) -> Tensor:
        """Returns the level nearest to sigma, by ratio: int64 of sigma's shape, 0 the largest."""
        first, last = math.log(self.sigmas[0]), math.log(self.sigmas[-1])
        place = (first - sigma.double().log()) / (first - last) * (len(self.sigmas) - 1)
        return place.round().long().clamp(0, len(self.sigmas) - 1)

    # Training.

    def network_loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        x0 = self.fill(x0, noise)
        level = noise.integers(x0.shape[:1], len(self.sigmas))
        return self.loss_at(network, x0, self.sigmas.to(x0)[level], noise)

    def loss_at(self, network: nn.Module, x0: Tensor, level: Tensor, draws: Noise) -> Tensor:
        """Returns the loss of each image at its noise level, sigma of shape (B,)."""
        params, score_fn = self.params, self.score_fn(network)
        z = draws.normal(x0.shape)
        weights = (params.anneal_power, params.reduction)
        if params.objective == "denoising":
            return annealed_loss(lambda x: score_fn(x, level), x0, level, z, *weights)
        directions = draws.normal((params.particles, *x0.shape))
        noisy = x0 + like(level, x0) * z
        return sliced_loss(lambda x: score_fn(x, level), noisy, level, directions, *weights)

    def train(self, data: Images, run: Run) -> None:
        if self.params.sigma_begin == "data":
            images = torch.from_numpy(data.train).to(run.device)
            self.sigmas = self._levels(largest_distance(images) / data.span)
        super().train(data, run)

    # Samples.

    @torch.no_grad()
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        x = self._first(sampler.params.start, count, noise.child("prior"))
        return self.leave(self._walk(sampler, x, noise.child("steps"), self.known(given)))

    def _walk(
        self, sampler: Sampler, x: Tensor, noise: Noise | Arc, known: Known | None = None
    ) -> Tensor:
        """Returns the end of a chain; an annealed one goes through levels of its own."""
        chosen, options = sampler.params, options_of(sampler.params, Chain)
        options["denoise"] = chosen.denoise
        if isinstance(chosen, Langevin):
            at = options.pop("sigma") or self.sigmas[-1].item()
        else:
            at = self._sampled(options.pop("levels"))
            del options["buys"]
            options["known"] = known
            if isinstance(chosen.step_lr, str):
                rule = step_size if chosen.step_lr == "technique" else restoring_step
                options["step_lr"] = rule(at, chosen.steps_each)
        function = self.card.samplers[sampler.name].load()
        return function(self.score_fn(self.average), x, at, noise, **options)

    def _first(self, name: str, count: int, noise: Noise) -> Tensor:
        """Returns where chains start."""
        shape = (count, *self.image_shape)
        if name == "uniform":
            return noise.uniform(shape)
        return 0.5 + self.sigmas[0].item() * noise.normal(shape)

    def _sampled(self, count: int) -> Tensor:
        """Returns the levels that a chain of ``count`` of them goes through, float64, (count,).

        Raises:
            ValueError: The network knows fewer levels.
        """
        most = len(self.sigmas)
        if self.params.any_level and count == most:
            return self.sigmas
        if self.params.any_level:
            return geometric(self.sigmas[0].item(), self.sigmas[-1].item(), count)
        if count > most:
            raise ValueError(
                f"the network knows its {most} noise levels alone, and levels asks for {count}"
            )
        return self.sigmas[torch.linspace(0, most - 1, count, dtype=torch.float64).round().long()]

    # Inspection and state.

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss at ten levels or fewer; images noised and denoised; rows of samples."""
        params, most = self.params, len(self.sigmas)
        x0 = self.fill(images.to(self.device), noise)
        index = torch.linspace(most - 1, 0, min(INSPECTED, most)).round().long()
        sigmas = self.sigmas[index]

        def loss_at(sigma: Tensor) -> Tensor:
            return self.loss_at(self.average, x0, self._all(x0, sigma), noise.child("loss"))

        losses, strips = level_losses(loss_at, sigmas), {}
        if math.prod(self.image_shape[1:]) > 1:  # points are no pictures
            span = f"{sigmas[0]:.2g} to {sigmas[-1]:.2g}"
            strips[f"noise of standard deviation {span}, and below it denoised"] = self._denoised(
                x0[:SHOWN], sigmas, noise.child("denoised")
            )
            strips["samples whose noise goes over from one to another"] = self._arcs(
                noise.child("arcs")
            )
        levels = torch.arange(1, most + 1, dtype=torch.float64)
        times = 1 - index.double() / (most - 1)
        strips |= self.field_strips(times, sigmas)
        fitted = {"noise levels": Curve(levels, self.sigmas, "level i", "sigma_i")}
        return Inspection(
            times=times,
            noise_levels=sigmas,
            losses=losses,
            weighting=f"{params.objective}, sigma^{params.anneal_power:g}, {params.reduction}",
            strips=strips,
            curves=fitted | self.jacobian(loss_at, times, sigmas),
        )

    def _denoised(self, x0: Tensor, sigmas: Tensor, noise: Noise) -> Tensor:
        """Returns for each image a row of noisy images, one level per column, and their means."""
        score_fn, z, columns = self.score_fn(self.average), noise.normal(x0.shape), []
        for sigma in sigmas.tolist():
            noisy = x0 + sigma * z
            clean = noisy + sigma**2 * score_fn(noisy, self._all(x0, sigma))
            pair = torch.stack([self.bins.leave(noisy), self.bins.leave(clean)], dim=1)
            columns.append(pair.flatten(0, 1))
        return torch.stack(columns, dim=1).cpu()

    def _arcs(self, noise: Noise) -> Tensor:
        """Returns rows of samples from one x each, whose noise goes over from one to another."""
        levels = ARC_BUDGET if self.params.any_level else min(len(self.sigmas), ARC_BUDGET)
        steps_each = ARC_BUDGET // levels
        small = self.params.sigma_end**2
        step_lr: Literal["technique"] | float = "technique" if steps_each > 1 else small
        chosen = Annealed(levels=levels, steps_each=steps_each, step_lr=step_lr)
        x = self._first(chosen.start, SHOWN, noise.child("prior")).repeat_interleave(ARC, dim=0)
        sampler = Sampler("annealed_langevin", "", chosen)
        images = self.leave(self._walk(sampler, x, Arc(noise.child("steps"), ARC)))
        return images.view(SHOWN, ARC, *self.image_shape).cpu()

    @staticmethod
    def _all(x: Tensor, sigma: float | Tensor) -> Tensor:
        """Returns sigma for each image of x, shape (B,)."""
        return torch.full((len(x),), float(sigma), dtype=x.dtype, device=x.device)

    def fitted(self) -> dict[str, Tensor]:
        return {"sigmas": self.sigmas.clone()}

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        self.sigmas = tensors["sigmas"].cpu()

    def read_checkpoint(self, path: Path, weights: str) -> Imported:
        """Returns the authors' weights; see :func:`methods.ncsn.checkpoint.read_checkpoint`."""
        if self.params.backbone != "refinenet":
            raise CheckpointError(
                f"{path}: published checkpoints are of the papers' own network: backbone refinenet"
            )
        if self.params.sigma_begin == "data" or self.params.levels == "overlap":
            raise CheckpointError(
                f"{path}: was trained with levels of its own: give params.sigma_begin and levels"
            )
        assert isinstance(self.network, refinenet.RefineNetwork)
        return read_checkpoint(path, self.network, weights, self.sigmas)
