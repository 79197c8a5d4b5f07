r"""Generative modelling by estimating gradients of the data distribution, and the improved
techniques of NCSNv2.

A network learns :math:`\nabla \log p_\sigma(x)`, the score of the data with Gaussian noise of
standard deviation :math:`\sigma`, at L levels :math:`\sigma_1 > \dots > \sigma_L` at once. Langevin
steps at one level after the other lead from noise to images.

Images live in [0, 1], the network sees [-1, 1]. NCSN's own network is told the index of the level,
0 for the largest, and gives the score itself; NCSNv2's is not told, and its output over
:math:`\sigma` is the score. The network that all methods share (``backbone`` "unet") is told
:math:`\log \sigma`, or the index where its embedding is positional, and its output over
:math:`\sigma` is the score too.

Shapes: B images, C channels, H x W pixels. Time: t = 1 is the largest level, t = 0 the smallest,
which is not 0.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600; Song & Ermon, 2020,
https://arxiv.org/abs/2006.09011.
Departures: the loss is the mean over dimensions, where the authors sum; NCSN's models too are
sampled from in NCSNv2's way, with a step size that follows from the levels and a denoising step at
the end, unless the sampler's parameters say otherwise (:mod:`methods.ncsn.langevin`).
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Curve, Inspection, Method, Noise, Run, Sampler
from methods.ncsn import refinenet
from methods.ncsn.card import CARD, Params
from methods.ncsn.checkpoint import read_checkpoint
from methods.ncsn.langevin import Arc, LevelScore, annealed_langevin, langevin
from methods.ncsn.levels import count_levels, geometric, step_size
from methods.ncsn.objective import annealed_loss, sliced_loss
from methods.ncsn.sampling import Annealed
from methods.shared import layers
from methods.shared.average import average_of
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.controllable import Known
from methods.shared.distance import largest_distance
from methods.shared.exact import ExactNetwork, Mixture
from methods.shared.objective import level_losses
from methods.shared.process import like
from methods.shared.quantisation import Bins
from methods.shared.training import dropout_from, fit, load_weights, weights_of

INSPECTED = 10
"""The most noise levels at which the loss is inspected."""

SHOWN = 4
"""Images that an inspection denoises, and rows of images that go over into each other."""

ARC = 8
"""Images in such a row."""

ARC_BUDGET = 50
"""Network evaluations for each of them, the denoising step left out."""


class NCSN(Method):
    """Creates the method with weights of its own, as before any training."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.bins = Bins(self.levels, params.dequantise)
        # Until training fits it, sigma_begin = "data" is the largest distance that two images can
        # have.
        self.sigmas = self._levels(math.sqrt(math.prod(data.shape)))
        self.data = data
        if params.exact:
            self.network = self.average = ExactNetwork(self._exact_score)
            return
        self.network = self._make_network(data.shape)
        self.network.to(device=self.device, memory_format=torch.channels_last)
        self._initialise(Noise(0, ("init",)))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)

    def _make_network(self, shape: tuple[int, int, int]) -> nn.Module:
        channels, height, _ = shape
        if self.params.backbone == "unet":
            return make_network(self.params.network, channels, channels, height)
        return refinenet.make_refinenet(self.params.refinenet, channels, len(self.sigmas))

    def _initialise(self, noise: Noise) -> None:
        own = self.params.backbone == "refinenet"
        (refinenet.initialise if own else layers.initialise)(self.network, noise)

    def _levels(self, distance: float) -> Tensor:
        """Returns the noise levels for training images that lie at most ``distance`` apart,
        float64, shape (L,).
        """
        params = self.params
        begin = distance if params.sigma_begin == "data" else params.sigma_begin
        if begin <= params.sigma_end:
            raise ValueError(
                f"sigma_begin is {begin:.3g}, the images' largest distance: set sigma_end below it"
            )
        count = params.levels
        if count == "overlap":
            count = count_levels(
                begin, params.sigma_end, math.prod(self.image_shape), params.overlap
            )
        return geometric(begin, params.sigma_end, count)

    @cached_property
    def mixture(self) -> Mixture:
        """What the exact score is the score of."""
        return Mixture.of(self.data, self.device, self.params.mistakes.smoothing)

    def _exact_score(self, x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.double()
        score = self.mixture.score(x, torch.ones_like(sigma), sigma)
        return self.params.mistakes.of(score, like(1 / sigma, x))

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {"annealed_langevin": annealed_langevin, "langevin": langevin}

    def score_fn(self, network: nn.Module) -> LevelScore:
        r"""Returns :math:`\nabla \log p_\sigma(x)` of a network, a function of x (B, C, H, W) and
        sigma (B,).
        """
        params = self.params
        if params.exact:
            return network
        if params.backbone == "refinenet" and params.refinenet.conditional:
            return lambda x, sigma: network(2 * x - 1, self.index(sigma))
        if params.backbone == "refinenet":
            return lambda x, sigma: network(2 * x - 1) / like(sigma, x)
        told = torch.log if params.any_level else lambda sigma: self.index(sigma).to(sigma)
        return lambda x, sigma: network(2 * x - 1, told(sigma)) / like(sigma, x)

    def index(self, sigma: Tensor) -> Tensor:
        """Returns which level is nearest to sigma, by ratio: int64 of sigma's shape, 0 the
        largest.
        """
        first, last = math.log(self.sigmas[0]), math.log(self.sigmas[-1])
        place = (first - sigma.double().log()) / (first - last) * (len(self.sigmas) - 1)
        return place.round().long().clamp(0, len(self.sigmas) - 1)

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image at one random noise level, shape (B,)."""
        with dropout_from(noise, x0.device):
            return self._loss(self.network, x0, noise)

    def _loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        x0 = self.bins.fill(x0, noise)
        level = noise.integers(x0.shape[:1], len(self.sigmas))
        return self._loss_at(network, x0, self.sigmas.to(x0)[level], noise)

    def _loss_at(self, network: nn.Module, x0: Tensor, sigma: Tensor, noise: Noise) -> Tensor:
        """Returns the loss of each image at its noise level, sigma of shape (B,)."""
        params, score_fn = self.params, self.score_fn(network)
        z = noise.normal(x0.shape)
        weights = (params.anneal_power, params.reduction)
        if params.objective == "denoising":
            return annealed_loss(lambda x: score_fn(x, sigma), x0, sigma, z, *weights)
        directions = noise.normal((params.particles, *x0.shape))
        return sliced_loss(
            lambda x: score_fn(x, sigma), x0 + like(sigma, x0) * z, sigma, directions, *weights
        )

    def train(self, data: Images, run: Run) -> None:
        if self.params.sigma_begin == "data":
            self.sigmas = self._levels(
                largest_distance(torch.from_numpy(data.train).to(run.device)) / data.span
            )
        if self.params.exact:
            return
        self._initialise(run.noise("init"))
        fit(self.network, self.average, self._loss, data, self.params.training, run)

    @torch.no_grad()
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        knobs = asdict(sampler.params)
        x = self._start(knobs.pop("start"), count, noise.child("prior"))
        score_fn, steps = self.score_fn(self.average), noise.child("steps")
        if sampler.name == "langevin":
            sigma = knobs.pop("sigma")
            return self.bins.leave(
                langevin(score_fn, x, sigma or self.sigmas[-1].item(), steps, **knobs)
            )
        known = self._known(given) if given is not None else None
        return self.bins.leave(self._anneal(sampler.params, x, steps, known))

    def _anneal(
        self, chosen: Annealed, x: Tensor, noise: Noise | Arc, known: Known | None = None
    ) -> Tensor:
        sigmas = self._sampled(chosen.levels)
        step_lr = chosen.step_lr
        return annealed_langevin(
            self.score_fn(self.average),
            x,
            sigmas,
            noise,
            steps_each=chosen.steps_each,
            step_lr=step_size(sigmas, chosen.steps_each) if step_lr == "technique" else step_lr,
            convention=chosen.convention,
            denoise=chosen.denoise,
            returned=chosen.returned,
            known=known,
            conditioning=chosen.conditioning,
        )

    def _start(self, name: str, count: int, noise: Noise) -> Tensor:
        shape = (count, *self.image_shape)
        return (
            noise.uniform(shape)
            if name == "uniform"
            else 0.5 + self.sigmas[0].item() * noise.normal(shape)
        )

    def _sampled(self, count: int) -> Tensor:
        """Returns the levels that a chain of ``count`` of them goes through, float64, shape
        (count,).

        Raises:
            ValueError: The network knows fewer levels.
        """
        most = len(self.sigmas)
        if self.params.any_level:
            return (
                self.sigmas if count == most else geometric(self.sigmas[0], self.sigmas[-1], count)
            )
        if count > most:
            raise ValueError(
                f"the network knows its {most} noise levels alone, and levels asks for {count}"
            )
        return self.sigmas[torch.linspace(0, most - 1, count, dtype=torch.float64).round().long()]

    def _known(self, given: Condition) -> Known:
        """Returns which pixels are known, on the scale that the model was trained on."""
        return Known(self.bins.enter(given.images.to(self.device)), given.known)

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss at ten levels or fewer; images that are noised and denoised, and rows of
        samples.
        """
        params, most = self.params, len(self.sigmas)
        x0 = self.bins.fill(images.to(self.device), noise)
        index = torch.linspace(most - 1, 0, min(INSPECTED, most)).round().long()
        sigmas = self.sigmas[index]
        losses = level_losses(
            lambda sigma: self._loss_at(
                self.average, x0, self._all(x0, sigma), noise.child("loss")
            ),
            sigmas,
        )
        strips = {}
        if math.prod(self.image_shape[1:]) > 1:  # of points there is nothing to see
            span = f"{sigmas[0]:.2g} to {sigmas[-1]:.2g}"
            strips[f"noise of standard deviation {span}, and below it denoised"] = self._denoised(
                x0[:SHOWN], sigmas, noise.child("denoised")
            )
            strips["samples whose noise goes over from one to another"] = self._arcs(
                noise.child("arcs")
            )
        levels = torch.arange(1, most + 1, dtype=torch.float64)
        return Inspection(
            times=1 - index.double() / (most - 1),
            noise_levels=sigmas,
            losses=losses,
            weighting=f"{params.objective}, sigma^{params.anneal_power:g}, {params.reduction}",
            strips=strips,
            curves={"noise levels": Curve(levels, self.sigmas, "level i", "sigma_i")},
        )

    def _denoised(self, x0: Tensor, sigmas: Tensor, noise: Noise) -> Tensor:
        """Returns a row of noisy images, a level a column, and a row of their clean means, for each
        image.
        """
        score_fn, z, columns = self.score_fn(self.average), noise.normal(x0.shape), []
        for sigma in sigmas.tolist():
            noisy = x0 + sigma * z
            clean = noisy + sigma**2 * score_fn(noisy, self._all(x0, sigma))
            columns.append(
                torch.stack([self.bins.leave(noisy), self.bins.leave(clean)], dim=1).flatten(0, 1)
            )
        return torch.stack(columns, dim=1).cpu()

    def _arcs(self, noise: Noise) -> Tensor:
        """Returns rows of samples that start from one x, and whose noise goes over from one end to
        the other.
        """
        levels = ARC_BUDGET if self.params.any_level else min(len(self.sigmas), ARC_BUDGET)
        steps_each = ARC_BUDGET // levels
        step_lr = "technique" if steps_each > 1 else self.params.sigma_end**2
        chosen = Annealed(levels=levels, steps_each=steps_each, step_lr=step_lr)
        x = self._start(chosen.start, SHOWN, noise.child("prior")).repeat_interleave(ARC, dim=0)
        images = self.bins.leave(self._anneal(chosen, x, Arc(noise.child("steps"), ARC)))
        return images.view(SHOWN, ARC, *self.image_shape).cpu()

    @staticmethod
    def _all(x: Tensor, sigma: float | Tensor) -> Tensor:
        """Returns sigma for each image of x, shape (B,)."""
        return torch.full((len(x),), float(sigma), dtype=x.dtype, device=x.device)

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema.") and the noise levels that training fitted."""
        state = weights_of(self.network, self.average)
        return state | {"fitted.sigmas": self.sigmas.clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_weights(self.network, self.average, state)
        self.sigmas = state["fitted.sigmas"].cpu()

    def import_checkpoint(self, path: Path, weights: str) -> dict[str, Any]:
        """Takes over the authors' weights; see :func:`methods.ncsn.checkpoint.read_checkpoint`."""
        if self.params.exact:
            raise CheckpointError(
                f"{path}: exact stands for a network's weights: leave one of them out"
            )
        if self.params.backbone != "refinenet":
            raise CheckpointError(
                f"{path}: published checkpoints are of the papers' own network: backbone refinenet"
            )
        if self.params.sigma_begin == "data" or self.params.levels == "overlap":
            raise CheckpointError(
                f"{path}: was trained with levels of its own: give params.sigma_begin and levels"
            )
        found = read_checkpoint(path, self.network, weights, self.sigmas)
        self.network.load_state_dict(found.raw)
        self.average.load_state_dict(found.chosen)
        return found.facts

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        """Makes the average that is sampled from anew (:mod:`methods.shared.average`)."""
        return average_of(self.average, width, kept)
