"""The fast solvers (:mod:`methods.shared.solvers`) for diffusions with isotropic noise: VE, VP,
sub-VP.

Each takes the process, score_fn, the prior's draw x of shape (B, C, H, W), decreasing times of
shape (steps + 1,), noise, and the options of the solver of its name; it returns x at the last time.
"""

from functools import partial

from torch import Tensor

from methods.shared import solvers
from methods.shared.exponential import CleanFn, LinearProcess
from methods.shared.process import Process
from methods.shared.samplers import ScoreFn, denoise


class Isotropic(LinearProcess):
    """A scalar diffusion (:mod:`methods.shared.process`) as the integrator takes it."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        return (self.process.mean_coefficient(t) / self.process.mean_coefficient(s)).view(-1, 1, 1)

    def root(self, t: Tensor) -> Tensor:
        return self.process.std(t).view(-1, 1, 1)

    def log_ratio(self, t: Tensor) -> Tensor:
        return 0.5 * self.process.log_snr(t)


def linear(process: Process, score_fn: ScoreFn) -> tuple[Isotropic, CleanFn]:
    """Returns the process as the integrator takes it, and the mean of the image that a score
    tells.
    """
    return Isotropic(process), partial(denoise, process, score_fn)


ddim = solvers.bound(solvers.ddim, linear)
deis = solvers.bound(solvers.deis, linear)
dpm_solver_2m = solvers.bound(solvers.dpm_solver_2m, linear)
dpm_solver_3m = solvers.bound(solvers.dpm_solver_3m, linear)
sde_dpm_solver_2m = solvers.bound(solvers.sde_dpm_solver_2m, linear)
unipc = solvers.bound(solvers.unipc, linear)
