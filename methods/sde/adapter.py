r"""Score-based generative modelling through stochastic differential equations.

A diffusion :math:`dx = f(t)\,x\,dt + g(t)\,dw` turns images into noise. A network learns
:math:`\nabla \log p_t(x)` by denoising, at all times at once; with it the diffusion runs backwards, as an SDE or as
the probability-flow ODE of the same marginals, along which the likelihood of an image is exact.

The diffusion lives on images in [0, 1] for VE and in [-1, 1] for VP and sub-VP. The network sees [-1, 1] always,
and predicts the noise, up to its sign: its output over the standard deviation is the score.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (sections 3 and 4, appendices B to E and H).
Departures: the loss is the mean over dimensions for VE too, where the authors sum; VE's sigma_max follows the
training images unless it is given; Fourier features see log(s / m), which is the authors' log sigma for VE and
lets VP and sub-VP use them too; sinusoids see 999 t for VE too; the flow is solved by Heun's method besides RK45.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from bench.data import Images
from bench.method import Method, Noise, Run, Sampler, Scored
from methods.sde.card import CARD, Params
from methods.shared.grids import grid
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.layers import initialise
from methods.shared.likelihood import bits_per_dim, dequantisation_floor, dequantise, log_likelihood
from methods.shared.ncsnpp import NCSNpp
from methods.shared.objective import denoising_loss
from methods.shared.process import VE, VP, Process, SubVP, like
from methods.shared.samplers import ScoreFn, euler_maruyama, flow_adaptive, flow_heun, reverse_diffusion
from methods.shared.training import fit, under


class ScoreSDE(Method):
    """Creates the method with weights of its own, as before any training."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        channels, height, _ = data.shape
        self.network = NCSNpp(channels, channels, image_size=height, **asdict(params.network))
        self.network.to(device=self.device, memory_format=torch.channels_last)
        initialise(self.network, Noise(0, ("init",)))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        # Until training fits it, sigma_max = "data" is the largest distance that two images can have.
        self.sigma_max = math.sqrt(math.prod(data.shape)) if params.sigma_max == "data" else params.sigma_max

    @property
    def process(self) -> Process:
        """The diffusion."""
        params = self.params
        if params.process == "ve":
            return VE(params.sigma_min, self.sigma_max)
        return {"vp": VP, "subvp": SubVP}[params.process](params.beta_min, params.beta_max)

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {
            "euler_maruyama": euler_maruyama,
            "reverse_diffusion": reverse_diffusion,
            "flow_heun": flow_heun,
            "flow_adaptive": flow_adaptive,
        }

    @property
    def width(self) -> int:
        """Width of the range in which the diffusion lives."""
        return 1 if self.params.process == "ve" else 2

    def score_fn(self, network: nn.Module) -> ScoreFn:
        r"""Returns :math:`\nabla \log p_t(x)` of a network, a function of x (B, C, H, W) and t (B,)."""
        process = self.process
        exploding = self.params.process == "ve"
        fourier = self.params.network.embedding == "fourier"

        def score(x: Tensor, t: Tensor) -> Tensor:
            condition = process.noise_level(t).log() if fourier else 999 * t
            if exploding:
                return network(2 * x - 1, condition) / like(process.std(t), x)
            return -network(x, condition) / like(process.std(t), x)

        return score

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the denoising loss of each image at one random time, the mean over dimensions, shape (B,)."""
        return self._loss(self.network, x0, noise)

    def _loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        t = self.params.t_min + (1 - self.params.t_min) * noise.uniform((len(x0),))
        z = noise.normal(x0.shape)
        if self.params.dequantise:
            x0 = dequantise(x0 * (self.levels - 1), self.levels, noise.child("dequantise"))
        x0 = self._enter(x0)
        return denoising_loss(self.process, self.score_fn(network), x0, t, z, self.params.weighting)

    def train(self, data: Images, run: Run) -> None:
        if self.params.process == "ve" and self.params.sigma_max == "data":
            self.sigma_max = largest_distance(torch.from_numpy(data.train).to(run.device)) / (data.levels - 1)
        initialise(self.network, run.noise("init"))
        fit(self.network, self.average, self._loss, data, self.params.training, run)

    @torch.no_grad()
    def sample(self, count: int, sampler: Sampler, noise: Noise, given: Any = None) -> Tensor:
        process = self.process
        score_fn = self.score_fn(self.average)
        x = process.prior((count, *self.image_shape), noise.child("prior"))
        knobs = asdict(sampler.params)
        t_min = knobs.pop("t_min")
        if sampler.name == "flow_adaptive":
            x = flow_adaptive(process, score_fn, x, t_end=t_min, **knobs)
        else:
            if "data_std" in knobs:
                knobs["data_std"] *= self.width
            times = grid(sampler.times, process, knobs.pop("steps"), t_min)
            x = self.samplers[sampler.name](process, score_fn, x, times, noise.child("steps"), **knobs)
        return self._leave(x)

    def score(self, images: Tensor, noise: Noise, params: LikelihoodParams) -> Scored:
        """Returns ``bits_per_dim`` of the dequantised images along the probability flow, one value an image."""
        knobs = {"eps": params.eps, "tolerance": params.tolerance, "probes": params.probes, "probe": params.probe}
        dims = math.prod(self.image_shape)
        bits = []
        for k in range(params.repeats):
            x = self._enter(dequantise(images.to(self.device), self.levels, noise.child("dequantise").child(k)))
            probe = noise.child("probe").child(k)
            log_prob, _ = log_likelihood(self.process, self.score_fn(self.average), x, probe, **knobs)
            bits.append(bits_per_dim(log_prob, dims, self.levels, self.width))
        level = self.process.noise_level(torch.tensor(params.eps, dtype=torch.float64)).item()
        identity = asdict(params) | {
            "solver": "RK45",
            "dequantisation": f"(a + u) / {self.levels}, u uniform in [0, 1)",
            "offset": math.log2(self.levels) - math.log2(self.width),
            "floor": dequantisation_floor(level * self.levels / self.width),
        }
        return Scored({"bits_per_dim": torch.stack(bits).mean(0)}, identity)

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema.") and the sigma_max that training fitted."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"ema.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return state | {"fitted.sigma_max": torch.tensor(self.sigma_max, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(under("network.", state))
        self.average.load_state_dict(under("ema.", state))
        self.sigma_max = state["fitted.sigma_max"].item()

    def _enter(self, x: Tensor) -> Tensor:
        """Returns images in [0, 1] in the range of the diffusion."""
        return x if self.width == 1 else 2 * x - 1

    def _leave(self, x: Tensor) -> Tensor:
        """Returns images in the diffusion's range in that of levels a / (levels - 1), from 0 to 1."""
        x = x if self.width == 1 else (x + 1) / 2
        # Dequantised, level a fills the bin from a / levels to (a + 1) / levels; its middle goes to a / (levels - 1).
        return (x * self.levels - 0.5) / (self.levels - 1) if self.params.dequantise else x


def largest_distance(images: Tensor) -> float:
    """Returns the largest Euclidean distance between two uint8 images, shape (N, C, H, W), in units of a level."""
    flat = images.flatten(1).double()  # squares and products of levels are exact in float64
    squares = flat.square().sum(1)
    largest = 0.0
    for start in range(0, len(flat), 2048):
        rows, rest = flat[start : start + 2048], flat[start:]
        distances = squares[start : start + 2048, None] + squares[None, start:] - 2 * rows @ rest.T
        largest = max(largest, distances.max().item())
    return math.sqrt(largest)
