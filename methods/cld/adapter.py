r"""Score-based generative modelling with critically-damped Langevin diffusion (CLD).

An image x is coupled to a velocity v (:mod:`methods.cld.process`); noise meets v alone, and x
follows it smoothly. A network that sees both learns :math:`\nabla_v \log p_t(x, v)`, with

.. math:: \nabla_v \log p_t = -v / \Sigma_{vv}(t) - \ell(t)\, \text{network}(x, v, t)

in the mixed parametrisation, whose first term is the score once v has forgotten its image; the
network alone is left otherwise. :math:`\Sigma_{vv}` averages over the velocity at t = 0 whatever
the objective. Samples keep x and drop v.

Images live in [-1, 1]. Shapes: B images, C channels, H x W pixels; the network maps 2C channels, x
first, to C. Time: t = 0 is data, t = 1 is noise.

Source: Dockhorn et al., 2022, https://arxiv.org/abs/2112.07068 (sections 3 and 4, appendices B to
E).
Departures: the loss is the mean over dimensions, where the authors sum; the network's time
embedding input is the noise level at which image and velocity together show the clean image, the
authors' is t or log t (``condition``); sampling starts from states fitted to the training images
(:mod:`methods.cld.prior`), where the authors take their limit for long times ("published").
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Condition, Noise, Run, Sampler
from methods.cld.card import CARD, Params
from methods.cld.checkpoint import read_checkpoint
from methods.cld.likelihood import bound
from methods.cld.objective import VelocityScore, velocity_loss
from methods.cld.prior import StatePrior, fit_state_prior, last_factor
from methods.cld.process import CLD
from methods.cld.samplers import denoise
from methods.cld.sampling import StateEnding
from methods.shared.adapter import Adapter
from methods.shared.backbone import Network, make_network
from methods.shared.controllable import Hold
from methods.shared.prior import restore_prior, training_images
from methods.shared.process import like
from methods.shared.weights import Imported


class CriticallyDampedLangevin(Adapter):
    """Creates the method with weights of its own, as before any training."""

    card = CARD
    handled = (*Adapter.handled, StateEnding)
    likelihood_stream = "bound"
    params: Params

    def reset(self) -> None:
        params = self.params
        self.process = CLD(
            params.beta0, params.beta1, params.mass, params.gamma, params.numerical_eps
        )

    def make_network(self) -> nn.Module:
        channels, height, _ = self.image_shape
        return make_network(self.params.network, 2 * channels, channels, height)

    def exact_output(self, u: Tensor, t: Tensor) -> Tensor:
        gains, covariance = self.process.mean_coefficients(t), self.process.covariance(t)
        x, v = u.chunk(2, 1)
        score = self.mixture.joint_score(x, v, gains, covariance)[1]
        return self.params.mistakes.of(score, like(self.process.score_scale(t.double(), None), u))

    def score_fn(self, network: nn.Module) -> VelocityScore:
        r"""Returns :math:`\nabla_v \log p_t(x, v)` of a network, of u (B, 2C, H, W) and t (B,)."""
        params, process = self.params, self.process
        if params.exact:
            return network
        known = None if params.objective == "hsm" else 0.0

        def score(u: Tensor, t: Tensor) -> Tensor:
            scale = like(process.score_scale(t, known).to(u), u)
            learnt = -scale * network(u, self._condition(t).to(u))
            if params.parametrisation == "noise":
                return learnt
            return learnt - u.chunk(2, 1)[1] / like(process.covariance(t).vv.to(u), u)

        return score

    def field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns the score of the velocity, at rest."""
        return self.score_fn(self.average)(torch.cat([x, torch.zeros_like(x)], 1), level)

    def exact_field(self, x: Tensor, level: Tensor) -> Tensor:
        return self.exact_output(torch.cat([x, torch.zeros_like(x)], 1), level)

    def _condition(self, t: Tensor) -> Tensor:
        """Returns the network's time embedding input at times of shape (B,)."""
        if self.params.condition == "noise_level":
            indexed = self.params.network.condition == "index"
            return 999 * t if indexed else self.process.noise_level(t).log()
        # As the authors', rounded to the network's precision before the logarithm.
        return t.float().log() if self.params.condition == "log_time" else t

    # Training.

    def network_loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        t_min = self.params.t_min
        x0 = self.fill(x0, noise)
        v0 = self._first_velocity(x0, noise)
        t = t_min + (1 - t_min) * noise.uniform((len(x0),)).double()
        return self.loss_at(network, x0, t, (v0, self._state_noise(x0, noise)))

    def loss_at(
        self, network: nn.Module, x0: Tensor, level: Tensor, draws: tuple[Tensor | None, Tensor]
    ) -> Tensor:
        """Returns the loss of each image at its time, given velocities at t = 0 and noise."""
        (v0, z), how = draws, (self.params.weighting, self.params.reduction)
        return velocity_loss(self.process, self.score_fn(network), x0, level, z, v0, *how)

    def draws(self, x0: Tensor, noise: Noise) -> tuple[Tensor | None, Tensor]:
        """Returns velocities at t = 0, if the objective draws them, and noise of image and them."""
        return self._first_velocity(x0, noise), self._state_noise(x0, noise)

    def _first_velocity(self, x0: Tensor, noise: Noise) -> Tensor | None:
        if self.params.objective == "hsm":
            return None
        return math.sqrt(self.process.velocity_variance) * noise.normal(x0.shape)

    @staticmethod
    def _state_noise(x0: Tensor, noise: Noise) -> Tensor:
        return noise.normal((len(x0), 2 * x0.shape[1], *x0.shape[2:]))

    @torch.no_grad()
    def fit_start(self, data: Images, run: Run) -> None:
        """Fits where sampling starts to states of training images at t = 1, unless published."""
        settings = self.params.prior
        if settings.kind != "published":
            self.prior = fit_state_prior(
                self.process,
                settings,
                lambda: training_images(data, self.fill, run),
                self.basis,
            )

    # Samples and likelihood.

    def model_fn(self, params: Any, given: Condition | None) -> VelocityScore:
        return self.score_fn(self.average)

    def run_sampler(
        self, sampler: Sampler, x: Tensor, noise: Noise, given: Condition | None
    ) -> Tensor:
        """Returns images from states at t = 1, which have velocities."""
        params = sampler.params
        u = super().run_sampler(sampler, x, noise, given)
        t_min = self.process.t_min if params.t_min is None else params.t_min
        u = denoise(self.process, self.score_fn(self.average), u, t_min, params.denoise)
        return u.chunk(2, 1)[0]

    def hold(self, given: Condition | None) -> Hold | None:
        """Returns what puts given coordinates into x, and into v what the velocity of an image with
        these coordinates is.
        """
        if (known := self.known(given)) is None:
            return None

        def hold(u: Tensor, t: float, noise: Noise) -> Tensor:
            at = torch.full((len(u),), t, dtype=torch.float64, device=u.device)
            values = self.process.perturb(known.value, at, noise.normal(u.shape)).chunk(2, 1)
            halves = zip(u.chunk(2, 1), values, strict=True)
            return torch.cat([known.replace(half, value) for half, value in halves], 1)

        return hold

    def log_prob(self, x: Tensor, noise: Noise, options: Mapping[str, Any]) -> Tensor:
        """Returns a bound that is at most the log-density on average."""
        score_fn = self.score_fn(self.average)
        return bound(self.process, score_fn, x, noise, prior=self.prior, **options)

    def noise_at(self, t: float) -> float:
        return self.process.noise_level(torch.tensor(t)).item()

    # Inspection and state.

    def inspected(self) -> tuple[Tensor, Tensor, Tensor]:
        times = torch.arange(1, 11, dtype=torch.float64) / 10
        return times, self.noise_level(times), times.to(self.device)

    @property
    def weighting(self) -> str:
        return f"{self.params.objective}, {self.params.weighting}, {self.params.reduction}"

    def strips(self, x0: Tensor, draws: Any, times: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Returns an image and its velocity, in units of its spread at t = 1, at each time."""
        if 1 in x0.shape[2:]:
            return {}  # points are no pictures
        count = len(times)
        images, z = (rows[:1].expand(count, *rows.shape[1:]) for rows in (x0, draws[1]))
        x, v = self.process.perturb(images, times.to(x0.device), z).chunk(2, 1)
        v = v / math.sqrt(self.process.mass)
        return {"an image (above) and its velocity, t = 0.1 to 1": (torch.stack([x, v]) + 1) / 2}

    def restore_prior(self, tensors: Mapping[str, Tensor]) -> StatePrior:
        channels, height, width = self.image_shape
        whitened = restore_prior(tensors, self.basis, (2 * channels, height, width))
        return StatePrior(whitened, last_factor(self.process))

    def read_checkpoint(self, path: Path, weights: str) -> Imported:
        """Returns the authors' weights; see :func:`methods.cld.checkpoint.read_checkpoint`."""
        assert isinstance(self.network, Network)
        return read_checkpoint(path, self.network, weights)
