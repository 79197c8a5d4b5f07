r"""The exponential integrator of any linear diffusion: what is linear is solved exactly.

States follow :math:`du = F_t u\,dt + G_t\,dw`, every dimension by small matrices of its own or all
by the same. With the propagator :math:`\Psi(t, s)` and the covariance :math:`\Sigma_t` of
:math:`u_t` given the clean state, let :math:`R_t R_t^\top = \Sigma_t` be that root which follows

.. math:: \frac{dR}{dt} = \left(F + \tfrac12 G G^\top \Sigma^{-1}\right) R .

In :math:`u_t = \Psi(t, 0) u_0 + R_t \varepsilon` the noise :math:`\varepsilon` then stays what it
is along the probability flow of a single clean state, which for no other root it does (the Cholesky
factor of a coupled state turns against it). For any data the flow is, in terms of what is expected
of noise or clean state on the way,

.. math:: u_s &= \Psi(s, t) u_t + \int_t^s \hat\varepsilon_\tau \, d\left[\Psi(s, \tau)
R_\tau\right] ,
          \qquad \hat\varepsilon_t = R_t^{-1} \left(u_t - \Psi(t, 0) \hat u_{0,t}\right) , \\ u_s &=
          R_s R_t^{-1} u_t + \int_t^s R_s \, d\left[R_\tau^{-1} \Psi(\tau, 0)\right] \hat u_{0,\tau}
          , \qquad \hat u_{0,t} = \mathbb{E}[u_0 \mid u_t] .

With either held over the step both are :math:`u_s = \Psi(s, 0) \hat u_{0,t} + R_s
\hat\varepsilon_t`, for scalar matrices DDIM; with a polynomial through earlier ones they are
Adams-Bashforth methods, and with the one at s too an Adams-Moulton method, which corrects. The
second formula never takes :math:`\Psi` back in time, which for what a blur has wiped out grows
without bound. :mod:`methods.shared.solvers` has the published solvers that are cases of it.

Shapes: a state holds n parts side by side in its channels, (B, n C, H, W). Matrices are (..., n,
n), or (..., C, H, W, n, n) where dimensions differ; C, H and W may be 1 or, from the left, left
out. Time: t = 0 is data, t = 1 is noise.

Source: Zhang et al., 2022, https://arxiv.org/abs/2206.05564 (sections 3 and 4); Song et al., 2021,
https://arxiv.org/abs/2010.02502 (equation 16), for ``eta``.
Departures: ``eta`` scales the covariance of u_s given u_t and the clean state, as DDIM's does,
where gDDIM's lambda scales the noise of the reverse SDE; they agree at 0, at 1 and as steps become
short.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.method import Noise

CleanFn = Callable[[Tensor, float], Tensor]
"""The mean of the clean state u_0 given the state: (u of shape (B, n C, H, W), t) -> u's shape."""

Prediction = Literal["noise", "clean"]
"""What polynomials go through: the noise, or the clean state."""


def derivative_matrix(nodes: np.ndarray) -> np.ndarray:
    """Returns the matrix that takes a polynomial's values at nodes to its derivative's there."""
    gaps = nodes[:, None] - nodes + np.eye(len(nodes))
    scales = gaps.prod(1)
    matrix = scales[:, None] / scales / gaps
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, -matrix.sum(1))
    return matrix


NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
DERIVATIVE = derivative_matrix(NODES)


class LinearProcess(ABC):
    """A linear diffusion for the integrator; its functions take float64 times of shape (T,).

    Attributes:
        parts: How many parts a state has, n.
    """

    parts: int = 1

    @abstractmethod
    def propagator(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns Psi(t, s), float64 (T, ..., n, n), for s before t; for "noise" any s."""

    @abstractmethod
    def root(self, t: Tensor) -> Tensor:
        """Returns R(t), float64, (T, ..., n, n); a constant rotation from the right is free."""

    @abstractmethod
    def log_ratio(self, t: Tensor) -> Tensor:
        """Returns the logarithm of signal over noise, half the log-SNR, which falls in t; (T,)."""

    def gain(self, t: Tensor) -> Tensor:
        """Returns what the clean state counts in the mean of the state, (T, ..., n, n)."""
        return self.propagator(t, torch.zeros_like(t))

    def regression(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns the mean of the noise at s given that at t > s and the clean state, in units of
        the latter, (T, ..., n, n): what steps of the reverse SDE keep of it.
        """
        return product(self.root(s).mT, self.propagator(t, s).mT, inverse(self.root(t)).mT)


class Interpolation(NamedTuple):
    """The polynomial that stands for predictions over a step.

    Args:
        order: Predictions that it goes through, the step's own included; the first steps have
            fewer, and so have those that an infinite or unchanged ``variable`` bounds.
        prediction: What they are; at order 1 it is all the same.
        variable: In which it is a polynomial: the time, or the logarithm of signal over noise.
        integral: Exact, or with the polynomial held at its value in the ``middle`` of the step.
        corrector: Whether each state is corrected, once its prediction is known, by a polynomial
            through that one too; without another evaluation, so the last state is not.
    """

    order: int = 1
    prediction: Prediction = "clean"
    variable: Literal["t", "log_ratio"] = "log_ratio"
    integral: Literal["exact", "middle"] = "exact"
    corrector: bool = False


class Step(NamedTuple):
    """u_s = kept u_t + sum of clean x clean states + sum of noise x noises + spread z.

    Args:
        kept: Matrix of the state at the step's start, float64 of shape (..., n, n), as all.
        clean: Those of the clean states, the latest first.
        noise: Those of the noises, likewise.
        spread: That of fresh noise.
    """

    kept: Tensor
    clean: list[Tensor]
    noise: list[Tensor]
    spread: Tensor


def integrate(
    process: LinearProcess,
    clean_fn: CleanFn,
    u: Tensor,
    times: Tensor,
    noise: Noise | None,
    interpolation: Interpolation,
    *,
    eta: float = 0.0,
    last_noise: bool = False,
) -> Tensor:
    """Returns the state at the last time, from u at the first; one network evaluation per step.

    Args:
        u: Shape (B, n C, H, W).
        times: Decreasing, float64 of shape (steps + 1,), all but the last above 0.
        noise: What ``eta`` draws from, once a noisy step.
        interpolation: What stands for predictions over a step.
        eta: Standard deviation of the fresh noise in units of that of u_s given u_t and the clean
            state. Above order 1 with integral "middle" alone.
        last_noise: Whether the last step adds noise too, where eta does.

    Raises:
        ValueError: Fresh noise goes with another interpolation.
    """
    if eta > 0 and interpolation.order > 1 and interpolation.integral == "exact":
        raise ValueError("eta adds noise to steps of order 1, or of integral middle")
    order, clock, before = interpolation.order, times.tolist(), u
    cleans: list[Tensor] = []
    noises: list[Tensor] = []
    for k, (t, s) in enumerate(pairwise(clock)):
        cleans = [clean_fn(u, t), *cleans][: order + interpolation.corrector]
        nodes = clock[k::-1]
        if interpolation.corrector and k > 0:
            corrected = step(process, clock[k - 1], t, nodes[: order + 1], interpolation)
            u = _applied(corrected, before, cleans, noises)
        if interpolation.prediction == "noise":
            noises = [_noise(process, t, u, cleans[0]), *noises][:order]
        before, coefficients = u, step(process, t, s, nodes[:order], interpolation, eta)
        u = _applied(coefficients, u, cleans, noises)
        if eta > 0 and (last_noise or k < len(clock) - 2):
            assert noise is not None  # what eta draws from
            u = u + apply(coefficients.spread, noise.normal(u.shape))
    return u


def step(
    process: LinearProcess,
    t: float,
    s: float,
    nodes: Sequence[float],
    interpolation: Interpolation,
    eta: float = 0.0,
) -> Step:
    """Returns the coefficients of a step from t to s.

    Args:
        nodes: Times of the predictions that a polynomial goes through, the latest first: t and
            those before, or s too.
    """
    ends = torch.tensor([t, s], dtype=torch.float64)
    gain, root = process.gain(ends), process.root(ends)
    fresh, kept = torch.zeros_like(root[1]), product(root[1], inverse(root[0]))
    if eta > 0:
        old, new = _shares(process.regression(ends[:1], ends[1:])[0], eta)
        kept, fresh = product(root[1], old, inverse(root[0])), product(root[1], new)
    held, basis = product(kept, gain[0]), _Lagrange(process, interpolation.variable, t, s, nodes)
    clean = [gain[1] - held]
    if interpolation.prediction == "noise":
        if len(basis) == 1:
            return Step(kept, clean, [], fresh)
        # The step above has Psi(s, t) u_t with the present noise at the step's end already.
        weights = basis.integrals(lambda tau: _carried_noise(process, s, tau), root[1], root[1])
        return Step(kept, clean, weights, fresh)
    if interpolation.integral == "middle":
        clean = [value * clean[0] for value in basis.middle]
    elif len(basis) > 1:
        clean = basis.integrals(lambda tau: _carried_clean(process, s, tau), held, gain[1])
    return Step(kept, clean, [], fresh)


def product(*matrices: Tensor) -> Tensor:
    """Returns the product of matrices (..., n, n), as one of numbers if n is 1."""
    single = matrices[0].shape[-1] == 1
    return reduce(operator.mul if single else operator.matmul, matrices)


def inverse(matrix: Tensor) -> Tensor:
    """Returns the inverses of matrices (..., n, n)."""
    return 1 / matrix if matrix.shape[-1] == 1 else torch.linalg.inv(matrix)


def apply(matrix: Tensor, u: Tensor) -> Tensor:
    """Returns the matrix, (..., n, n), times the n parts of states."""
    if matrix.numel() == 1:
        return matrix.item() * u
    count, matrix, zero = matrix.shape[-1], matrix.to(u), torch.zeros(())
    parts = u.chunk(count, 1)
    rows = [sum((matrix[..., i, j] * parts[j] for j in range(count)), zero) for i in range(count)]
    return torch.cat(rows, 1)


class _Lagrange:
    """Lagrange's polynomials of those nodes that a step can use, 1 at one of them and 0 at others.

    Those that follow an infinite value of the variable, or one that does not change, are left out.
    """

    def __init__(
        self, process: LinearProcess, variable: str, t: float, s: float, nodes: Sequence[float]
    ) -> None:
        self.t, self.s = t, s
        self.variable = process.log_ratio if variable == "log_ratio" else lambda time: -time
        self.start, self.end, *values = self._values([t, s, *nodes]).tolist()
        count = 1
        if -math.inf < self.start < self.end < math.inf:
            while count < len(values) and -math.inf < values[count] < values[count - 1]:
                count += 1
        # From the start, so that close nodes lose no digits.
        self.places = [value - self.start for value in values[:count]] if count > 1 else [0.0]
        self.width = self.end - self.start if count > 1 else 0.0

    def __len__(self) -> int:
        return len(self.places)

    @property
    def middle(self) -> list[float]:
        """The polynomials' values in the middle of the step."""
        return self._at(0.5 * self.width)

    def integrals(
        self, function: Callable[[Tensor], Tensor], first: Tensor, last: Tensor
    ) -> list[Tensor]:
        r"""Returns :math:`\int_t^s \ell \, dA` for each polynomial and a matrix A of the time.

        By parts, :math:`\ell(s) A(s) - \ell(t) A(t) - \int \ell' A`, with quadrature in the
        logarithm of the time, in which roots are smooth down to t = 0 (in the time if s is 0).

        Args:
            function: A, of times of shape (T,).
            first, last: Its values at t and s.
        """
        nodes, between = torch.from_numpy(NODES), 0.5 * self.t * (1 - torch.from_numpy(NODES))
        if self.s > 0:
            between = self.t * (self.s / self.t) ** (0.5 * (1 + nodes))
        values = self._values(between).numpy() - self.start
        slopes = self._slopes(values) * (WEIGHTS * (DERIVATIVE @ values))
        inside = torch.tensordot(torch.from_numpy(slopes), function(between), dims=1)
        ends = zip(self._at(0.0), self._at(self.width), strict=True)
        return [at_s * last - at_t * first - inside[j] for j, (at_t, at_s) in enumerate(ends)]

    def _values(self, times: Sequence[float] | Tensor) -> Tensor:
        return self.variable(torch.as_tensor(times, dtype=torch.float64))

    def _at(self, value: float) -> list[float]:
        """Returns the polynomials at a value of the variable, from the start of the step."""
        return [
            math.prod((value - other) / (own - other) for other in others)
            for own, others in self._pairs()
        ]

    def _slopes(self, values: np.ndarray) -> np.ndarray:
        """Returns their derivatives at values of the variable, shape (polynomials, values)."""
        rows = []
        for own, others in self._pairs():
            row = np.zeros_like(values)
            for k in range(len(others)):
                rest = [values - other for other in others[:k] + others[k + 1 :]]
                row += math.prod(rest, start=np.ones_like(values))
            rows.append(row / math.prod(own - other for other in others))
        return np.array(rows)

    def _pairs(self) -> list[tuple[float, list[float]]]:
        """Returns each node with the others."""
        places = self.places
        return [(own, places[:j] + places[j + 1 :]) for j, own in enumerate(places)]


def _carried_clean(process: LinearProcess, s: float, tau: Tensor) -> Tensor:
    """Returns R_s R^-1 Psi(., 0) at times of shape (T,)."""
    return product(process.root(tau.new_tensor([s])), inverse(process.root(tau)), process.gain(tau))


def _carried_noise(process: LinearProcess, s: float, tau: Tensor) -> Tensor:
    """Returns Psi(s, .) R at times of shape (T,)."""
    return product(process.propagator(torch.full_like(tau, s), tau), process.root(tau))


def _noise(process: LinearProcess, t: float, u: Tensor, clean: Tensor) -> Tensor:
    """Returns the noise that a state and its clean state tell."""
    time = torch.tensor([t], dtype=torch.float64)
    gain, root = process.gain(time)[0], process.root(time)[0]
    return apply(inverse(root), u - apply(gain, clean))


def _applied(step: Step, u: Tensor, cleans: list[Tensor], noises: list[Tensor]) -> Tensor:
    """Returns the step's state but for fresh noise; there may be more predictions than weights."""
    terms = [*zip(step.clean, cleans, strict=False), *zip(step.noise, noises, strict=False)]
    return apply(step.kept, u) + sum(apply(weight, state) for weight, state in terms)


def _shares(regression: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Returns the symmetric (K, Q) with K^2 + Q^2 = 1 that make the noise at the end of a step of
    old and fresh noise.

    Q^2 is eta^2 times the covariance of the noise at the end, in units of its root, given that at
    the start.
    """
    if regression.shape[-1] == 1:
        fresh = eta**2 * (1 - regression.square()).clamp(0, 1)
        return (1 - fresh).sqrt(), fresh.sqrt()
    one = torch.eye(regression.shape[-1], dtype=regression.dtype).expand_as(regression)
    values, basis = torch.linalg.eigh(one - regression @ regression.mT)
    fresh = eta**2 * values.clamp(0, 1)
    return tuple((basis * share.sqrt()[..., None, :]) @ basis.mT for share in (1 - fresh, fresh))
