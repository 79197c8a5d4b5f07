"""The order of convergence of every fast solver on every linear process, without any randomness.

    python tests/support/solver_order.py    # writes orders.csv and orders.png of its results folder

Of Gaussian data the mean of the clean state given the state is known, and a solver's output is an
affine function of its start and its draws. One call in which each image of the batch has one of
these 1 and all others 0 therefore tells mean and covariance of the output exactly; started from the
true distribution, their distance from the true ones is the solver's own error.

Steps are even in the solver's own variable (the log-SNR, or t for DEIS), between times far from
where a variable is infinite; the first interval is halved until the first steps, which are of lower
order in every multistep method, do not show.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

if __name__ == "__main__":  # of this checkout, whatever is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd
import seaborn
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from bench.report.figures.style import LINE, MARKERS, theme
from methods.cld import exponential as cld
from methods.cld import samplers as cld_samplers
from methods.cld.process import CLD
from methods.shared import flow, solvers
from methods.shared.exponential import LinearProcess
from methods.shared.isotropic import Isotropic
from methods.shared.process import VE, VP, SubVP
from methods.soft import flow as soft_flow
from methods.soft.corruption import Corruption
from methods.soft.exponential import Spectral
from methods.soft.operator import Blur, Mask, Scaling
from methods.soft.schedule import Geometric, Linear

FOLDER = Path(__file__).resolve().parents[2] / "results" / "solver_order"
STEPS = (60, 120)
"""Between which an order is measured."""
PATH = (15, 30, *STEPS)
HALVINGS = 10
SIDE = 2
MEAN = torch.tensor([0.3, -0.2, 0.0, 0.5], dtype=torch.float64).view(SIDE, SIDE)
VARIANCE = torch.tensor([0.05, 0.2, 0.5, 1.0], dtype=torch.float64).view(SIDE, SIDE)


@dataclass(frozen=True)
class Problem:
    """A process between two times, t at first and s at last, and what solvers of its own take."""

    process: LinearProcess
    own: object
    t: float
    s: float
    prediction: str = "noise"


@dataclass(frozen=True)
class Case:
    """A solver, and the order that it should have.

    Args:
        variable: In which its steps are even.
        kind: What it takes: a linear process ("linear"), or a process with the function that is
            its own.
    """

    solver: Callable[..., Tensor]
    order: int
    variable: str = "log_ratio"
    noisy: bool = False
    kind: str = "linear"


def _mask() -> Corruption:
    """Fades pixels at different rates, without a kink between the times."""
    onsets = torch.tensor([[-0.3, -0.2], [-0.1, -0.05]], dtype=torch.float64)
    return Corruption(Mask(onsets, 1.4, 0.02), Geometric(0.05, 1.0))


SHAPE = (1, SIDE, SIDE)
STRAIGHT = Corruption(Scaling(Linear(1.0, 0.0)), Linear(0.0, 1.0))
BLUR = Corruption(Blur(SHAPE, Linear(0.0, 1.0)), Geometric(0.05, 1.0))
MASK = _mask()
PROBLEMS = {
    "VE": Problem(Isotropic(VE(0.01, 20.0)), VE(0.01, 20.0), 0.7, 0.45),
    "VP": Problem(Isotropic(VP()), VP(), 0.6, 0.25),
    "sub-VP": Problem(Isotropic(SubVP()), SubVP(), 0.6, 0.25),
    "straight": Problem(Spectral(STRAIGHT), STRAIGHT, 0.8, 0.35),
    "blur": Problem(Spectral(BLUR), BLUR, 0.8, 0.35, "clean"),
    "mask": Problem(Spectral(MASK), MASK, 0.8, 0.35, "clean"),
    "CLD": Problem(cld.Damped(CLD()), CLD(), 0.7, 0.3, "clean"),
}
LINEAR = {
    "ddim": Case(solvers.ddim, 1),
    "ddim eta 1": Case(partial(solvers.ddim, eta=1.0, last_noise=True), 1, noisy=True),
    **{f"deis {n}": Case(partial(solvers.deis, order=n), n, "t") for n in (2, 3, 4)},
    "dpm_solver_2m": Case(solvers.dpm_solver_2m, 2),
    "dpm_solver_3m": Case(solvers.dpm_solver_3m, 3),
    "sde_dpm_solver_2m": Case(partial(solvers.sde_dpm_solver_2m, last_noise=True), 2, noisy=True),
    "unipc 2": Case(partial(solvers.unipc, order=2), 3),
    "unipc 3": Case(partial(solvers.unipc, order=3), 4),
}


def own_cases(problem: Problem) -> dict[str, Case]:
    """Returns Heun's method on the problem, and EDM's stochastic sampler if it has one."""
    if isinstance(problem.own, CLD):
        return {"flow_heun": Case(cld_samplers.flow_heun, 2, "t", kind="velocity score")}
    if isinstance(problem.own, Corruption):
        return {"flow_heun": Case(soft_flow.flow_heun, 2, "t", kind="denoiser")}
    stochastic = partial(flow.edm_stochastic, churn=1.0)
    return {
        "flow_heun": Case(flow.flow_heun, 2, kind="score"),
        "edm_stochastic": Case(stochastic, 2, noisy=True, kind="score"),
    }


def cases() -> list[tuple[str, str]]:
    """Returns every pair of a process and a solver, by name."""
    return [
        (name, solver)
        for name, problem in PROBLEMS.items()
        for solver in (*LINEAR, *own_cases(problem))
    ]


class Units:
    """Gives the images from ``first`` on the draws in turn, one number of a part each as 1."""

    def __init__(self, parts: int, first: int) -> None:
        self.parts = parts
        self.next = first

    def normal(self, shape):
        draws = torch.zeros(shape, dtype=torch.float64)
        for part in range(self.parts):
            if self.next < len(draws):
                draws[self.next, part] = 1
            self.next += 1
        return draws


class Gaussian:
    """The data, and what is expected of them; parts n, every pixel on its own."""

    def __init__(self, process: LinearProcess) -> None:
        self.process = process
        n = process.parts
        self.mean = torch.zeros(SIDE, SIDE, n, 1, dtype=torch.float64)
        self.mean[..., 0, 0] = MEAN
        self.covariance = torch.zeros(SIDE, SIDE, n, n, dtype=torch.float64)
        self.covariance[..., 0, 0] = VARIANCE

    def marginal(self, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns gain, mean and covariance of the state at t, by pixel."""
        time = torch.tensor([t], dtype=torch.float64)
        gain, root = self.process.gain(time)[0], self.process.root(time)[0]
        covariance = gain @ self.covariance @ gain.mT + root @ root.mT
        gain, covariance = (table.reshape(-1, *table.shape[-2:]) for table in (gain, covariance))
        shape = (SIDE, SIDE, *gain.shape[-2:])
        gain = gain.expand(SIDE * SIDE, -1, -1).reshape(shape)
        return gain, gain @ self.mean, covariance.reshape(shape)

    def image(self, x: Tensor, t: float) -> Tensor:
        """Returns the mean of the clean image given the image, whose coordinates are the state."""
        basis = self.process.operator
        return basis.from_basis(self.clean(basis.to_basis(x), t))

    def clean(self, u: Tensor, t: float) -> Tensor:
        """Returns the mean of the clean state given the state."""
        gain, mean, covariance = self.marginal(t)
        regression = self.covariance @ gain.mT @ torch.linalg.inv(covariance)
        columns = u.permute(0, 2, 3, 1)[..., None]
        return (self.mean + regression @ (columns - mean))[..., 0].permute(0, 3, 1, 2)

    def score(self, u: Tensor, t: Tensor) -> Tensor:
        """Returns the score at one time, all parts of it."""
        _, mean, covariance = self.marginal(t[0].item())
        columns = u.permute(0, 2, 3, 1)[..., None]
        return -torch.linalg.solve(covariance, columns - mean)[..., 0].permute(0, 3, 1, 2)


def network(data: Gaussian, kind: str) -> Callable[..., Tensor]:
    """Returns what a sampler of that kind evaluates."""
    if kind == "velocity score":
        return lambda u, t: data.score(u, t)[:, 1:]
    if kind == "denoiser":
        return lambda x, t: data.image(x, t[0].item())
    return data.score if kind == "score" else data.clean


def grid(problem: Problem, case: Case, steps: int) -> Tensor:
    """Returns times whose number of intervals is ``steps`` and the halvings of the first."""
    of = problem.process.log_ratio if case.variable == "log_ratio" else lambda t: -t
    first, last = of(torch.tensor([problem.t, problem.s], dtype=torch.float64)).tolist()
    width = (last - first) / steps
    halved = [first + width * 0.5**k for k in range(HALVINGS, 0, -1)]
    values = torch.tensor(
        [first, *halved, *(first + width * k for k in range(1, steps + 1))], dtype=torch.float64
    )
    low, high = torch.full_like(values, problem.s), torch.full_like(values, problem.t)
    for _ in range(60):
        middle = (low + high) / 2
        early = of(middle) > values
        low, high = torch.where(early, middle, low), torch.where(early, high, middle)
    times = (low + high) / 2
    times[0], times[-1] = problem.t, problem.s
    return times


def error(problem: Problem, case: Case, steps: int) -> tuple[float, int]:
    """Returns how far mean and covariance of the output lie from the true ones, and evaluations."""
    data, parts = Gaussian(problem.process), problem.process.parts
    times, evaluations = grid(problem, case, steps), 0
    draws = parts * (len(times) - 1) if case.noisy else 0
    u = torch.zeros(1 + parts + draws, parts, SIDE, SIDE, dtype=torch.float64)
    for part in range(parts):
        u[1 + part, part] = 1
    evaluate = network(data, case.kind)

    def counted(u, t):
        nonlocal evaluations
        evaluations += 1
        return evaluate(u, t)

    taken = problem.process if case.kind == "linear" else problem.own
    leave, enter = _bases(problem.process) if case.kind == "denoiser" else (_same, _same)
    end = enter(case.solver(taken, counted, leave(u), times, Units(parts, 1 + parts)))
    columns = end.permute(2, 3, 1, 0)
    offset, gains = columns[..., :1], columns[..., 1:] - columns[..., :1]
    _, mean, covariance = data.marginal(problem.t)
    _, true_mean, true_covariance = data.marginal(problem.s)
    jacobian, noise = gains[..., :parts], gains[..., parts:]
    found = jacobian @ covariance @ jacobian.mT + noise @ noise.mT
    off = (offset + jacobian @ mean - true_mean).square().sum()
    return math.sqrt(off + (found - true_covariance).square().sum()), evaluations


def _same(u: Tensor) -> Tensor:
    return u


def _bases(process: Spectral) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Returns what takes coordinates to images, and back."""
    return process.operator.from_basis, process.operator.to_basis


def case_of(name: str, solver: str) -> tuple[Problem, Case]:
    """Returns the problem of that name and the solver with the problem's prediction."""
    problem = PROBLEMS[name]
    case = {**LINEAR, **own_cases(problem)}[solver]
    if solver.startswith("deis"):
        case = replace(case, solver=partial(case.solver, prediction=problem.prediction))
    return problem, case


def measure(name: str, solver: str, path: tuple[int, ...] = STEPS) -> pd.DataFrame:
    """Returns the table of a solver on a process: error and measured order by steps."""
    problem, case = case_of(name, solver)
    errors, evaluations = zip(*(error(problem, case, steps) for steps in path), strict=True)
    orders = [math.nan, *(math.log2(a / b) for a, b in pairwise(errors))]
    return pd.DataFrame(
        {
            "process": name,
            "solver": solver,
            "nominal": case.order,
            "steps": path,
            "evaluations": evaluations,
            "error": errors,
            "order": orders,
        }
    )


def draw(table: pd.DataFrame) -> Figure:
    """Returns error against steps for each process, a line for each solver."""
    solvers_of = list(dict.fromkeys(table["solver"]))
    colours = dict(zip(solvers_of, seaborn.color_palette("husl", len(solvers_of)), strict=True))
    with theme():
        figure, axes = plt.subplots(2, 4, figsize=(13, 7), layout="constrained", sharey=True)
        for axis, (name, rows) in zip(
            axes.flat, table.groupby("process", sort=False), strict=False
        ):
            for k, (solver, line) in enumerate(rows.groupby("solver", sort=False)):
                style = {"color": colours[solver], "marker": MARKERS[k % len(MARKERS)], **LINE}
                axis.loglog(line["steps"], line["error"], **style)
            axis.set_xticks(PATH, map(str, PATH))
            axis.minorticks_off()
            axis.set(title=name, xlabel="steps of equal length")
        for axis in axes[:, 0]:
            axis.set_ylabel("error of mean and covariance")
        handles = [
            Line2D([], [], color=colours[solver], marker=MARKERS[k % len(MARKERS)], **LINE)
            for k, solver in enumerate(solvers_of)
        ]
        axes.flat[-1].axis("off")
        axes.flat[-1].legend(handles, _labels(table, solvers_of), loc="center", frameon=False)
    return figure


def _labels(table: pd.DataFrame, names: list[str]) -> list[str]:
    """Returns each solver with its order and the range of those that were measured."""
    last = table[table["steps"] == STEPS[-1]].set_index("solver")
    found = []
    for name in names:
        rows = last.loc[[name]]
        low, high = rows["order"].min(), rows["order"].max()
        found.append(f"{name}: {rows['nominal'].iloc[0]} (measured {low:.2f} to {high:.2f})")
    return found


def main() -> None:
    """Measures all and writes table and figure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = pd.concat([measure(*names, PATH) for names in cases()], ignore_index=True)
    text = table.to_csv(index=False, float_format="%.6g")
    (FOLDER / "orders.csv").write_text(text)
    draw(table).savefig(FOLDER / "orders.png")
    print(f"wrote orders.csv and orders.png in {FOLDER}")


if __name__ == "__main__":
    main()
