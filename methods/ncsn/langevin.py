r"""Annealed Langevin dynamics: Langevin steps at falling noise levels.

At level :math:`\sigma_i` of :math:`\sigma_1 > \dots > \sigma_L` each of T steps is

.. math:: x \leftarrow x + \alpha_i \nabla \log p_{\sigma_i}(x) + \sqrt{2 \alpha_i}\, z , \qquad
          \alpha_i = \epsilon\, \sigma_i^2 / \sigma_L^2 ,

whose distribution nears :math:`p_{\sigma_i}`, the data's with noise of that level; one level alone
is plain Langevin dynamics. NCSNv2 ends with the mean of the clean image given the last
(``denoise``).

Here ``score_fn(x, sigma)`` is the gradient of the log-density, sigma of shape (B,). A step costs
one evaluation of it.

Shapes: B images, x is (B, C, H, W). Time: t = 1 is the first, largest level, t = 0 the last.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600 (algorithm 1; algorithm 2 for
inpainting); Song & Ermon, 2020, https://arxiv.org/abs/2006.09011 (algorithm 1, appendix B.2 for
interpolation).
Departures: the size of a step is what multiplies the score, as in the authors' code, where the
paper has half of it (``convention``); the last update is returned, which NCSN's code makes but
leaves out (``returned``); in inpainting what is known ends as it is given.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.controllable import Known

LevelScore = Callable[[Tensor, Tensor], Tensor]
"""The gradient of the log-density at a noise level: (x of shape (B, C, H, W), sigma of shape (B,))
-> x's shape.
"""


def annealed_langevin(
    score_fn: LevelScore,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    *,
    steps_each: int,
    step_lr: float,
    convention: Literal["code", "paper"] = "code",
    denoise: bool = True,
    returned: Literal["last", "published"] = "last",
    known: Known | None = None,
    conditioning: Literal["step", "level"] = "step",
) -> Tensor:
    r"""Samples by Langevin steps at each of the levels in turn.

    Args:
        x: Where the chain starts, shape (B, C, H, W).
        sigmas: The levels in their order, float64, shape (L,).
        noise: Drawn once a step, after what is drawn for known pixels.
        steps_each: Steps at each level, T.
        step_lr: Step size at the last level, :math:`\epsilon`.
        convention: Whether :math:`\epsilon` is the factor of the score ("code") or twice it
            ("paper": the step is :math:`\alpha_i / 2` times the score and :math:`\sqrt{\alpha_i}
            z`).
        denoise: Whether to end with the mean of the clean image given x, one more evaluation.
        returned: The last x, or as in NCSN's code the one before it, clamped to [0, 1]; then the
            update that would be left out is not made.
        known: What is known of the images; at each level it is given the noise of that level.
        conditioning: Whether what is known is noised anew at each step (NCSNv2) or once for a level
            (NCSN).

    Raises:
        ValueError: ``denoise`` with ``returned`` "published", which have different ends.
    """
    if denoise and returned == "published":
        raise ValueError(
            "the published sampler does not denoise: returned published goes with denoise false"
        )
    factor = step_lr if convention == "code" else step_lr / 2
    levels, evaluated = sigmas.tolist(), len(sigmas) * steps_each
    for k in range(evaluated):
        sigma = levels[k // steps_each]
        if known is not None:
            if k % steps_each == 0 or conditioning == "step":
                corrupted = known.value + sigma * noise.normal(x.shape)
            x = known.replace(x, corrupted)
        if returned == "published" and k == evaluated - 1:
            return x.clamp(0, 1)
        alpha = factor * (sigma / levels[-1]) ** 2
        x = x.add(_score(score_fn, x, sigma), alpha=alpha).add_(
            noise.normal(x.shape), alpha=math.sqrt(2 * alpha)
        )
    if denoise:
        x = x.add(_score(score_fn, x, levels[-1]), alpha=levels[-1] ** 2)
    return x if known is None else known.replace(x, known.value)


def langevin(
    score_fn: LevelScore,
    x: Tensor,
    sigma: float,
    noise: Noise,
    *,
    steps: int,
    step_lr: float,
    denoise: bool = True,
) -> Tensor:
    """Samples by Langevin steps of size ``step_lr`` at one noise level: annealing's baseline."""
    level = torch.tensor([sigma], dtype=torch.float64)
    return annealed_langevin(
        score_fn, x, level, noise, steps_each=steps, step_lr=step_lr, denoise=denoise
    )


class Arc:
    r"""A noise source whose draws come in rows of ``count`` that go from one draw p to another, q.

    .. math:: z_k = \cos(\theta_k) p + \sin(\theta_k) q , \qquad \theta_k = 0, \dots, \pi / 2

    Each is standard normal, and neighbours are close. With it a sampler gives rows of images that
    go over into each other, if it starts from equal x along a row.

    Args:
        noise: Where p and q come from: two draws of a row's first dimension a time.
        count: Images in a row, at least 2.
    """

    def __init__(self, noise: Noise, count: int) -> None:
        self.noise = noise
        self.angles = torch.linspace(0, math.pi / 2, count, dtype=torch.float64)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Returns draws of shape (B, ...), where B is a multiple of the images in a row."""
        rows = (shape[0] // len(self.angles), 1, *shape[1:])
        p, q = (self.noise.normal((rows[0], *rows[2:])).view(rows) for _ in range(2))
        cos, sin = (
            f(self.angles).to(p).view(1, -1, *[1] * (len(shape) - 1))
            for f in (torch.cos, torch.sin)
        )
        return (cos * p + sin * q).view(tuple(shape))


def _score(score_fn: LevelScore, x: Tensor, sigma: float) -> Tensor:
    return score_fn(x, torch.full((len(x),), sigma, dtype=x.dtype, device=x.device))
