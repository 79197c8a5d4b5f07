"""What adapters share: a network with an average of its weights, its training, and how samplers,
likelihoods and inspections are run.

A paper's adapter is a subclass with what is the paper's: the loss of a network, and what samplers
and likelihoods follow. The least is :meth:`Adapter.network_loss` with :attr:`Adapter.dynamics`,
:meth:`Adapter.start` and :meth:`Adapter.model_fn`, or :meth:`Method.sample` in place of the three.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Curve, Inspection, Method, Noise, Run, Sampler, Scored
from methods.shared import layers
from methods.shared.average import average_of
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.controllable import Hold, Known, hold_each
from methods.shared.exact import ExactNetwork, Mixture
from methods.shared.fields import field_strip
from methods.shared.grids import grid
from methods.shared.hyperparameters import FlowLikelihoodParams
from methods.shared.jacobian import jacobian_norms
from methods.shared.likelihood import (
    bits_per_dim,
    continuous,
    dequantisation_floor,
    measure,
    over_draws,
)
from methods.shared.objective import level_losses
from methods.shared.prior import Basis, Prior, restore_prior
from methods.shared.quantisation import Bins
from methods.shared.sampling import Adaptive, Ending, Steps, options_of
from methods.shared.training import SeenLabels, dropout_from, fit, load_weights, under, weights_of
from methods.shared.weights import Imported

FIELDS = 5
"""Noise levels at which the field of a network of points is shown."""
LEAST_TIME = 0.003
"""The first of the times at which networks of points are shown: fine structure lives near t = 0."""


def finer(times: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns twenty times from :data:`LEAST_TIME` to 1, at equal ratios, as times and as levels;
    what is given, if levels are no times.
    """
    if not torch.allclose(levels.double().cpu(), times.double().cpu(), atol=1e-6):
        return times, levels
    fine = torch.logspace(math.log10(LEAST_TIME), 0, 20, dtype=torch.float64)
    return fine, fine.to(levels)


class Adapter(Method):
    """Creates the method with weights of its own, as before any training.

    Attributes:
        network: What is trained; an exact score if the parameters say so.
        average: The average of its weights, which is sampled from.
        process: The diffusion, if there is one.
        prior: Where sampling starts, if it is fitted; None is the process's own, or normal.
        handled: Parameters of samplers that the adapter acts on; the others go to their functions.
        likelihood_stream: The stream of a likelihood's draws.
    """

    handled: ClassVar[tuple[type, ...]] = (Ending, Steps)
    likelihood_stream: ClassVar[str] = "probe"
    process: Any = None
    network: nn.Module
    average: nn.Module

    def __init__(self, params: Any, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.data = data
        self.bins = Bins(self.levels, params.dequantise)
        self.prior: Prior | None = None
        self.reset()
        if params.exact:
            self.network = self.average = ExactNetwork(self.exact_output)
            return
        self.network = self.make_network()
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self.initialise(Noise(0, ("init",)))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)

    def reset(self) -> None:
        """Gives what training fits the values that it has before, and makes the process."""

    # Images.

    @property
    def width(self) -> int:
        """Width of the range in which the diffusion lives: 1 for [0, 1], 2 for [-1, 1]."""
        return 2

    def enter(self, x: Tensor) -> Tensor:
        """Returns images in [0, 1] in the range of the diffusion."""
        return x if self.width == 1 else 2 * x - 1

    def fill(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns images in [0, 1] as the loss sees them: in the diffusion's range, dequantised."""
        return self.enter(self.bins.fill(x, noise))

    def leave(self, x: Tensor) -> Tensor:
        """Returns images in the diffusion's range on the scale of levels a / (levels - 1)."""
        return self.bins.leave(x if self.width == 1 else (x + 1) / 2)

    # Network and training.

    def make_network(self) -> nn.Module:
        """Returns the network, its weights not drawn yet."""
        channels, height, _ = self.image_shape
        return make_network(self.params.network, channels, channels, height)

    def initialise(self, noise: Noise) -> None:
        """Draws the network's first weights."""
        layers.initialise(self.network, noise)

    def data_mixture(self) -> Mixture:
        """Returns the distribution of the data, in the range of the diffusion."""
        smoothing = self.params.mistakes.smoothing
        return Mixture.of(self.data, self.device, smoothing).affine(self.width, 1 - self.width)

    @cached_property
    def mixture(self) -> Mixture:
        """What the exact score is the score of."""
        return self.data_mixture()

    def exact_output(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns what an exact network gives at x, (B, C, H, W), and t, (B,)."""
        raise NotImplementedError(f"{self.card.title} has no exact score")

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,)

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image at one random noise level, shape (B,)."""
        with dropout_from(noise, x0.device):
            return self.network_loss(self.network, x0, noise)

    @abstractmethod
    def network_loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the loss of a network for each image in [0, 1], (B, C, H, W); shape (B,)."""

    def train(self, data: Images, run: Run) -> None:
        self.fit_start(data, run)
        if not self.params.exact:
            self.fit_network(data, run)

    def fit_network(self, data: Images, run: Run, seen_labels: SeenLabels = None) -> None:
        """Trains the network from new weights, or from the run's last checkpoint; ``seen_labels``
        is that of :func:`methods.shared.training.fit`.
        """
        self.initialise(run.noise("init"))
        settings = self.params.training
        fit(self.network, self.average, self.network_loss, data, settings, run, seen_labels)

    # Samples.

    @property
    def dynamics(self) -> Any:
        """What samplers take first: the process, or whatever their functions expect."""
        return self.process

    def start(self, count: int, noise: Noise) -> Tensor:
        """Returns the states of ``count`` images at t = 1."""
        if self.prior is not None:
            return self.prior.sample(count, noise)
        shape = (count, *self.image_shape)
        return noise.normal(shape) if self.process is None else self.process.prior(shape, noise)

    def model_fn(self, params: Any, given: Condition | None) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns what samplers evaluate (the score, or the clean image expected), of (x, t).

        Args:
            params: Of the sampler.
            given: The condition to sample under.
        """
        raise NotImplementedError

    def grid(self, sampler: Sampler, given: Condition | None) -> tuple[Tensor, dict[str, Any]]:
        """Returns a sampler's times, (steps + 1,), and keywords for its function beside its own."""
        t_min = sampler.params.t_min if isinstance(sampler.params, Ending) else None
        t_min = 0.0 if t_min is None and self.process is None else t_min
        return grid(sampler.times, self.process, sampler.params.steps, t_min), {}

    @torch.no_grad()
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        x = self.start(count, noise.child("prior"))
        x = self.run_sampler(sampler, x, noise.child("steps"), given)
        known = None if self.hold(given) is None else self.known(given)
        return self.leave(x if known is None else known.replace(x, known.value))

    def run_sampler(
        self, sampler: Sampler, x: Tensor, noise: Noise, given: Condition | None
    ) -> Tensor:
        """Returns x, a draw at t = 1, as the sampler's function leaves it, near t = 0."""
        function, chosen = self.card.samplers[sampler.name].load(), sampler.params
        options = options_of(chosen, *self.handled, width=self.width)
        model_fn = self.model_fn(chosen, given)
        if isinstance(sampler.params, Adaptive):
            return function(self.dynamics, model_fn, x, t_end=chosen.t_min, **options)
        times, more = self.grid(sampler, given)
        run, hold = partial(function, self.dynamics, model_fn), self.hold(given)
        if hold is not None:
            return hold_each(run, x, times, noise, hold, options | more)
        return run(x, times, noise, **options | more)

    def hold(self, given: Condition | None) -> Hold | None:
        """Returns what keeps states to given images, which the samples are given back at the end;
        None if samplers do all of that themselves.
        """
        return None

    def known(self, given: Condition | None) -> Known | None:
        """Returns the given coordinates of images, in the diffusion's range; None for none."""
        if given is None or given.images is None:
            return None
        images = self.enter(self.bins.enter(given.images.to(self.device)))
        return Known.grey(images) if given.known is None else Known(images, given.known)

    # Likelihood.

    def score(self, images: Tensor, noise: Noise, params: FlowLikelihoodParams) -> Scored:
        """Returns ``bits_per_dim`` of the dequantised images, one value per image."""
        if self.card.likelihood is None:
            return super().score(images, noise, params)
        dims, bits = math.prod(self.image_shape), []
        options = {name: value for name, value in asdict(params).items() if name != "repeats"}
        for k in range(params.repeats):
            filling = noise.child("dequantise").child(k)
            x = self.enter(continuous(images.to(self.device), self.levels, filling))
            log_prob = self.log_prob(x, noise.child(self.likelihood_stream).child(k), options)
            bits.append(bits_per_dim(log_prob, dims, self.levels, self.width))
        floor = dequantisation_floor(self.noise_at(params.eps) * self.levels / self.width)
        of_data = {**measure(self.levels, self.width), "floor": floor}
        return Scored(over_draws(bits), {**params.identity, **of_data, "prior": self.prior_name})

    @property
    def prior_name(self) -> str:
        """Says where sampling starts and the likelihood ends."""
        return self.params.prior.kind

    def log_prob(self, x: Tensor, noise: Noise, options: Mapping[str, Any]) -> Tensor:
        """Returns the log-density of images in the diffusion's range in nats, float64, (B,)."""
        raise NotImplementedError

    def noise_at(self, t: float) -> float:
        """Returns the noise level at a time at which a likelihood ends."""
        return self.noise_level(torch.tensor(t, dtype=torch.float64)).item()

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns the noise's standard deviation over the image's factor, of t's shape, or NaN."""
        return torch.full_like(t, math.nan) if self.process is None else self.process.noise_level(t)

    # Inspection.

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss of the averaged network at ten noise levels, and what else to show."""
        x0 = self.fill(images.to(self.device), noise)
        draws = self.draws(x0, noise)
        times, noise_levels, levels = self.inspected()

        def loss_at(level: Tensor) -> Tensor:
            return self.loss_at(self.average, x0, level.expand(len(x0)), draws)

        fine = finer(times, levels)
        strips = self.strips(x0, draws, times, noise) | self.field_strips(*fine)
        losses = level_losses(loss_at, levels)
        curves = self.curves() | self.jacobian(loss_at, *fine)
        return Inspection(times, noise_levels, losses, self.weighting, strips, curves)

    def field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns what the averaged network says of points, of which :meth:`exact_output` is the
        truth: vectors (B, 2, 1, 1) at x, of that shape, and levels (B,).
        """
        raise NotImplementedError(f"{self.card.title} has no field")

    def exact_field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns the same of the data themselves."""
        return self.exact_output(x, level)

    def field_strips(self, times: Tensor, levels: Tensor) -> dict[str, Tensor]:
        """Returns pictures of :meth:`field` and of the truth, for points in the plane alone."""
        if self.params.exact or tuple(self.image_shape) != (2, 1, 1):
            return {}
        chosen = torch.linspace(0, len(times) - 1, min(FIELDS, len(times))).round().long()
        first, last = times[chosen].aminmax()
        low = 1 - self.width
        fields = (self.field, self.exact_field)
        strip = field_strip(fields, levels[chosen.to(levels.device)], low, 1)
        return {f"learned (above) and exact field, t = {first:.2g} to {last:.2g}": strip.cpu()}

    def jacobian(
        self, loss_at: Callable[[Tensor], Tensor], times: Tensor, levels: Tensor
    ) -> dict[str, Curve]:
        """Returns the norm of the network's Jacobian along t, of networks of points alone.

        Args:
            loss_at: The loss of held-out images at a level, which calls the averaged network.
            times: Shape (L,).
            levels: What ``loss_at`` takes for each.
        """
        if self.params.exact or math.prod(self.image_shape[1:]) > 1:
            return {}
        norms = jacobian_norms(self.average, loss_at, levels)
        return {"Jacobian of the network": Curve(times, norms, "t", "mean Frobenius norm")}

    def draws(self, x0: Tensor, noise: Noise) -> Any:
        """Returns what :meth:`loss_at` needs of randomness, equal at every noise level."""
        return noise.normal(x0.shape)

    def inspected(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns times, their noise levels, and what :meth:`loss_at` takes for each, (L,)."""
        times = torch.arange(1, 11, dtype=torch.float64) / 10
        levels = self.noise_level(times)
        finite = torch.where(levels.isfinite(), levels, math.nan)
        return times, finite, times.to(self.device, torch.float32)

    def loss_at(self, network: nn.Module, x0: Tensor, level: Tensor, draws: Any) -> Tensor:
        """Returns the loss of images in the diffusion's range at noise levels, both (B,)."""
        raise NotImplementedError(f"{self.card.title} has no inspection")

    @property
    def weighting(self) -> str:
        """Says how the inspected loss is weighted over noise levels."""
        return ""

    def strips(self, x0: Tensor, draws: Any, times: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Returns images to show by title, (rows, columns, C, H, W): none."""
        return {}

    def curves(self) -> dict[str, Curve]:
        """Returns what training fitted, by title: nothing."""
        return {}

    # State.

    @property
    def basis(self) -> Basis:
        """Returns the basis of the fitted prior: cosines."""
        return Basis.cosines(*self.image_shape[1:], self.device)

    def fitted(self) -> dict[str, Tensor]:
        """Returns what training fitted beside weights and prior, by name."""
        return {}

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`fitted` returned."""

    def restore_prior(self, tensors: Mapping[str, Tensor]) -> Prior:
        """Returns the prior whose tensors these are."""
        return restore_prior(tensors, self.basis, self.image_shape)

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema.") and what training fitted ("fitted.")."""
        prior = {} if self.prior is None else self.prior.tensors()
        fitted = {f"prior.{name}": tensor for name, tensor in prior.items()} | self.fitted()
        state = weights_of(self.network, self.average)
        return state | {f"fitted.{name}": tensor for name, tensor in fitted.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_weights(self.network, self.average, state)
        prior = under("fitted.prior.", state)
        self.prior = self.restore_prior(prior) if prior else None
        self.load_fitted(under("fitted.", state))

    def import_checkpoint(self, path: Path, weights: str) -> dict[str, Any]:
        if self.params.exact:
            raise CheckpointError(
                f"{path}: exact stands for a network's weights: leave one of them out"
            )
        found = self.read_checkpoint(path, weights)
        self.network.load_state_dict(found.raw)
        self.average.load_state_dict(found.chosen)
        return found.facts

    def read_checkpoint(self, path: Path, weights: str) -> Imported:
        """Returns the weights at ``path``; see :meth:`Method.import_checkpoint`."""
        raise NotImplementedError(f"{self.card.title} imports no published checkpoints")

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        return average_of(self.average, width, kept)
