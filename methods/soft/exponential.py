"""The fast solvers (:mod:`methods.shared.solvers`) for corruptions that are diagonal in a basis.

In it every coordinate is scaled by a factor of its own, and meets equal noise: a linear diffusion.
What a blur or a mask wipes out has no way back, so polynomials go through the clean image alone
(the solver deis takes those through the noise for corruptions that wipe out nothing).

Each takes the corruption, the denoiser, the prior's draw x of shape (B, C, H, W), decreasing times
of shape (steps + 1,), noise, ``final`` (:data:`methods.soft.samplers.Final`), and the options of
the solver of its name; it returns x at the last time.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from bench.method import Noise
from methods.shared import solvers
from methods.shared.exponential import LinearProcess
from methods.shared.process import time_like
from methods.soft.corruption import Corruption
from methods.soft.denoiser import Denoiser
from methods.soft.operator import Diagonal
from methods.soft.samplers import Final, finish


class Spectral(LinearProcess):
    """A corruption as the integrator takes it, in the basis in which its operator is diagonal.

    Raises:
        ValueError: There is no such basis, or the corruption switches at once.
    """

    def __init__(self, corruption: Corruption) -> None:
        if not isinstance(corruption.operator, Diagonal) or not corruption.differentiable:
            raise ValueError(
                "exponential integrators need a corruption that is diagonal in one basis and "
                "changes smoothly: take ddim"
            )
        self.corruption = corruption
        self.operator = corruption.operator

    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        return self.gain(t) / self.gain(s)

    def gain(self, t: Tensor) -> Tensor:
        return self.operator.eigenvalues(t)[..., None, None]

    def root(self, t: Tensor) -> Tensor:
        return self.corruption.std(t).view(-1, 1, 1, 1, 1, 1)

    def log_ratio(self, t: Tensor) -> Tensor:
        return 0.5 * self.corruption.log_snr(t)

    def regression(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns that of the SDE whose steps of order 1 are ancestral sampling."""
        return self.root(s) / self.root(t)


def _of_images(solver: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns the solver as a sampler of images."""

    @wraps(solver)
    def sampler(
        corruption: Corruption,
        denoiser: Denoiser,
        x: Tensor,
        times: Tensor,
        noise: Noise | None = None,
        *,
        final: Final = "none",
        **options: Any,
    ) -> Tensor:
        process = Spectral(corruption)
        enter, leave = process.operator.to_basis, process.operator.from_basis

        def clean(u: Tensor, t: float) -> Tensor:
            image = leave(u).to(x.dtype)
            return enter(denoiser(image, time_like(image, t)))

        u = solver(process, clean, enter(x), times.double(), noise, **options)
        return finish(denoiser, leave(u).to(x.dtype), times[-1].item(), final)

    return sampler


deis = _of_images(solvers.deis)
dpm_solver_2m = _of_images(solvers.dpm_solver_2m)
dpm_solver_3m = _of_images(solvers.dpm_solver_3m)
sde_dpm_solver_2m = _of_images(solvers.sde_dpm_solver_2m)
unipc = _of_images(solvers.unipc)
