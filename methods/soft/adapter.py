r"""Soft score matching: generative models that undo any linear corruption.

An image is blurred, masked or faded while noise is added, :math:`x_t = C_t x_0 + s_t z`. A network
learns to predict the clean image from the corrupted one, judged by what the corruption leaves of
its errors; samplers then take the corruption back, a little at a time. Variance-exploding and
variance-preserving diffusion and the straight path of flow matching are corruptions too, and share
everything here.

All lives on images in [-1, 1]. The network predicts the residual, clean less corrupted, at all
times at once. Its time embedding input is the time, not the noise, which stands still for most
of a blur: 999 t for sinusoids, and 8 t - 4 for a network made for the logarithm of a noise level,
which spans about as much.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442.
Departures: the loss is the mean over dimensions; ``parametrisation`` scaled_residual and
``null_reg`` are ours, as are the start distribution (:mod:`methods.shared.prior`), the masks, and
how the levels of a blur are found (:mod:`methods.soft.levels`); likelihoods are those of the flow,
of images with the noise at t = eps.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Curve, Noise, Run, Sampler
from methods.shared.adapter import Adapter
from methods.shared.controllable import Hold
from methods.shared.exact import Mixture
from methods.shared.grids import grid
from methods.shared.prior import Basis, Chunks, Fitted, Prior, fit_prior, training_images
from methods.shared.process import like
from methods.soft.card import CARD, Params
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.denoiser import Denoiser, residual
from methods.soft.levels import candidates, choose
from methods.soft.likelihood import log_likelihood
from methods.soft.objective import soft_loss
from methods.soft.operator import Blur, Diagonal, Scaling
from methods.soft.samplers import momentum
from methods.soft.sampling import Euler, Until
from methods.soft.schedule import Linear

NODES = 129
"""Times at which the size of the residual is measured; between them it is linear."""

SHOWN = 4
"""Images in a strip."""

REVERSE_STEPS = 50
"""Steps of the run of momentum that a strip shows."""


class SoftDiffusion(Adapter):
    """Creates the method with weights of its own, as before any training."""

    card = CARD
    handled = (*Adapter.handled, Until)
    params: Params
    prior: Prior

    def reset(self) -> None:
        # Until training fits them: a straight line of levels, noise alone to start from, residuals
        # of size 1.
        blur, count = self.params.corruption.blur, self.params.selection.levels
        self.blur_levels = torch.linspace(blur.least, blur.most, count, dtype=torch.float64)
        self.hops = torch.zeros(count - 1, dtype=torch.float64)
        self._make_corruption()
        self.prior = Fitted.noise(self._last_std, self.basis, self.image_shape)
        self.residual_size = torch.ones(NODES, device=self.device)

    def _make_corruption(self) -> None:
        levels = self.blur_levels.tolist() if self.params.selects else None
        self.corruption = make_corruption(self.params.corruption, self.image_shape, levels)

    @property
    def basis(self) -> Basis:
        pixels = self.params.corruption.kind in ("mask", "blur_mask")
        make = Basis.pixels if pixels else Basis.cosines
        return make(*self.image_shape[1:], self.device)

    @property
    def dynamics(self) -> Corruption:
        return self.corruption

    @property
    def _last_std(self) -> float:
        return self.corruption.std(torch.ones((), dtype=torch.float64)).item()

    # Denoiser.

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
        """Returns the root mean square of clean less corrupted images at t, (B,), as fitted."""
        place = t * (NODES - 1)
        below = place.long().clamp(max=NODES - 2)
        table = self.residual_size.to(t)
        return table[below] + (place - below) * (table[below + 1] - table[below])

    def field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns the mean clean image at times, less x."""
        return self.denoiser(self.average)(x, level) - x

    def data_mixture(self) -> Mixture:
        operator, shape = self.corruption.operator, (-1, *self.image_shape)
        assert isinstance(operator, Diagonal)
        images = super().data_mixture()
        return images.rotated(lambda rows: operator.to_basis(rows.view(shape)).flatten(1))

    def exact_output(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns the mean clean image given x at t (B,), of the mixture's, less x."""
        operator = self.corruption.operator
        assert isinstance(operator, Diagonal)
        std = like(self.corruption.std(t.double()), x)
        clean = self.mixture.denoise(operator.to_basis(x).double(), operator.eigenvalues(t), std)
        return self.params.mistakes.of(operator.from_basis(clean).to(x.dtype) - x, std)

    # Training.

    def network_loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        x0, t_min = self.fill(x0, noise), self.params.t_min
        t = t_min + (1 - t_min) * noise.uniform(x0.shape[:1])
        return self.loss_at(network, x0, t, noise.normal(x0.shape))

    def loss_at(self, network: nn.Module, x0: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        """Returns the loss of images in [-1, 1] at times, both (B,), with equal noise."""
        params, denoiser = self.params, self.denoiser(network)
        how = (params.weighting, params.null_reg, params.reduction)
        return soft_loss(self.corruption, denoiser, x0, level, draws, *how)

    def train(self, data: Images, run: Run) -> None:
        super().train(data, run)
        if self.params.exact:
            run.announce(0)

    @torch.no_grad()
    def fit_start(self, data: Images, run: Run) -> None:
        """Fits the levels of the blur, where sampling starts, and the size of the residual."""
        chunks = partial(training_images, data, self.fill, run)
        if self.params.selects:
            self._select_levels(chunks)
        self._fit_prior(chunks)
        if self.params.parametrisation == "scaled_residual":
            self.residual_size = self._measure_residuals(chunks)

    def _select_levels(self, chunks: Chunks) -> None:
        """Finds the levels of the blur by shortest path between distributions of blurred images."""
        settings, selection = self.params.corruption.blur, self.params.selection
        width = self.image_shape[2]
        strengths = candidates(width * settings.least, width * settings.most, selection.candidates)
        blur = Blur(self.image_shape, Linear(0.0, width * settings.most), settings.half_width)
        factors = blur.eigenvalues(strengths.to(self.device) / strengths[-1].item())
        factors = factors.expand(-1, *self.image_shape).flatten(1)

        def coefficients() -> Iterator[Tensor]:
            return (blur.to_basis(x0).flatten(1) for x0 in chunks())

        how = (selection.levels, selection.covariance)
        found = choose(coefficients, strengths, factors, self._last_std, *how)
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
        """Returns the root mean square of clean less corrupted images at :data:`NODES` times."""
        times = torch.linspace(0, 1, NODES, dtype=torch.float64, device=self.device)
        squares, count = torch.zeros_like(times), 0
        for x0 in chunks():
            lost = [(x0 - self.corruption.apply(x0, t)).double().square().sum() for t in times]
            squares, count = squares + torch.stack(lost), count + x0.numel()
        return (squares / count + self.corruption.std(times).square()).sqrt().float()

    # Samples and likelihood.

    def model_fn(self, params: Any, given: Condition | None) -> Denoiser:
        return self.denoiser(self.average)

    def grid(self, sampler: Sampler, given: Condition | None) -> tuple[Tensor, dict[str, Any]]:
        steps, t_min = sampler.params.steps, sampler.params.t_min
        times = time_grid(sampler.times, self.corruption, steps, t_min)
        # If not all kinks find a time, those that do would leave gaps elsewhere.
        crowded = len(times) - 2 < len(self.corruption.kinks)
        meets = isinstance(sampler.params, Euler) and sampler.params.kinks == "meet"
        return times, {"kinks": "cross"} if meets and crowded else {}

    def hold(self, given: Condition | None) -> Hold | None:
        """Returns what puts given coordinates into x, corrupted as they are in images."""
        if (known := self.known(given)) is None:
            return None

        def hold(x: Tensor, t: float, noise: Noise) -> Tensor:
            at = torch.full((len(x),), t, dtype=torch.float64, device=x.device)
            mean, std = self.corruption.perturb(known.value, at)
            return known.replace(x, mean + std.to(x) * noise.normal(x.shape))

        return hold

    def log_prob(self, x: Tensor, noise: Noise, options: Mapping[str, Any]) -> Tensor:
        """Returns the log-density of images along the flow.

        Raises:
            ValueError: The corruption switches at once, so that there is no flow.
        """
        denoiser, end = self.denoiser(self.average), self.prior.log_prob
        return log_likelihood(self.corruption, denoiser, end, x, noise, **options)[0]

    def noise_at(self, t: float) -> float:
        return self.corruption.std(torch.tensor(t, dtype=torch.float64)).item()

    # Inspection and state.

    def noise_level(self, t: Tensor) -> Tensor:
        """Returns noise over the image's factor, NaN if that is not one number; shape (L,)."""
        if not isinstance(self.corruption.operator, Scaling):
            return torch.full_like(t, math.nan)
        return self.corruption.std(t) / self.corruption.operator.eigenvalues(t).flatten()

    @property
    def weighting(self) -> str:
        params = self.params
        return f"{params.corruption.kind}, {params.weighting}, {params.reduction}"

    def strips(self, x0: Tensor, draws: Tensor, times: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Returns held-out images on their way into the corruption, and samples on theirs out."""
        forward, backward = self._corruption_path(x0, draws), self._reverse_path(noise)
        return {"corruption path": forward, "reverse path": backward}

    def _corruption_path(self, x0: Tensor, z: Tensor) -> Tensor:
        columns = []
        for t in torch.linspace(0, 1, 10, dtype=torch.float64, device=x0.device):
            mean, std = self.corruption.perturb(x0[:SHOWN], t)
            columns.append(mean + std.to(x0) * z[:SHOWN])
        return (torch.stack(columns, dim=1) + 1) / 2

    def _reverse_path(self, noise: Noise) -> Tensor:
        """Returns one run of momentum at ten times of its own grid, from noise to images."""
        times = time_grid("uniform", self.corruption, REVERSE_STEPS, 0.0)
        x, steps = self.prior.sample(SHOWN, noise.child("prior")), noise.child("steps")
        denoiser, stops = self.denoiser(self.average), torch.linspace(0, REVERSE_STEPS, 10)
        columns = [x]
        for start, end in itertools.pairwise(stops.long().tolist()):
            part = times[start : end + 1]
            x = momentum(self.corruption, denoiser, x, part, steps, last_noise=end < REVERSE_STEPS)
            columns.append(x)
        return (torch.stack(columns, dim=1) + 1) / 2

    def curves(self) -> dict[str, Curve]:
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

    def fitted(self) -> dict[str, Tensor]:
        tables = {"levels": self.blur_levels, "hops": self.hops}
        return {**tables, "residual_size": self.residual_size}

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        self.blur_levels, self.hops = tensors["levels"].cpu(), tensors["hops"].cpu()
        self.residual_size = tensors["residual_size"].to(self.device)
        self._make_corruption()


def time_grid(name: str, corruption: Corruption, steps: int, t_min: float) -> Tensor:
    """Returns times from 1 to ``t_min``, float64, shape (steps + 1,).

    Even ones are rounded as the kinks of tabulated schedules are: rounding decides on which side of
    a kink a time stands.
    """
    if name in ("log_snr", "rho7"):
        return grid(name, corruption, steps, t_min)
    fractions = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return t_min + (1 - t_min) * (fractions.square() if name == "quadratic" else fractions)
