r"""Predictor-corrector sampling: steps of the reverse SDE, and Langevin steps that correct the
marginal at each time.

At a time t a corrector takes steps of Langevin dynamics, which leave :math:`p_t` as it is but for
their length,

.. math:: x \leftarrow x + \epsilon \nabla \log p_t(x) + \sqrt{2 \epsilon}\, z, \qquad
          \epsilon = 2 \alpha \left(r \frac{\|z\|}{\|\nabla \log p_t(x)\|}\right)^2
          \;\text{(langevin)}, \qquad \epsilon = 2 \alpha (r s_t)^2 \;\text{(ald)},

with the signal-to-noise ratio r and :math:`\alpha = a^2` of the forward step (a, v) that the
predictor undoes next: 1 for VE, 1 - beta for VP and, the same way, for sub-VP.

Shapes: B images, x is (B, C, H, W). Time: t = 0 is data, t = 1 is noise.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (section 4.2, algorithms 1 to 5); "ald"
is the step of Song & Ermon, 2019, https://arxiv.org/abs/1907.05600.
Departures: norms are those of each image, where the authors take their mean over the batch
(``norms="batch"``). A step that depends on its image and its own noise does not leave :math:`p_t`
as it is, however short: the chain keeps :math:`p_t^{d / (d + 2)} \|\nabla \log p_t\|^2` in d
dimensions, of a Gaussian a variance :math:`(1 + 2 / d)^2` too large. That is 56 % in 8 dimensions,
6 % in 64 and 0.1 % in 3,072: in few dimensions take "batch" or "ald". See
:mod:`methods.shared.samplers` for ``last_noise`` and ``published_steps``.
"""

import math
from typing import Literal

from torch import Tensor
from torch.linalg import vector_norm

from bench.method import Noise
from methods.shared.process import Process
from methods.shared.samplers import (
    Hook,
    ScoreFn,
    Variance,
    ancestral_steps,
    euler_maruyama_steps,
    reverse_diffusion_steps,
    step,
    transitions,
)

Predictor = Literal["euler_maruyama", "reverse_diffusion", "ancestral", "none"]
Corrector = Literal["langevin", "ald", "none"]
Norms = Literal["image", "batch"]


def predictor_corrector(
    process: Process,
    score_fn: ScoreFn,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    predictor: Predictor = "reverse_diffusion",
    corrector: Corrector = "langevin",
    snr: float = 0.16,
    corrector_steps: int = 1,
    norms: Norms = "image",
    first: Literal["corrector", "predictor"] = "corrector",
    variance: Variance = "posterior",
    probability_flow: bool = False,
    last_noise: bool = False,
    published_steps: int = 0,
    hook: Hook | None = None,
) -> Tensor:
    """Goes down the times by a predictor, with a corrector's steps at each of them.

    K steps cost K evaluations of the predictor and ``corrector_steps`` for each time that is
    corrected: K times, but K - 1 if the predictor goes first and ends noise-free, since a
    correction would put the noise back.

    Args:
        x: The prior's draw, shape (B, C, H, W).
        times: Decreasing, float64, shape (K + 1,).
        predictor: A sampler of :mod:`methods.shared.samplers`, or none: Langevin dynamics alone.
        corrector: The rule for the length of a Langevin step, or none.
        snr: r, the signal-to-noise ratio of a corrector's step.
        corrector_steps: Langevin steps at each time.
        norms: Of "langevin": of each image, which is wrong in few dimensions (see the module), or
            their mean over the batch, which makes an image depend on its batch.
        first: Whether a time is corrected before it is left, as in the authors' code, or once it is
            reached, as in the paper's algorithm 1. A corrector alone stands at the times that a
            predictor would reach.
        variance: Of the ancestral predictor: see :func:`methods.shared.samplers.ancestral`.
        probability_flow: Half the score and no noise in the predictor; not for ancestral steps.
        last_noise: Whether the predictor's last step adds noise too. A corrector always does.
        published_steps: Above 0, the authors' coefficients for that many steps, in the corrector
            too; a corrector alone then stands at times[:-1], as theirs.
        hook: Called after each step of the predictor, and after the corrector's steps at each time,
            be they none.

    Raises:
        ValueError: Both are none, or the authors' coefficients do not exist.
    """
    if predictor == corrector == "none":
        raise ValueError("predictor and corrector are both none: nothing is left to do")
    if probability_flow and predictor == "ancestral":
        raise ValueError("ancestral steps have no probability flow; ddim is their noise-free form")
    alone = predictor == "none"
    before = published_steps > 0 if alone else first == "corrector"
    moves = _predictor_moves(process, times, predictor, variance, probability_flow, published_steps)
    stands = times[:-1] if before else times[1:]
    lengths = _lengths(process, times, stands, corrector, snr, published_steps)
    corrections = 0 if corrector == "none" else corrector_steps
    ratio = norms if corrector == "langevin" else None
    x, passed = x.clone(), times.tolist()
    images = times.to(x).unsqueeze(1).repeat(1, len(x)).unbind()  # the times for each image
    ends = 0 if alone or last_noise else len(lengths)
    for k, length in enumerate(lengths, start=1):
        t, s = passed[k - 1 : k + 1]
        if before:
            _correct(score_fn, x, images[k - 1], noise, length, ratio, corrections)
            x = x if hook is None else hook(x, t, t, noise)
        if not alone:
            step(score_fn, x, images[k - 1], noise, moves[k - 1], k != ends)
            x = x if hook is None else hook(x, t, s, noise)
        if not before and k != ends:
            _correct(score_fn, x, images[k], noise, length, ratio, corrections)
            x = x if hook is None else hook(x, s, s, noise)
    return x


def _predictor_moves(
    process: Process,
    times: Tensor,
    predictor: Predictor,
    variance: Variance,
    probability_flow: bool,
    published: int,
) -> list[tuple[float, float, float]]:
    """Returns (scale, slope, std) of each of the predictor's steps."""
    if predictor == "none":
        return []
    if predictor == "ancestral":
        steps = ancestral_steps(process, times, published, variance=variance)
    else:
        tables = {
            "euler_maruyama": euler_maruyama_steps,
            "reverse_diffusion": reverse_diffusion_steps,
        }
        steps = tables[predictor](process, times, published, probability_flow=probability_flow)
    return list(zip(*(table.tolist() for table in steps), strict=True))


def _lengths(
    process: Process,
    times: Tensor,
    stands: Tensor,
    corrector: Corrector,
    snr: float,
    published: int,
) -> list[float]:
    """Returns the corrector's step at each of its times; "langevin" lacks the ratio of norms."""
    if corrector == "none":
        return [0.0] * len(stands)
    a, _ = transitions(process, times, published)
    lengths = 2 * a.square() * snr**2
    return (lengths * process.std(stands).square() if corrector == "ald" else lengths).tolist()


def _correct(
    score_fn: ScoreFn,
    x: Tensor,
    time: Tensor,
    noise: Noise,
    length: float,
    norms: Norms | None,
    count: int,
) -> None:
    """Moves x, in its place, by ``count`` Langevin steps, ``length`` times the ratio of norms if
    given.
    """
    axes = tuple(range(1, x.dim()))
    for _ in range(count):
        score, z = score_fn(x, time), noise.normal(x.shape)
        if norms is None:
            x.add_(score, alpha=length).add_(z, alpha=math.sqrt(2 * length))
            continue
        of_z = vector_norm(z, dim=axes, keepdim=True)
        of_score = vector_norm(score, dim=axes, keepdim=True)
        if norms == "batch":
            of_z, of_score = of_z.mean(), of_score.mean()
        epsilon = (of_z / of_score).square_().mul_(length)
        x.addcmul_(epsilon, score).addcmul_((epsilon + epsilon).sqrt_(), z)
