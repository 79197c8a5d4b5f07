r"""Controllable generation: samples that agree with what is known of an image, or with its class.

What is known is linear: some coordinates y of the image in an orthonormal basis, pixels
(inpainting) or the grey channel (colourisation). *Replacement* puts them, with fresh noise, into x
after each update of a sampler,

.. math:: y_t = m_t y + s_t z ,

so that the score of the whole image fills in the rest, u. It does not sample :math:`p(u \mid y)`:
at time t the score knows of y what one noisy draw tells, and u remembers the draws before it. Under
a predictor alone more steps do not help; Langevin steps at each time do, as they let u forget.
Measured with the exact score of eight Gaussian pixels (standard deviation 0.51, correlation length
2), four of them known, the error of the mean of u in units of its conditional standard deviation,
and the squared Frechet distance to the exact conditional distribution (whose covariance has the
trace 0.66): ancestral steps on the quadratic grid, VP; VE's errors of the mean are within 15 %.

==================  ============  ============  ============  ============
Langevin steps (n)  30 times      100 times     300 times     1000 times
==================  ============  ============  ============  ============
0                   0.58, 0.134   0.55, 0.129   0.53, 0.120   0.56, 0.135
1 (ald, snr 0.16)   0.54, 0.118   0.46, 0.094   0.35, 0.063   0.18, 0.019
4                   0.48, 0.097   0.32, 0.052   0.17, 0.017
16                  0.35, 0.056   0.17, 0.016
==================  ============  ============  ============  ============

About 1,500 evaluations take the error of the mean from 0.55 to 0.17, however they are split, and
the relative error of the covariance from 0.26 to 0.14. In a mixture of two such Gaussians the mean
is 0.26 off and the covariance 0.27 without Langevin steps, 0.11 and 0.11 with four at 300 times.

Shapes: B images, x is (B, C, H, W). Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 5, appendix I).
Departures: what is known carries the noise of the time that x has reached, from the prior on, and
ends as it is given; ``published`` has the authors' way.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.predictor_corrector import predictor_corrector
from methods.shared.process import Process, time_like
from methods.shared.samplers import ScoreFn


def grey_basis() -> Tensor:
    """Returns orthonormal colours as columns, the first of them grey, float64, shape (3, 3)."""
    basis = torch.tensor([[1.0, -2.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, -1.0]], dtype=torch.float64)
    return basis / basis.norm(dim=0)


class Known:
    """Coordinates of images that are known: those under a mask, in a basis of the channels.

    Args:
        images: Images that have them, in the range of the diffusion, shape (B, C, H, W); the rest
            of them is not read.
        mask: 1 where a coordinate is known, else 0; broadcastable to the images.
        basis: Orthonormal vectors as columns, shape (C, C); None for the channels themselves.
    """

    def __init__(self, images: Tensor, mask: Tensor, basis: Tensor | None = None) -> None:
        self.mask = mask.to(images)
        self.basis = None if basis is None else basis.to(images)
        self.value = self.mask * self.coordinates(images)

    @classmethod
    def grey(cls, images: Tensor) -> "Known":
        """Returns what grey images (or the grey of coloured ones), shape (B, 3, H, W), tell."""
        return cls(images, torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), grey_basis())

    def coordinates(self, x: Tensor) -> Tensor:
        """Returns the coordinates of x in the basis."""
        return x if self.basis is None else torch.einsum("bihw,ij->bjhw", x, self.basis)

    def compose(self, coordinates: Tensor) -> Tensor:
        """Returns the images that have these coordinates."""
        return (
            coordinates
            if self.basis is None
            else torch.einsum("bjhw,ij->bihw", coordinates, self.basis)
        )

    def replace(self, x: Tensor, value: Tensor) -> Tensor:
        """Returns x with ``value`` in place of its known coordinates."""
        return self.compose(torch.where(self.mask > 0, value, self.coordinates(x)))


class Replacement:
    """Holds x to what is known: a hook of a sampler (:data:`methods.shared.samplers.Hook`).

    Args:
        process: Whose noise the known coordinates carry.
        known: What is known.
        published: As in the authors' code, the known coordinates carry the noise of the time that a
            step leaves, and start without any; and if the noise is left out at the end, it is in
            the known coordinates alone, so a sampler should run with ``last_noise``.
    """

    def __init__(self, process: Process, known: Known, *, published: bool = False) -> None:
        self.process = process
        self.known = known
        self.published = published

    def begin(self, prior: Tensor, noise: Noise) -> Tensor:
        """Returns x at t = 1 from the prior's draw."""
        known = self.known
        if not self.published:
            return self(prior, 1.0, 1.0, noise)
        # Theirs hides the prior's first channels in place of its known coordinates.
        return known.compose(known.value + known.coordinates(prior * (1 - known.mask)))

    def __call__(self, x: Tensor, t: float, s: float, noise: Noise) -> Tensor:
        """Returns x after an update from time t to time s."""
        at = time_like(x, t if self.published else s)
        mean, std = self.process.perturb(self.known.value, at)
        return self.known.replace(x, mean + std * noise.normal(x.shape))

    def finish(self, x: Tensor, t: float) -> Tensor:
        """Returns the last x with the known coordinates free of noise.

        Args:
            t: The time that the last step left.
        """
        value = self.known.value
        return self.known.replace(
            x, self.process.perturb(value, time_like(x, t))[0] if self.published else value
        )


Hold = Callable[[Tensor, float, Noise], Tensor]
"""Returns the state x at a time t with what is known of it in place, fresh noise drawn from a
stream.
"""


BETWEEN = MappingProxyType({"last_noise": True, "final": "none"})
"""Options of samplers for a step that is not their last."""


def hold_each(
    sampler: Callable[..., Tensor],
    x: Tensor,
    times: Tensor,
    noise: Noise,
    hold: Hold,
    options: Mapping[str, Any],
) -> Tensor:
    """Replacement after each step of any sampler that adds noise and remembers no earlier step.

    Args:
        sampler: Takes x, times and noise, and ``options``.
        x: The prior's draw.
        times: Decreasing, shape (K + 1,).
        hold: Puts what is known into a state.
        options: By name.
    """
    between = {name: BETWEEN.get(name, value) for name, value in options.items()}
    x = hold(x, times[0].item(), noise)
    for k, interval in enumerate(times.unfold(0, 2, 1), start=2):
        x = sampler(x, interval, noise, **(options if k == len(times) else between))
        x = hold(x, interval[1].item(), noise) if k < len(times) else x
    return x


def guided(
    score_fn: ScoreFn, log_prob: Callable[[Tensor, Tensor], Tensor], scale: float
) -> ScoreFn:
    r"""Returns :math:`\nabla \log p_t(x) + w \nabla_x \log p_t(c \mid x)`, the score given a class.

    Source: Song et al., 2021 (section 5, appendix I.1); the scale w: Dhariwal & Nichol, 2021,
    https://arxiv.org/abs/2105.05233 (section 4).

    Args:
        log_prob: The logarithm of the probability that each image of x, (B, C, H, W), at t, (B,),
            has its class; (B,).
        scale: w.
    """

    def score(x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            noisy = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_prob(noisy, t).sum(), noisy)
        return score_fn(x, t).add(gradient, alpha=scale)

    return score


def extrapolated(without: ScoreFn, of_class: ScoreFn, scale: float) -> ScoreFn:
    r"""Returns :math:`s + w (s_c - s)`, the score given a class without a classifier.

    By Bayes' rule :math:`s_c - s` is the gradient of :math:`\log p_t(c \mid x)`, so w is that of
    :func:`guided`; it costs two evaluations.

    Source: Ho & Salimans, 2022, https://arxiv.org/abs/2207.12598 (equation 6, whose w is ours less
    1).

    Args:
        without: s, the score of all images.
        of_class: s_c, that of the images of the class.
        scale: w; 1 is the score given the class, more goes beyond it.
    """
    return lambda x, t: torch.lerp(without(x, t), of_class(x, t), scale)


def restore(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    known: Known | None = None,
    conditioning: Literal["replace", "published"] = "replace",
    last_noise: bool = False,
    published: bool = False,
    **options: Any,
) -> Tensor:
    """Samples images that agree with what is known of them by a predictor and a corrector.

    Args:
        x: The prior's draw, shape (B, C, H, W).
        times: Decreasing, float64, shape (K + 1,).
        known: What is known; None for plain predictor-corrector sampling.
        conditioning: How it enters: by replacement, or by the authors' own ("published"): see
            :class:`Replacement`.
        last_noise: Whether the last step adds noise to what is unknown.
        published: Whether the times are the authors' (:func:`methods.shared.grids.published_grid`),
            and with them the coefficients for as many steps.
        options: The others of :func:`methods.shared.predictor_corrector.predictor_corrector`.
    """
    if published:
        options["published_steps"] = len(times) - 1
    if known is None:
        return predictor_corrector(
            process, score_fn, x, times, noise, last_noise=last_noise, **options
        )
    theirs = conditioning == "published"
    hook = Replacement(process, known, published=theirs)
    x = hook.begin(x, noise)
    x = predictor_corrector(
        process, score_fn, x, times, noise, last_noise=last_noise or theirs, hook=hook, **options
    )
    return x if theirs and last_noise else hook.finish(x, times[-2].item())
