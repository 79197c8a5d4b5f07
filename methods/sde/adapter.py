r"""Score-based generative modelling through stochastic differential equations.

A diffusion :math:`dx = f(t)\,x\,dt + g(t)\,dw` turns images into noise. A network learns
:math:`\nabla \log p_t(x)` by denoising, at all times at once; with it the diffusion runs backwards,
as an SDE or as the probability-flow ODE of the same marginals, along which the likelihood of an
image is exact.

The diffusion lives on images in [0, 1] for VE and in [-1, 1] for VP and sub-VP. The network sees
[-1, 1] always, and predicts the noise, up to its sign: its output over the standard deviation is
the score.

Shapes: B images, C channels, H x W pixels. Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (sections 3 and 4, appendices B to E and
H); the parametrisation "edm" is Karras et al., 2022, https://arxiv.org/abs/2206.00364 (table 1),
and "mixed" Vahdat et al., 2021, https://arxiv.org/abs/2106.05931 (section 3.2), as the VP baseline
of CLD has it.
Departures: the loss is the mean over dimensions for VE too, where the authors sum; VE's sigma_max
follows the training images unless it is given; sampling starts from, and the likelihood ends under,
a distribution that is fitted to the noisy training images at t = 1 (:mod:`methods.shared.prior`),
where the authors take N(0, sigma_max^2) for VE and N(0, 1) for VP and sub-VP ("published"), which
leaves VE's flows without the mean of the images; Fourier features see log(s / m), which is the
authors' log sigma for VE and lets VP and sub-VP use them too; in continuous time sinusoids see 999
t for VE too; the flow is solved by Heun's method besides RK45.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.data.images import Images
from bench.method import Condition, Inspection, Method, Noise, Run, Sampler, Scored
from methods.sde.card import CARD, Params
from methods.sde.checkpoint import read_checkpoint
from methods.sde.classifier import Classifier, train_classifier
from methods.shared.adaptive import flow_adaptive
from methods.shared.average import average_of
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.controllable import Known, guided, restore
from methods.shared.distance import largest_distance
from methods.shared.exact import ExactNetwork, Mixture
from methods.shared.flow import flow_euler, flow_heun
from methods.shared.grids import grid, published_grid
from methods.shared.hyperparameters import LikelihoodParams
from methods.shared.layers import initialise
from methods.shared.likelihood import (
    bits_per_dim,
    continuous,
    dequantisation_floor,
    log_likelihood,
    measure,
    over_draws,
)
from methods.shared.multistep import dpm_solver_2m
from methods.shared.objective import (
    Levels,
    denoising_loss,
    discrete_loss,
    edm_loss,
    importance_times,
    level_losses,
)
from methods.shared.precondition import denoiser, log_normal, score_of
from methods.shared.prior import Basis, Prior, fit_prior, restore_prior, training_images
from methods.shared.process import VE, VP, Process, SubVP, like
from methods.shared.quantisation import Bins
from methods.shared.samplers import ScoreFn, ancestral, ddim, euler_maruyama, reverse_diffusion
from methods.shared.training import dropout_from, fit, load_weights, under, weights_of

IN_DATA_RANGE = frozenset({"data_std", "churn_min", "churn_max"})
"""Sampler parameters in units of the data range [0, 1]."""


class ScoreSDE(Method):
    """Creates the method with weights of its own, as before any training."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.bins = Bins(self.levels, params.dequantise)
        self.data, channels, height = data, *data.shape[:2]
        if params.exact:
            self.network = self.average = ExactNetwork(self._exact_score)
        else:
            self.network = make_network(params.network, channels, channels, height)
            self.network.to(device=self.device, memory_format=torch.channels_last)
            initialise(self.network, Noise(0, ("init",)))
            self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.classifier = self.class_average = None
        if params.classifier.kind != "none":
            self.classifier = Classifier(channels, data.classes, **params.classifier.keywords())
            self.classifier.to(device=self.device, memory_format=torch.channels_last)
            initialise(self.classifier, Noise(0, ("init", "classifier")))
            self.class_average = copy.deepcopy(self.classifier).eval().requires_grad_(False)
        # Until training fits it, sigma_max = "data" is the largest distance that two images can
        # have.
        self.sigma_max = (
            math.sqrt(math.prod(data.shape)) if params.sigma_max == "data" else params.sigma_max
        )

        # Until training fits one, and where it is the authors', that of the process.
        self.prior: Prior | None = None

    @property
    def process(self) -> Process:
        """The diffusion."""
        params = self.params
        if params.process == "ve":
            return VE(params.sigma_min, self.sigma_max)
        kind = {"vp": VP, "subvp": SubVP}[params.process]
        return kind(params.beta_min, params.beta_max, rounded=params.published_rounding)

    @cached_property
    def mixture(self) -> Mixture:
        """What the exact score is the score of, in the range of the diffusion."""
        smoothing = self.params.mistakes.smoothing
        return Mixture.of(self.data, self.device, smoothing).affine(self.width, 1 - self.width)

    def _exact_score(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.double()
        std = self.process.std(t)
        score = self.mixture.score(x, self.process.mean_coefficient(t), std)
        return self.params.mistakes.of(score, like(1 / std, x))

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,) if self.class_average is None else (self.average, self.class_average)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {
            "euler_maruyama": euler_maruyama,
            "reverse_diffusion": reverse_diffusion,
            "ancestral": ancestral,
            "predictor_corrector": restore,
            "ddim": ddim,
            "flow_euler": flow_euler,
            "flow_heun": flow_heun,
            "dpm_solver_2m": dpm_solver_2m,
            "flow_adaptive": flow_adaptive,
        }

    @property
    def width(self) -> int:
        """Width of the range in which the diffusion lives."""
        return 1 if self.params.process == "ve" else 2

    def score_fn(self, network: nn.Module) -> ScoreFn:
        r"""Returns :math:`\nabla \log p_t(x)` of a network, a function of x (B, C, H, W) and t
        (B,).
        """
        if self.params.exact:
            return network
        if self.params.parametrisation == "edm":
            return self._edm_score(network)
        if self.params.time == "discrete":
            return self._discrete_score(network)
        process = self.process
        exploding, mixed = self.params.process == "ve", self.params.parametrisation == "mixed"
        by_log = self.params.network.condition == "log"

        def score(x: Tensor, t: Tensor) -> Tensor:
            condition = process.noise_level(t).log() if by_log else 999 * t
            if exploding:
                return network(2 * x - 1, condition) / like(process.std(t), x)
            learnt = -network(x, condition) / like(process.std(t), x)
            return learnt - x if mixed else learnt

        return score

    def _edm_score(self, network: nn.Module) -> ScoreFn:
        process, denoise = self.process, denoiser(network, self.params.edm.sigma_data)
        # EDM's images are 2 x - 1, so its noise is twice ours, and so is the derivative by x.
        return lambda x, t: 2 * score_of(denoise, 2 * x - 1, 2 * process.std(t))

    def _discrete_score(self, network: nn.Module) -> ScoreFn:
        """As the authors, SMLD's score is taken at the nearest level, DDPM's network told of times
        between levels.
        """
        score, last = self._level_score(network), self.params.scales - 1
        if self.params.process == "ve":
            return lambda x, t: score(x, last - torch.round((1 - t) * last))
        return lambda x, t: score(x, last * t)

    def _level_score(self, network: nn.Module) -> ScoreFn:
        """Returns the score as a function of x and of levels 0, ..., N - 1, which SMLD's network
        counts backwards.
        """
        stds, last = self._noise_levels().std, self.params.scales - 1
        if self.params.process == "ve":
            return lambda x, k: network(2 * x - 1, last - k.to(x)) / like(stds.to(x)[k.long()], x)
        return lambda x, k: -network(x, k.to(x)) / like(stds.to(x)[k.long()], x)

    def _noise_levels(self) -> Levels:
        params = self.params
        least, most = (
            (params.beta_min, params.beta_max)
            if self.width == 2
            else (params.sigma_min, self.sigma_max)
        )
        return discrete_levels(params.process, least, most, params.scales)

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        """Returns the training loss of each image at one random noise level, shape (B,)."""
        with dropout_from(noise, x0.device):
            return self._loss(self.network, x0, noise)

    def _loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        params, shape, weighting, weight = self.params, x0.shape, self.params.weighting, 1.0
        x0 = self.bins.fill(x0, noise)
        if params.parametrisation == "edm":
            level = log_normal(noise.normal(shape[:1]), params.edm.p_mean, params.edm.p_std)
        elif params.time == "discrete":
            level = noise.integers(shape[:1], params.scales)
        elif params.t_sampling == "importance":
            level, weight = importance_times(self.process, noise.uniform(shape[:1]), params.t_min)
            weighting = "std"
        else:
            level = params.t_min + (1 - params.t_min) * noise.uniform(shape[:1])
        return weight * self._loss_at(network, x0, level, noise.normal(shape), weighting)

    def _loss_at(
        self, network: nn.Module, x0: Tensor, level: Tensor, z: Tensor, weighting: str
    ) -> Tensor:
        """Returns the loss of each image at noise levels: EDM's sigmas, indices in discrete time,
        or else times.
        """
        params = self.params
        if params.parametrisation == "edm":
            sigma_data = params.edm.sigma_data
            return edm_loss(denoiser(network, sigma_data), 2 * x0 - 1, level, z, sigma_data)
        x0 = self._enter(x0)
        if params.time == "discrete":
            return discrete_loss(
                self._noise_levels(), self._level_score(network), x0, level, z, params.reduction
            )
        return denoising_loss(
            self.process, self.score_fn(network), x0, level, z, weighting, params.reduction
        )

    @torch.no_grad()
    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        """Returns the loss of the averaged network at ten times, t = 1 the last, or at the discrete
        levels there.
        """
        params = self.params
        x0 = self.bins.fill(images.to(self.device), noise)
        z = noise.normal(x0.shape)
        times = torch.arange(1, 11, dtype=torch.float64) / 10
        noise_levels = self.process.noise_level(times)
        levels, weighting = times.to(x0), params.weighting
        if params.parametrisation == "edm":
            levels, weighting = (
                2 * self.process.std(times).to(x0),
                "edm",
            )  # EDM's images are 2 x - 1
        elif params.time == "discrete":
            index, chain = torch.round(times * (params.scales - 1)).long(), self._noise_levels()
            times, noise_levels = index / (params.scales - 1), (chain.std / chain.mean)[index]
            levels = index.to(self.device)

        def loss_at(level: Tensor) -> Tensor:
            return self._loss_at(self.average, x0, level.expand(len(x0)), z, params.weighting)

        return Inspection(
            times, noise_levels, level_losses(loss_at, levels), f"{weighting}, {params.reduction}"
        )

    def other_losses(
        self, data: Images, seed: int
    ) -> Sequence[tuple[Callable[[int], Tensor], int]]:
        """Returns that of the classifier, where there is one."""
        if self.classifier is None:
            return ()
        settings, noise = (
            self.params.classifier.training,
            Noise(seed, ("flops", "classifier"), device=self.device),
        )

        def losses(count: int) -> Tensor:
            x0, classes = (batch.to(self.device) for batch in data.labelled_batch(seed, 0, count))
            return self._class_loss(self.classifier, x0, classes, noise)

        return ((losses, settings.steps * settings.batch),)

    def train(self, data: Images, run: Run) -> None:
        if self.params.process == "ve" and self.params.sigma_max == "data":
            self.sigma_max = (
                largest_distance(torch.from_numpy(data.train).to(run.device)) / data.span
            )
        self.fit_start(data, run)
        if self.params.exact:
            return
        if self.classifier is not None:
            initialise(self.classifier, run.noise("init", "classifier"))
            settings = self.params.classifier.training
            run = train_classifier(
                self.classifier, self.class_average, self._class_loss, data, settings, run
            )
        initialise(self.network, run.noise("init"))
        fit(self.network, self.average, self._loss, data, self.params.training, run)

    @torch.no_grad()
    def fit_start(self, data: Images, run: Run) -> None:
        """Fits where sampling starts to the noisy training images at t = 1, unless that is the
        authors'.
        """
        settings = self.params.prior
        if settings.kind == "published":
            return
        one = torch.ones((), dtype=torch.float64)
        mean, std = self.process.mean_coefficient(one).item(), self.process.std(one).item()
        self.prior = fit_prior(
            settings.kind,
            lambda: (mean * x0.double() for x0 in training_images(data, self._fill, run)),
            std,
            self._basis(),
            modes=settings.modes,
            components=settings.components,
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
        process = self.process
        score_fn = self.score_fn(self.average)
        start, shape = noise.child("prior"), (count, *self.image_shape)
        x = process.prior(shape, start) if self.prior is None else self.prior.sample(count, start)
        knobs = asdict(sampler.params)
        t_min, guidance = knobs.pop("t_min"), knobs.pop("guidance")
        if given is not None and given.labels is not None and guidance:
            score_fn = guided(score_fn, self._class_log_prob(given.labels), guidance)
        if sampler.name == "flow_adaptive":
            x = flow_adaptive(process, score_fn, x, t_end=t_min, **knobs)
        else:
            times = self._times(sampler.times, t_min, knobs)
            knobs |= {
                name: self.width * knobs[name]
                for name in IN_DATA_RANGE & knobs.keys()
                if knobs[name]
            }
            if given is not None and given.images is not None:
                knobs["known"] = self._known(given)
            x = self.samplers[sampler.name](
                process, score_fn, x, times, noise.child("steps"), **knobs
            )
        return self._leave(x)

    def _known(self, given: Condition) -> Known:
        """Returns what is known of images, in the range of the diffusion."""
        images = self._enter(self.bins.enter(given.images.to(self.device)))
        return Known(images, given.known) if given.task == "inpainting" else Known.grey(images)

    def _class_log_prob(self, labels: Tensor) -> ScoreFn:
        """Returns the log-probability, by the classifier, that each noisy image has its label."""
        rows = torch.arange(len(labels), device=labels.device)
        return lambda x, t: self._logits(self.class_average, x, t).log_softmax(1)[rows, labels]

    def _logits(self, classifier: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        """Returns the logits of noisy images x at t: the classifier sees [-1, 1] with noise, at
        about unit size.
        """
        mean, std = self.process.mean_coefficient(t), self.process.std(t)
        spread = 2 / self.width * std
        x = x if self.width == 2 else 2 * x - 1
        return classifier(
            x / like((mean.square() + spread.square()).sqrt(), x), self.process.noise_level(t).log()
        )

    def _class_loss(
        self, classifier: nn.Module, x0: Tensor, labels: Tensor, noise: Noise
    ) -> Tensor:
        """Returns the cross-entropy of images in [0, 1], (B, C, H, W), at one random time each,
        shape (B,).
        """
        x0 = self.bins.fill(x0, noise)
        t = self.params.t_min + (1 - self.params.t_min) * noise.uniform(x0.shape[:1])
        mean, std = self.process.perturb(self._enter(x0), t)
        return cross_entropy(
            self._logits(classifier, mean + std * noise.normal(x0.shape), t),
            labels,
            reduction="none",
        )

    def _times(self, name: str, t_min: float | None, knobs: dict[str, Any]) -> Tensor:
        """Returns a sampler's times, the authors' if it asks for them, and takes what makes them
        out of its knobs.
        """
        steps = knobs.pop("steps")
        if knobs.pop("published", False):
            knobs["published_steps"] = steps
            return published_grid(steps, self.process.t_min if t_min is None else t_min)
        return grid(name, self.process, steps, t_min)

    def score(self, images: Tensor, noise: Noise, params: LikelihoodParams) -> Scored:
        """Returns ``bits_per_dim`` of the dequantised images along the probability flow, one value
        an image.
        """
        knobs = asdict(params)
        knobs.pop("repeats")
        dims = math.prod(self.image_shape)
        bits = []
        for k in range(params.repeats):
            x = self._enter(
                continuous(images.to(self.device), self.levels, noise.child("dequantise").child(k))
            )
            probe = noise.child("probe").child(k)
            log_prob, _ = log_likelihood(
                self.process, self.score_fn(self.average), x, probe, prior=self.prior, **knobs
            )
            bits.append(bits_per_dim(log_prob, dims, self.levels, self.width))
        level = self.process.noise_level(torch.tensor(params.eps, dtype=torch.float64)).item()
        usual = {
            "probe_drift": False,
            "error_norm": "batch",
        }  # named in the identity where they are not as usual
        identity = {
            name: value for name, value in asdict(params).items() if usual.get(name, ...) != value
        } | {
            "solver": {"scipy": "RK45", "device": "RK45 on the device"}[params.solver],
            **measure(self.levels, self.width),
            "floor": dequantisation_floor(level * self.levels / self.width),
            "prior": self.params.prior.kind,
        }
        return Scored(over_draws(bits), identity)

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema."), a classifier's ("class_"), and what training fitted:
        sigma_max, prior.
        """
        state = weights_of(self.network, self.average)
        for prefix, part in self._classifiers():
            state |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
        prior = {} if self.prior is None else self.prior.tensors()
        state |= {f"fitted.prior.{name}": tensor for name, tensor in prior.items()}
        return state | {"fitted.sigma_max": torch.tensor(self.sigma_max, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        load_weights(self.network, self.average, state)
        for prefix, part in self._classifiers():
            part.load_state_dict(under(prefix, state))
        self.sigma_max = state["fitted.sigma_max"].item()
        prior = under("fitted.prior.", state)
        self.prior = restore_prior(prior, self._basis(), self.image_shape) if prior else None

    def _classifiers(self) -> list[tuple[str, nn.Module]]:
        """Returns classifier and average, none where there is no classifier, with the prefixes of
        their tensors.
        """
        if self.classifier is None:
            return []
        return [("class_network.", self.classifier), ("class_ema.", self.class_average)]

    def import_checkpoint(self, path: Path, weights: str) -> dict[str, Any]:
        """Takes over the authors' weights, or those of the diffusers library; see
        :func:`read_checkpoint`.
        """
        sigmas = None
        if self.params.exact:
            raise CheckpointError(
                f"{path}: exact stands for a network's weights: leave one of them out"
            )
        if self.params.process == "ve":
            if self.params.sigma_max == "data":
                raise CheckpointError(
                    f"{path}: was trained with a sigma_max of its own: give params.sigma_max"
                )
            sigmas = (self.params.sigma_min, self.sigma_max)
        found = read_checkpoint(path, self.network, weights, sigmas)
        self.network.load_state_dict(found.raw)
        self.average.load_state_dict(found.chosen)
        return found.facts

    def take_average(
        self, width: float, kept: Mapping[int, Callable[[], Mapping[str, Tensor]]]
    ) -> dict[str, Any]:
        """Makes the average that is sampled from anew (:mod:`methods.shared.average`); a classifier
        keeps its own.
        """
        return average_of(self.average, width, kept)

    def _enter(self, x: Tensor) -> Tensor:
        """Returns images in [0, 1] in the range of the diffusion."""
        return x if self.width == 1 else 2 * x - 1

    def _leave(self, x: Tensor) -> Tensor:
        """Returns images in the diffusion's range in that of levels a / (levels - 1), from 0 to
        1.
        """
        return self.bins.leave(x if self.width == 1 else (x + 1) / 2)


@lru_cache(maxsize=4)
def discrete_levels(process: str, least: float, most: float, scales: int) -> Levels:
    """Returns the noise levels of SMLD ("ve", with its sigmas) or DDPM ("vp", with its betas)."""
    return Levels.of({"ve": VE, "vp": VP}[process](least, most).published_chain(scales))
