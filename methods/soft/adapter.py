r"""Soft score matching: generative models that undo any linear corruption.

An image is blurred, masked or faded while noise is added, :math:`x_t = C_t x_0 + s_t z`. A network
learns to predict the clean image from the corrupted one, judged by what the corruption leaves of
its errors; samplers then take the corruption back, a little at a time. Variance-exploding and
variance-preserving diffusion and the straight path of flow matching are corruptions too, and share
everything here.

All lives on images in [-1, 1]. The network predicts the residual, clean less corrupted, at all
times at once. It is told the time and not the noise, which stands still for most of a blur: 999 t
for sinusoids, and 8 t - 4 where a network is made for the logarithm of a noise level, which spans
about as much.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442.
Departures: the loss is the mean over dimensions; ``parametrisation`` scaled_residual and
``null_reg`` are ours, as are the start distribution (:mod:`methods.shared.prior`), the masks, and
how the levels of a blur are found (:mod:`methods.soft.levels`); likelihoods are those of the flow,
of images with the noise at t = eps.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Curve, Inspection, Method, Noise, Run, Sampler, Scored
from methods.shared.average import average_of
from methods.shared.backbone import make_network
from methods.shared.exact import ExactNetwork, Mixture
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.layers import initialise
from methods.shared.likelihood import (
    bits_per_dim,
    continuous,
    dequantisation_floor,
    measure,
    over_draws,
)
from methods.shared.objective import level_losses
from methods.shared.prior import (
    Basis,
    Chunks,
    Fitted,
    Prior,
    fit_prior,
    restore_prior,
    training_images,
)
from methods.shared.process import like
from methods.shared.quantisation import Bins
from methods.shared.training import dropout_from, fit, load_weights, under, weights_of
from methods.soft.card import CARD, Params
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.denoiser import Denoiser, residual
from methods.soft.flow import churn, flow_adaptive, flow_euler, flow_heun
from methods.soft.levels import candidates, choose
from methods.soft.likelihood import log_likelihood
from methods.soft.objective import soft_loss
from methods.soft.operator import Blur, Diagonal, Scaling
from methods.soft.samplers import ancestral, ddim, momentum, naive
from methods.soft.schedule import Linear

NODES = 129
"""Times at which the size of the residual is measured; between them it is linear."""

SHOWN = 4
"""Images in a strip."""

REVERSE_STEPS = 50
"""Steps of the run of momentum that a strip shows."""


class SoftDiffusion(Method):
    """Creates the method with weights of its own, as before any training."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.bins = Bins(self.levels, params.dequantise)
        channels, height, width = data.shape
        if params.exact:
            self.data = data
            self.network = self.average = ExactNetwork(self._exact_residual)
            self.mixture: Mixture | None = None  # made when it is first asked for
        else:
            self.network = make_network(params.network, channels, channels, height)
            self.network.to(device=self.device, memory_format=torch.channels_last)
            initialise(self.network, Noise(0, ("init",)))
            self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        # Until training fits them: a straight line of levels, noise alone to start from, residuals
        # of size 1.
        blur = params.corruption.blur
        self.blur_levels = torch.linspace(
            blur.least, blur.most, params.selection.levels, dtype=torch.float64
        )
        self.hops = torch.zeros(params.selection.levels - 1, dtype=torch.float64)
        self._make_corruption()
        pixels = params.corruption.kind in ("mask", "blur_mask")
        self.basis = (Basis.pixels if pixels else Basis.cosines)(height, width, self.device)
        self.prior: Prior = Fitted.noise(self._last_std, self.basis, data.shape)
        self.residual_size = torch.ones(NODES, device=self.device)

    def _make_corruption(self) -> None:
        levels = self.blur_levels.tolist() if self.params.selects else None
        self.corruption: Corruption = make_corruption(
            self.params.corruption, self.image_shape, levels
        )

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {
            "momentum": momentum,
            "naive": naive,
            "ancestral": ancestral,
            "ddim": ddim,
            "churn": churn,
            "flow_euler": flow_euler,
            "flow_heun": flow_heun,
            "flow_adaptive": flow_adaptive,
        }

    @property
    def _last_std(self) -> float:
        return self.corruption.std(torch.ones((), dtype=torch.float64)).item()

    def denoiser(self, network: nn.Module) -> Denoiser:
        """Returns the prediction of the clean image, a function of x (B, C, H, W) and t (B,)."""
        if self.params.exact:
            return residual(network)
        logarithmic = self.params.network.condition == "log"
        scaled = self.params.parametrisation == "scaled_residual"

        def predict(x: Tensor, t: Tensor) -> Tensor:
            t = t.to(x.dtype)
            output = network(x, 8 * t - 4 if logarithmic else 999 * t)
            return like(self._residual_size(t), x) * output if scaled else output

        return residual(predict)

    def _residual_size(self, t: Tensor) -> Tensor:
        """Returns the root mean square of clean less corrupted images at t, (B,), as training found
        it.
        """
        place = t * (NODES - 1)
        below = place.long().clamp(max=NODES - 2)
        table = self.residual_size.to(t)
        return table[below] + (place - below) * (table[below + 1] - table[below])

    def _exact_residual(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns the mean clean image given x at t (B,), of the mixture's, less x."""
        operator = self.corruption.operator
        assert isinstance(operator, Diagonal)
        if self.mixture is None:
            images = Mixture.of(self.data, self.device, self.params.mistakes.smoothing).affine(
                2.0, -1.0
            )
            shape = (-1, *self.image_shape)
            self.mixture = images.rotated(
                lambda rows: operator.to_basis(rows.view(shape)).flatten(1)
            )
        std = like(self.corruption.std(t.double()), x)
        clean = self.mixture.denoise(operator.to_basis(x).double(), operator.eigenvalues(t), std)
        return self.params.mistakes.of(operator.from_basis(clean).to(x.dtype) - x, std)

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image at one random time, shape (B,)."""
        with dropout_from(noise, x0.device):
            return self._loss(self.network, x0, noise)

    def _loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        x0 = self._enter(x0, noise)
        t_min = self.params.t_min
        t = t_min + (1 - t_min) * noise.uniform(x0.shape[:1])
        return self._loss_at(network, x0, t, noise.normal(x0.shape))

    def _loss_at(self, network: nn.Module, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        params = self.params
        denoiser = self.denoiser(network)
        return soft_loss(
            self.corruption, denoiser, x0, t, z, params.weighting, params.null_reg, params.reduction
        )

    def train(self, data: Images, run: Run) -> None:
        chunks = partial(training_images, data, self._enter, run)
        with torch.no_grad():
            if self.params.selects:
                self._select_levels(chunks)
            self._fit_prior(chunks)
            if self.params.parametrisation == "scaled_residual":
                self.residual_size = self._measure_residuals(chunks)
        if self.params.exact:
            run.announce(0)
            return
        initialise(self.network, run.noise("init"))
        fit(self.network, self.average, self._loss, data, self.params.training, run)

    def _select_levels(self, chunks: Chunks) -> None:
        """Finds the levels of the blur by shortest path between the distributions of blurred
        images.
        """
        settings, selection, (_, _, width) = (
            self.params.corruption.blur,
            self.params.selection,
            self.image_shape,
        )
        strengths = candidates(width * settings.least, width * settings.most, selection.candidates)
        blur = Blur(self.image_shape, Linear(0.0, width * settings.most), settings.half_width)
        factors = blur.eigenvalues(strengths.to(self.device) / strengths[-1].item())
        factors = factors.expand(-1, *self.image_shape).flatten(1)

        def coefficients() -> Iterator[Tensor]:
            return (blur.to_basis(x0).flatten(1) for x0 in chunks())

        found = choose(
            coefficients, strengths, factors, self._last_std, selection.levels, selection.covariance
        )
        self.blur_levels, self.hops = found.levels / width, found.hops
        self._make_corruption()

    def _fit_prior(self, chunks: Chunks) -> None:
        """Fits the start distribution to corrupted training images."""
        settings, last = self.params.prior, torch.ones((), dtype=torch.float64, device=self.device)
        self.prior = fit_prior(
            settings.kind,
            lambda: (self.corruption.apply(x0.double(), last) for x0 in chunks()),
            self._last_std,
            self.basis,
            modes=settings.modes,
            components=settings.components,
            points=settings.images,
        )

    def _measure_residuals(self, chunks: Chunks) -> Tensor:
        """Returns the root mean square of clean less corrupted images at :data:`NODES` times,
        float32.
        """
        times = torch.linspace(0, 1, NODES, dtype=torch.float64, device=self.device)
        squares, count = torch.zeros_like(times), 0
        for x0 in chunks():
            lost = [(x0 - self.corruption.apply(x0, t)).double().square().sum() for t in times]
            squares, count = squares + torch.stack(lost), count + x0.numel()
        return (squares / count + self.corruption.std(times).square()).sqrt().float()

    @torch.no_grad()
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        x = self.prior.sample(count, noise.child("prior"))
        denoiser, knobs = self.denoiser(self.average), asdict(sampler.params)
        t_min = knobs.pop("t_min")
        if sampler.name == "flow_adaptive":
            x = flow_adaptive(self.corruption, denoiser, x, t_end=t_min, **knobs)
        else:
            times = grid(sampler.times, knobs.pop("steps"), t_min)
            if knobs.get("kinks") == "meet" and len(times) - 2 < len(self.corruption.kinks):
                knobs["kinks"] = (
                    "cross"  # some kinks would draw all times to themselves, and leave gaps elsewhere
                )
            x = self.samplers[sampler.name](
                self.corruption, denoiser, x, times, noise.child("steps"), **knobs
            )
        return self._leave(x)

    def score(self, images: Tensor, noise: Noise, params: LikelihoodParams) -> Scored:
        """Returns ``bits_per_dim`` of the dequantised images along the flow, one value an image.

        Raises:
            ValueError: The corruption switches at once, so that there is no flow.
        """
        knobs = asdict(params)
        knobs.pop("repeats")
        dims = math.prod(self.image_shape)
        denoiser, bits = self.denoiser(self.average), []
        for k in range(params.repeats):
            x = (
                2
                * continuous(
                    images.to(self.device), self.levels, noise.child("dequantise").child(k)
                )
                - 1
            )
            probe = noise.child("probe").child(k)
            log_prob, _ = log_likelihood(
                self.corruption, denoiser, self.prior.log_prob, x, probe, **knobs
            )
            bits.append(bits_per_dim(log_prob, dims, self.levels, 2))
        std = self.corruption.std(torch.tensor(params.eps, dtype=torch.float64)).item()
        usual = {
            "probe_drift": False,
            "error_norm": "batch",
        }  # named in the identity where they are not as usual
        identity = {
            name: value for name, value in asdict(params).items() if usual.get(name, ...) != value
        } | {
            "solver": {"scipy": "RK45", "device": "RK45 on the device"}[params.solver],
            **measure(self.levels, 2),
            "floor": dequantisation_floor(std * self.levels / 2),
            "prior": self.params.prior.kind,
        }
        return Scored(over_draws(bits), identity)

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss at ten times, a held-out image on its way into the corruption, and
        samples on theirs out.
        """
        x0 = self._enter(images.to(self.device), noise)
        z = noise.normal(x0.shape)
        times = torch.arange(1, 11, dtype=torch.float64) / 10

        def loss_at(t: Tensor) -> Tensor:
            return self._loss_at(self.average, x0, t.expand(len(x0)), z)

        return Inspection(
            times,
            self._noise_levels(times),
            level_losses(loss_at, times.to(x0)),
            f"{self.params.corruption.kind}, {self.params.weighting}, {self.params.reduction}",
            {
                "corruption path": self._corruption_path(x0, z),
                "reverse path": self._reverse_path(noise),
            },
            self._curves(),
        )

    def _noise_levels(self, times: Tensor) -> Tensor:
        """Returns the noise over the factor of the image, NaN where that is not one number or 0."""
        if not isinstance(self.corruption.operator, Scaling):
            return torch.full_like(times, math.nan)
        levels = self.corruption.std(times) / self.corruption.operator.eigenvalues(times).flatten()
        return torch.where(levels.isfinite(), levels, math.nan)

    def _corruption_path(self, x0: Tensor, z: Tensor) -> Tensor:
        columns = []
        for t in torch.linspace(0, 1, 10, dtype=torch.float64, device=x0.device):
            mean, std = self.corruption.perturb(x0[:SHOWN], t)
            columns.append(mean + std.to(x0) * z[:SHOWN])
        return (torch.stack(columns, dim=1) + 1) / 2

    def _reverse_path(self, noise: Noise) -> Tensor:
        """Returns the states of one run of momentum at ten times of its own grid, from noise to
        images.
        """
        times = grid("uniform", REVERSE_STEPS, 0.0)
        x = self.prior.sample(SHOWN, noise.child("prior"))
        steps, denoiser, stops = (
            noise.child("steps"),
            self.denoiser(self.average),
            torch.linspace(0, REVERSE_STEPS, 10),
        )
        columns = [x]
        for start, end in itertools.pairwise(stops.long().tolist()):
            part = times[start : end + 1]
            x = momentum(self.corruption, denoiser, x, part, steps, last_noise=end < REVERSE_STEPS)
            columns.append(x)
        return (torch.stack(columns, dim=1) + 1) / 2

    def _curves(self) -> dict[str, Curve]:
        if not self.params.selects:
            return {}
        pixels = self.image_shape[2] * self.blur_levels
        nodes = torch.linspace(0, 1, len(pixels), dtype=torch.float64)
        middle = (nodes[1:] + nodes[:-1]) / 2
        return {
            "levels of blur": Curve(nodes, pixels, "t", "standard deviation of the blur (pixels)"),
            "change between levels of blur": Curve(
                middle, self.hops, "t", "2-Wasserstein distance"
            ),
        }

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema."), and what training fitted: prior, levels of blur, size
        of the residual.
        """
        state = weights_of(self.network, self.average)
        state |= {f"fitted.prior.{name}": tensor for name, tensor in self.prior.tensors().items()}
        fitted = {
            "levels": self.blur_levels,
            "hops": self.hops,
            "residual_size": self.residual_size,
        }
        return state | {f"fitted.{name}": tensor for name, tensor in fitted.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_weights(self.network, self.average, state)
        self.prior = restore_prior(under("fitted.prior.", state), self.basis, self.image_shape)
        self.blur_levels, self.hops = state["fitted.levels"].cpu(), state["fitted.hops"].cpu()
        self.residual_size = state["fitted.residual_size"].to(self.device)
        self._make_corruption()

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        """Makes the average that is sampled from anew (:mod:`methods.shared.average`)."""
        return average_of(self.average, width, kept)

    def _enter(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns images in [0, 1] in [-1, 1], with uniform noise of one level where the parameters
        ask for it.
        """
        return 2 * self.bins.fill(x, noise) - 1

    def _leave(self, x: Tensor) -> Tensor:
        """Returns images in [-1, 1] in that of levels a / (levels - 1), from 0 to 1."""
        return self.bins.leave((x + 1) / 2)


def grid(name: str, steps: int, t_min: float) -> Tensor:
    """Returns the times from 1 to ``t_min``, "uniform" or "quadratic", float64, shape (steps +
    1,).
    """
    fractions = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return t_min + (1 - t_min) * (fractions.square() if name == "quadratic" else fractions)
