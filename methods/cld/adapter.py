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
Departures: the loss is the mean over dimensions, where the authors sum; the network is told the
noise level at which image and velocity together show the clean image, where the authors tell theirs
t or log t (``condition``); sampling starts from states fitted to the training images
(:mod:`methods.cld.prior`), where the authors take their limit for long times ("published").
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
from bench.method import Condition, Inspection, Method, Noise, Run, Sampler, Scored
from methods.cld.card import CARD, Params
from methods.cld.checkpoint import read_checkpoint
from methods.cld.exponential import gddim
from methods.cld.likelihood import bound
from methods.cld.objective import VelocityScore, velocity_loss
from methods.cld.prior import StatePrior, fit_state_prior, last_factor
from methods.cld.process import CLD
from methods.cld.samplers import (
    denoise,
    euler_maruyama,
    flow_adaptive,
    flow_euler,
    flow_heun,
    sscs,
    sscs_midpoint,
)
from methods.cld.settings import CLDLikelihoodParams
from methods.shared.average import average_of
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.exact import ExactNetwork, Mixture
from methods.shared.grids import grid
from methods.shared.layers import initialise
from methods.shared.likelihood import (
    bits_per_dim,
    continuous,
    dequantisation_floor,
    measure,
    over_draws,
)
from methods.shared.objective import level_losses
from methods.shared.prior import Basis, restore_prior, training_images
from methods.shared.process import like
from methods.shared.quantisation import Bins
from methods.shared.training import dropout_from, fit, load_weights, under, weights_of


class CriticallyDampedLangevin(Method):
    """Creates the method with weights of its own, as before any training."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.bins = Bins(self.levels, params.dequantise)
        self.process = CLD(
            params.beta0, params.beta1, params.mass, params.gamma, params.numerical_eps
        )
        self.data, channels, height = data, *data.shape[:2]
        # Until training fits one, and where it is the authors', the limit for long times.
        self.prior: StatePrior | None = None
        if params.exact:
            self.network = self.average = ExactNetwork(self._exact_score)
            return
        self.network = make_network(params.network, 2 * channels, channels, height)
        self.network.to(device=self.device, memory_format=torch.channels_last)
        initialise(self.network, Noise(0, ("init",)))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)

    @cached_property
    def mixture(self) -> Mixture:
        """What the exact score is the score of, in the range of the diffusion."""
        return Mixture.of(self.data, self.device, self.params.mistakes.smoothing).affine(2, -1)

    def _exact_score(self, u: Tensor, t: Tensor) -> Tensor:
        gains, covariance = self.process.mean_coefficients(t), self.process.covariance(t)
        score = self.mixture.joint_score(*u.chunk(2, 1), gains, covariance)[1]
        return self.params.mistakes.of(score, like(self.process.score_scale(t.double(), None), u))

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {
            "sscs": sscs,
            "sscs_midpoint": sscs_midpoint,
            "euler_maruyama": euler_maruyama,
            "flow_euler": flow_euler,
            "flow_heun": flow_heun,
            "gddim": gddim,
            "flow_adaptive": flow_adaptive,
        }

    def score_fn(self, network: nn.Module) -> VelocityScore:
        r"""Returns :math:`\nabla_v \log p_t(x, v)` of a network, a function of u (B, 2C, H, W) and
        t (B,).
        """
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

    def _condition(self, t: Tensor) -> Tensor:
        """Returns what the network is told of times, shape (B,)."""
        told = self.params.condition
        if told == "noise_level":
            indexed = self.params.network.condition == "index"
            return 999 * t if indexed else self.process.noise_level(t).log()
        # As the authors', rounded to the network's precision before the logarithm.
        return t.float().log() if told == "log_time" else t

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image at one random time, shape (B,)."""
        with dropout_from(noise, x0.device):
            return self._loss(self.network, x0, noise)

    def _loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        params, shape = self.params, x0.shape
        x0 = self._enter(self.bins.fill(x0, noise))
        v0 = self._first_velocity(x0, noise)
        t = params.t_min + (1 - params.t_min) * noise.uniform(shape[:1]).double()
        z = noise.normal((shape[0], 2 * shape[1], *shape[2:]))
        return self._loss_at(network, x0, t, z, v0)

    def _loss_at(
        self, network: nn.Module, x0: Tensor, t: Tensor, z: Tensor, v0: Tensor | None
    ) -> Tensor:
        params = self.params
        return velocity_loss(
            self.process, self.score_fn(network), x0, t, z, v0, params.weighting, params.reduction
        )

    def _first_velocity(self, x0: Tensor, noise: Noise) -> Tensor | None:
        """Returns velocities at t = 0 where the objective draws them."""
        if self.params.objective == "hsm":
            return None
        return math.sqrt(self.process.velocity_variance) * noise.normal(x0.shape)

    def train(self, data: Images, run: Run) -> None:
        self.fit_start(data, run)
        if self.params.exact:
            return
        initialise(self.network, run.noise("init"))
        fit(self.network, self.average, self._loss, data, self.params.training, run)

    @torch.no_grad()
    def fit_start(self, data: Images, run: Run) -> None:
        """Fits where sampling starts to the states of training images at t = 1, unless that is the
        authors'.
        """
        if self.params.prior.kind == "published":
            return
        self.prior = fit_state_prior(
            self.process,
            self.params.prior,
            lambda: training_images(data, self._fill, run),
            self._basis(),
        )

    def _basis(self) -> Basis:
        return Basis.cosines(*self.image_shape[1:], self.device)

    def _fill(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns images in [0, 1] as the loss sees them, in the range of the diffusion."""
        return self._enter(self.bins.fill(x, noise))

    @torch.no_grad()
    def sample(
        self, count: int, sampler: Sampler, noise: Noise, given: Condition | None = None
    ) -> Tensor:
        process, score_fn = self.process, self.score_fn(self.average)
        start, shape = noise.child("prior"), (count, *self.image_shape)
        u = process.prior(shape, start) if self.prior is None else self.prior.sample(count, start)
        knobs = asdict(sampler.params)
        t_min, how = knobs.pop("t_min"), knobs.pop("denoise")
        if sampler.name == "flow_adaptive":
            u = flow_adaptive(process, score_fn, u, t_end=t_min, **knobs)
        else:
            times = grid(sampler.times, process, knobs.pop("steps"), t_min)
            u = self.samplers[sampler.name](
                process, score_fn, u, times, noise.child("steps"), **knobs
            )
        x, _ = denoise(process, score_fn, u, process.t_min if t_min is None else t_min, how).chunk(
            2, 1
        )
        return self._leave(x)

    def score(self, images: Tensor, noise: Noise, params: CLDLikelihoodParams) -> Scored:
        """Returns ``bits_per_dim``, at least those of the dequantised images on average, one value
        an image.
        """
        knobs = asdict(params)
        knobs.pop("repeats")
        dims, score_fn = math.prod(self.image_shape), self.score_fn(self.average)
        bits = []
        for k in range(params.repeats):
            x = self._enter(
                continuous(images.to(self.device), self.levels, noise.child("dequantise").child(k))
            )
            log_prob = bound(
                self.process, score_fn, x, noise.child("bound").child(k), prior=self.prior, **knobs
            )
            bits.append(bits_per_dim(log_prob, dims, self.levels, 2))
        level = self.process.noise_level(torch.tensor(params.eps)).item()
        # Named in the identity where they are not as usual.
        usual = {
            "probe_drift": False,
            "error_norm": "batch",
            "importance_weighted": False,
            "entropy": "drawn",
        }
        identity = {
            name: value for name, value in asdict(params).items() if usual.get(name, ...) != value
        } | {
            "solver": {"scipy": "RK45", "device": "RK45 on the device"}[params.solver],
            **measure(self.levels, 2),
            "floor": dequantisation_floor(level * self.levels / 2),
            "prior": self.params.prior.kind,
        }
        return Scored(over_draws(bits), identity)

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss of the averaged network at ten times, and images with their velocities
        at these.
        """
        x0 = self._enter(self.bins.fill(images.to(self.device), noise))
        v0 = self._first_velocity(x0, noise)
        z = noise.normal((len(x0), 2 * x0.shape[1], *x0.shape[2:]))
        times = torch.arange(1, 11, dtype=torch.float64) / 10

        def loss_at(t: Tensor) -> Tensor:
            return self._loss_at(self.average, x0, t.to(x0.device).expand(len(x0)), z, v0)

        losses = level_losses(loss_at, times)
        weighting = f"{self.params.objective}, {self.params.weighting}, {self.params.reduction}"
        return Inspection(
            times, self.process.noise_level(times), losses, weighting, self._strips(x0, z, times)
        )

    def _strips(self, x0: Tensor, z: Tensor, times: Tensor) -> dict[str, Tensor]:
        """Returns the first image and its velocity, in units of its spread at t = 1, at t = 0 and
        at each time.
        """
        if 1 in x0.shape[2:]:
            return {}  # points are no pictures
        count = len(times)
        images, draws = (rows[:1].expand(count, *rows.shape[1:]) for rows in (x0, z))
        x, v = self.process.perturb(images, times.to(x0.device), draws).chunk(2, 1)
        v = v / math.sqrt(self.process.mass)
        return {"an image (above) and its velocity, t = 0.1 to 1": (torch.stack([x, v]) + 1) / 2}

    def _enter(self, x: Tensor) -> Tensor:
        """Returns images in [0, 1] in the range of the diffusion."""
        return 2 * x - 1

    def _leave(self, x: Tensor) -> Tensor:
        """Returns images in the diffusion's range in that of levels a / (levels - 1), from 0 to
        1.
        """
        return self.bins.leave((x + 1) / 2)

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema.") and the prior that training fitted."""
        prior = {} if self.prior is None else self.prior.tensors()
        state = weights_of(self.network, self.average)
        return state | {f"fitted.prior.{name}": tensor for name, tensor in prior.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_weights(self.network, self.average, state)
        prior, (channels, *size) = under("fitted.prior.", state), self.image_shape
        fitted = restore_prior(prior, self._basis(), (2 * channels, *size)) if prior else None
        self.prior = None if fitted is None else StatePrior(fitted, last_factor(self.process))

    def import_checkpoint(self, path: Path, weights: str) -> dict[str, Any]:
        """Takes over the authors' weights; see :func:`methods.cld.checkpoint.read_checkpoint`."""
        if self.params.exact:
            raise CheckpointError(
                f"{path}: exact stands for a network's weights: leave one of them out"
            )
        found = read_checkpoint(path, self.network, weights)
        self.network.load_state_dict(found.raw)
        self.average.load_state_dict(found.chosen)
        return found.facts

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        """Makes the average that is sampled from anew (:mod:`methods.shared.average`)."""
        return average_of(self.average, width, kept)
