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
a distribution fitted to the noisy training images at t = 1 (:mod:`methods.shared.prior`),
where the authors take N(0, sigma_max^2) for VE and N(0, 1) for VP and sub-VP ("published"), which
leaves VE's flows without the mean of the images; Fourier features see log(s / m), which is the
authors' log sigma for VE and lets VP and sub-VP use them too; in continuous time sinusoids see 999
t for VE too; the flow is solved by Heun's method besides RK45.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.data.images import Images
from bench.method import Condition, Noise, Run, Sampler
from methods.sde.card import CARD, Params
from methods.sde.checkpoint import read_checkpoint
from methods.sde.classifier import Classifier, train_classifier
from methods.sde.sampling import Guided, PredictorCorrector
from methods.shared.adapter import Adapter
from methods.shared.backbone import Network, make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.controllable import extrapolated, guided
from methods.shared.distance import largest_distance
from methods.shared.grids import published_grid
from methods.shared.layers import initialise
from methods.shared.likelihood import log_likelihood
from methods.shared.objective import (
    Levels,
    Weighting,
    denoising_loss,
    discrete_loss,
    edm_loss,
    importance_times,
)
from methods.shared.precondition import denoiser, log_normal, score_of
from methods.shared.prior import fit_prior, training_images
from methods.shared.process import VE, VP, Process, SubVP, like
from methods.shared.samplers import ScoreFn
from methods.shared.training import Labelled, SeenLabels, under
from methods.shared.weights import Imported


class ScoreSDE(Adapter):
    """Creates the method with weights of its own, as before any training."""

    card = CARD
    handled = (*Adapter.handled, Guided)
    params: Params

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.classifier: Classifier | None = None
        self.class_average: Classifier | None = None
        if params.classifier.kind != "none":
            channels, settings = data.shape[0], params.classifier.keywords()
            self.classifier = Classifier(channels, data.classes, **settings)
            self.classifier.to(self.device).to(memory_format=torch.channels_last)
            initialise(self.classifier, Noise(0, ("init", "classifier")))
            self.class_average = copy.deepcopy(self.classifier).eval().requires_grad_(False)

    def make_network(self) -> nn.Module:
        channels, height, _ = self.image_shape
        classes = 0 if self.params.class_dropout is None else self.data.classes
        return make_network(self.params.network, channels, channels, height, classes)

    def reset(self) -> None:
        # Until training fits it, sigma_max = "data" is the largest distance of two images.
        most = math.sqrt(math.prod(self.image_shape))
        self.sigma_max = most if self.params.sigma_max == "data" else self.params.sigma_max

    @property
    def process(self) -> Process:
        """The diffusion."""
        params = self.params
        if params.process == "ve":
            return VE(params.sigma_min, self.sigma_max)
        kind = {"vp": VP, "subvp": SubVP}[params.process]
        return kind(params.beta_min, params.beta_max, rounded=params.published_rounding)

    @property
    def width(self) -> int:
        return 1 if self.params.process == "ve" else 2

    def exact_output(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.double()
        std = self.process.std(t)
        score = self.mixture.score(x, self.process.mean_coefficient(t), std)
        return self.params.mistakes.of(score, like(1 / std, x))

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.average,) if self.class_average is None else (self.average, self.class_average)

    # Score.

    def score_fn(self, network: nn.Module) -> ScoreFn:
        r"""Returns :math:`\nabla \log p_t(x)` of a network, of x (B, C, H, W) and t (B,)."""
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

    def field(self, x: Tensor, level: Tensor) -> Tensor:
        """Returns the score at times."""
        return self.score_fn(self.average)(x, level)

    def _edm_score(self, network: nn.Module) -> ScoreFn:
        process, denoise = self.process, denoiser(network, self.params.edm.sigma_data)
        # EDM's images are 2 x - 1, so its noise is twice ours, and so is the derivative by x.
        return lambda x, t: 2 * score_of(denoise, 2 * x - 1, 2 * process.std(t))

    def _discrete_score(self, network: nn.Module) -> ScoreFn:
        """Returns the authors': SMLD's at the nearest level, DDPM's at times between levels too."""
        score, last = self._level_score(network), self.params.scales - 1
        if self.params.process == "ve":
            return lambda x, t: score(x, last - torch.round((1 - t) * last))
        return lambda x, t: score(x, last * t)

    def _level_score(self, network: nn.Module) -> ScoreFn:
        """Returns the score at levels 0, ..., N - 1, which SMLD's network counts backwards."""
        stds, last = self._noise_levels().std, self.params.scales - 1
        if self.params.process == "ve":
            return lambda x, k: network(2 * x - 1, last - k.to(x)) / like(stds.to(x)[k.long()], x)
        return lambda x, k: -network(x, k.to(x)) / like(stds.to(x)[k.long()], x)

    def _noise_levels(self) -> Levels:
        params = self.params
        vp = self.width == 2
        least = params.beta_min if vp else params.sigma_min
        most = params.beta_max if vp else self.sigma_max
        return discrete_levels(params.process, least, most, params.scales)

    # Training.

    def network_loss(self, network: nn.Module, x0: Tensor, noise: Noise) -> Tensor:
        params, shape, weighting = self.params, x0.shape, self.params.weighting
        weight: Tensor | float = 1.0
        x0 = self.fill(x0, noise)
        if params.parametrisation == "edm":
            level = log_normal(noise.normal(shape[:1]), params.edm.p_mean, params.edm.p_std)
        elif params.time == "discrete":
            level = noise.integers(shape[:1], params.scales)
        elif params.t_sampling == "importance":
            level, weight = importance_times(self.process, noise.uniform(shape[:1]), params.t_min)
            weighting = "std"
        else:
            level = self._times(noise, len(x0))
        return weight * self._weighted_loss(network, x0, level, noise.normal(shape), weighting)

    def _times(self, noise: Noise, count: int) -> Tensor:
        return self.params.t_min + (1 - self.params.t_min) * noise.uniform((count,))

    def loss_at(self, network: nn.Module, x0: Tensor, level: Tensor, draws: Tensor) -> Tensor:
        """Returns the loss of each image at EDM's sigmas, indices in discrete time, or times."""
        return self._weighted_loss(network, x0, level, draws, self.params.weighting)

    def _weighted_loss(
        self, network: nn.Module, x0: Tensor, level: Tensor, z: Tensor, weighting: Weighting
    ) -> Tensor:
        params = self.params
        if params.parametrisation == "edm":  # of VE, whose images are in [0, 1]
            sigma_data = params.edm.sigma_data
            return edm_loss(denoiser(network, sigma_data), 2 * x0 - 1, level, z, sigma_data)
        if params.time == "discrete":
            score, levels = self._level_score(network), self._noise_levels()
            return discrete_loss(levels, score, x0, level, z, params.reduction)
        score_fn = self.score_fn(network)
        return denoising_loss(self.process, score_fn, x0, level, z, weighting, params.reduction)

    def inspected(self) -> tuple[Tensor, Tensor, Tensor]:
        times = torch.arange(1, 11, dtype=torch.float64) / 10
        if self.params.parametrisation == "edm":
            levels = 2 * self.process.std(times)  # EDM's images are 2 x - 1
        elif self.params.time == "discrete":
            index, chain = (
                torch.round(times * (self.params.scales - 1)).long(),
                self._noise_levels(),
            )
            noise_levels = (chain.std / chain.mean)[index]
            return index / (self.params.scales - 1), noise_levels, index.to(self.device)
        else:
            levels = times
        return times, self.noise_level(times), levels.to(self.device, torch.float32)

    @property
    def weighting(self) -> str:
        edm = self.params.parametrisation == "edm"
        return f"{'edm' if edm else self.params.weighting}, {self.params.reduction}"

    def other_losses(
        self, data: Images, seed: int
    ) -> Sequence[tuple[Callable[[int], Tensor], int]]:
        """Returns that of the classifier, if there is one."""
        if (classifier := self.classifier) is None:
            return ()
        settings = self.params.classifier.training
        noise = Noise(seed, ("flops", "classifier"), device=self.device)

        def losses(count: int) -> Tensor:
            x0, classes = (batch.to(self.device) for batch in data.labelled_batch(seed, 0, count))
            return self._class_loss(classifier, x0, classes, noise)

        return ((losses, settings.steps * settings.batch),)

    def train(self, data: Images, run: Run) -> None:
        if self.params.process == "ve" and self.params.sigma_max == "data":
            images = torch.from_numpy(data.train).to(run.device)
            self.sigma_max = largest_distance(images) / data.span
        super().train(data, run)

    def fit_network(self, data: Images, run: Run, seen_labels: SeenLabels = None) -> None:
        """Trains the classifier, if there is one, then the score network."""
        if self.classifier is not None and self.class_average is not None:
            initialise(self.classifier, run.noise("init", "classifier"))
            settings = self.params.classifier.training
            run = train_classifier(
                self.classifier, self.class_average, self._class_loss, data, settings, run
            )
        share = self.params.class_dropout
        told = None if share is None else partial(self._seen_labels, share)
        super().fit_network(data, run, told)

    def _seen_labels(self, share: float, labels: Tensor, noise: Noise) -> Tensor:
        """Returns what a training batch's network is told of its classes: that share's not."""
        dropped = noise.child("labels").uniform(labels.shape) < share
        return torch.where(dropped, self.data.classes, labels)

    @torch.no_grad()
    def fit_start(self, data: Images, run: Run) -> None:
        """Fits where sampling starts to noisy training images at t = 1, unless it is published."""
        settings = self.params.prior
        if settings.kind == "published":
            return
        one = torch.ones((), dtype=torch.float64)
        mean, std = self.process.mean_coefficient(one).item(), self.process.std(one).item()
        self.prior = fit_prior(
            settings.kind,
            lambda: (mean * x0.double() for x0 in training_images(data, self.fill, run)),
            std,
            self.basis,
            modes=settings.modes,
            components=settings.components,
        )

    # Samples.

    def model_fn(self, params: Guided, given: Condition | None) -> ScoreFn:
        score_fn = self.score_fn(self.average)
        if given is None or given.labels is None or not params.guidance:
            return score_fn
        if self.params.class_dropout is not None:
            of_class = self.score_fn(Labelled(self.average, given.labels))
            return extrapolated(score_fn, of_class, params.guidance)
        return guided(score_fn, self._class_log_prob(given.labels), params.guidance)

    def grid(self, sampler: Sampler, given: Condition | None) -> tuple[Tensor, dict[str, Any]]:
        chosen = sampler.params
        times, more = super().grid(sampler, given)
        if isinstance(chosen, PredictorCorrector) and chosen.published:
            t_min = self.process.t_min if chosen.t_min is None else chosen.t_min
            times = published_grid(chosen.steps, t_min)
        if (known := self.known(given)) is not None:
            more["known"] = known
        return times, more

    def _class_log_prob(self, labels: Tensor) -> ScoreFn:
        """Returns the log-probability, by the classifier, that each noisy image has its label."""
        rows, classifier = torch.arange(len(labels), device=labels.device), self.class_average
        assert classifier is not None  # the card refuses guidance without one
        return lambda x, t: self._logits(classifier, x, t).log_softmax(1)[rows, labels]

    def _logits(self, classifier: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        """Returns the logits of noisy images x at t; the classifier's input has unit size."""
        mean, std = self.process.mean_coefficient(t), self.process.std(t)
        spread = 2 / self.width * std
        x = x if self.width == 2 else 2 * x - 1
        size = (mean.square() + spread.square()).sqrt()
        return classifier(x / like(size, x), self.process.noise_level(t).log())

    def _class_loss(
        self, classifier: nn.Module, x0: Tensor, labels: Tensor, noise: Noise
    ) -> Tensor:
        """Returns the cross-entropy of images in [0, 1] at one random time each, shape (B,)."""
        x0 = self.bins.fill(x0, noise)
        t = self._times(noise, len(x0))
        mean, std = self.process.perturb(self.enter(x0), t)
        logits = self._logits(classifier, mean + std * noise.normal(x0.shape), t)
        return cross_entropy(logits, labels, reduction="none")

    # Likelihood and state.

    def log_prob(self, x: Tensor, noise: Noise, options: Mapping[str, Any]) -> Tensor:
        score_fn = self.score_fn(self.average)
        return log_likelihood(self.process, score_fn, x, noise, prior=self.prior, **options)[0]

    def fitted(self) -> dict[str, Tensor]:
        return {"sigma_max": torch.tensor(self.sigma_max, dtype=torch.float64)}

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        self.sigma_max = tensors["sigma_max"].item()

    def state(self) -> dict[str, Tensor]:
        """Returns network, average ("ema."), a classifier's ("class_"), and what was fitted."""
        state = super().state()
        for prefix, part in self._classifiers():
            state |= {prefix + name: tensor for name, tensor in part.state_dict().items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        for prefix, part in self._classifiers():
            part.load_state_dict(under(prefix, state))

    def _classifiers(self) -> list[tuple[str, nn.Module]]:
        """Returns classifier and average, if there are, with the prefixes of their tensors."""
        if self.classifier is None or self.class_average is None:
            return []
        return [("class_network.", self.classifier), ("class_ema.", self.class_average)]

    def read_checkpoint(self, path: Path, weights: str) -> Imported:
        """Returns the authors' weights, or those of diffusers; see :func:`read_checkpoint`."""
        sigmas = None
        if self.params.process == "ve":
            if self.params.sigma_max == "data":
                raise CheckpointError(
                    f"{path}: was trained with a sigma_max of its own: give params.sigma_max"
                )
            sigmas = (self.params.sigma_min, self.sigma_max)
        assert isinstance(self.network, Network)
        return read_checkpoint(path, self.network, weights, sigmas)


@lru_cache(maxsize=4)
def discrete_levels(process: str, least: float, most: float, scales: int) -> Levels:
    """Returns the noise levels of SMLD ("ve", with its sigmas) or DDPM ("vp", with its betas)."""
    return Levels.of({"ve": VE, "vp": VP}[process](least, most).published_chain(scales))
