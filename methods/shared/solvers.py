r"""The published fast solvers, each a case of the exponential integrator
(:mod:`methods.shared.exponential`).

====================  ==========  ===========  =========  ========================================
solver                prediction  polynomial   integral   of order
====================  ==========  ===========  =========  ========================================
ddim                  (held)                   exact      1
deis                  noise       in t         exact      2 to 4
dpm_solver_2m         clean       in log SNR   middle     2
dpm_solver_3m         clean       in log SNR   exact      3
sde_dpm_solver_2m     clean       in log SNR   middle     2, weakly: with the noise of ancestral
                                                          sampling
unipc                 clean       in log SNR   exact      3 and 4: 2 and 3, and one by correcting
====================  ==========  ===========  =========  ========================================

A solver takes a linear process, the mean of the clean state given the state, the prior's draw u of
shape (B, n C, H, W) and decreasing times of shape (steps + 1,), and returns u at the last time. A
step costs one network evaluation. All are exact, in however few steps, if the clean state is the
same everywhere. The first steps, which have fewer predictions behind them, are of lower order.

Source: Song et al., 2021, https://arxiv.org/abs/2010.02502 (equations 12 and 16), DDIM; Zhang et
al., 2022, https://arxiv.org/abs/2206.05564, gDDIM, which is DDIM for coupled states; Zhang and
Chen, 2023, https://arxiv.org/abs/2204.13902 (section 3), DEIS; Lu et al., 2022,
https://arxiv.org/abs/2211.01095 (algorithm 2, section 5 and appendix A), DPM-Solver++; Zhao et al.,
2023, https://arxiv.org/abs/2302.04867 (algorithms 1 and 2), UniPC.
Departures: the last step is of the order of the others. The system that UniPC solves for its
coefficients has the exact integrals of the polynomial as its solution whatever its function B(h),
so there is none here. DPM-Solver++(3M) is the exact integral of the parabola too.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from bench.method import Noise
from methods.shared.exponential import (
    CleanFn,
    Interpolation,
    LinearProcess,
    Prediction,
    integrate,
)

Linear = Callable[[Any, Any], tuple[LinearProcess, CleanFn]]
"""What a solver takes of a method's process and network: (process, model_fn) -> the two."""


def ddim(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    eta: float = 0.0,
    last_noise: bool = False,
) -> Tensor:
    """Holds image and noise over a step: DDIM, of coupled states gDDIM.

    Args:
        eta: Standard deviation of fresh noise in units of that of u_s given u_t and the clean
            state: 0 is the probability flow, 1 ancestral sampling.
        last_noise: Whether the last step adds noise too, where eta does.
    """
    return integrate(
        process, clean_fn, u, times, noise, Interpolation(), eta=eta, last_noise=last_noise
    )


def deis(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    order: int = 3,
    prediction: Prediction = "noise",
) -> Tensor:
    """Takes the noise for a polynomial in t (tAB-DEIS).

    Args:
        order: Evaluations that a step uses, its own included.
        prediction: What polynomials go through: DEIS's noise, or the clean state.
    """
    return integrate(process, clean_fn, u, times, noise, Interpolation(order, prediction, "t"))


def dpm_solver_2m(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
) -> Tensor:
    """Takes the clean state for linear in the log-SNR, at its value in the middle of a step."""
    middle = Interpolation(2, integral="middle")
    return integrate(process, clean_fn, u, times, noise, middle)


def dpm_solver_3m(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
) -> Tensor:
    """Takes the clean state for a parabola in the log-SNR."""
    return integrate(process, clean_fn, u, times, noise, Interpolation(3))


def sde_dpm_solver_2m(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    last_noise: bool = False,
) -> Tensor:
    """Takes the step of :func:`dpm_solver_2m` along the reverse SDE.

    Args:
        noise: Drawn from once a noisy step.
        last_noise: Whether the last step adds noise too.
    """
    middle = Interpolation(2, integral="middle")
    return integrate(process, clean_fn, u, times, noise, middle, eta=1.0, last_noise=last_noise)


def unipc(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None = None,
    *,
    order: int = 3,
) -> Tensor:
    """Predicts with a polynomial in the log-SNR, and corrects with one through that prediction too.

    The prediction made at a predicted state serves its correction and the next step, so a step
    costs one evaluation, and the last state is not corrected.

    Args:
        order: Evaluations that a step uses, its own included; corrected it is of one order more.
    """
    return integrate(process, clean_fn, u, times, noise, Interpolation(order, corrector=True))


def bound(solver: Callable[..., Tensor], linear: Linear) -> Callable[..., Tensor]:
    """Returns a solver as the function of a method's sampler, which takes process and network."""

    @wraps(solver)
    def sampler(
        process: Any, model_fn: Any, x: Tensor, times: Tensor, noise: Any = None, **options: Any
    ) -> Tensor:
        return solver(*linear(process, model_fn), x, times, noise, **options)

    return sampler
