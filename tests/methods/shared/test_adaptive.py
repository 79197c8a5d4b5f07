"""Adaptive solvers of the probability flow on Gaussian data, whose flow is known exactly."""

import math
from functools import partial

import pytest
import torch

from bench.method import Noise
from methods.shared.adaptive import dormand_prince, flow_adaptive, solve
from methods.shared.process import VE, VP, SubVP
from methods.shared.samplers import denoise, reverse_diffusion

PROCESSES = [VE(0.01, 20.0), VP(), SubVP()]
MEAN, STD = 0.3, torch.tensor([0.1, 0.4, 0.9, 2.0], dtype=torch.float64).view(1, 1, 2, 2)
SOLVERS = {
    "scipy": {"solver": "scipy"},
    "device": {"solver": "device"},
    "image": {"solver": "device", "error_norm": "image"},
}

each_process = pytest.mark.parametrize(
    "process", PROCESSES, ids=lambda process: type(process).__name__
)
each_solver = pytest.mark.parametrize("knobs", SOLVERS.values(), ids=SOLVERS)


class Counted:
    """The exact score of N(MEAN, STD^2) data, which counts its rows and notes the times of each."""

    def __init__(self, process, dtype=torch.float64):
        self.process, self.std = process, STD.to(dtype)
        self.times = []

    @property
    def rows(self):
        return sum(len(t) for t in self.times)

    def __call__(self, x, t):
        assert t.dtype == x.dtype
        self.times.append(t)
        m, s = (
            v.view(-1, 1, 1, 1) for v in (self.process.mean_coefficient(t), self.process.std(t))
        )
        return -(x - m * MEAN) / (m**2 * self.std**2 + s**2)


def prior(process, count=5):
    return process.prior((count, 1, 2, 2), Noise(0, dtype=torch.float64))


def exact(process, x, t):
    """Carries x at t = 1 along the flow to t: of Gaussian data it keeps (x - mean) / std."""
    moments = []
    for at in torch.tensor([1.0, t], dtype=torch.float64):
        m, s = process.mean_coefficient(at), process.std(at)
        moments.append((m * MEAN, torch.sqrt(m**2 * STD**2 + s**2)))
    (mean1, std1), (mean, std) = moments
    return mean + std * (x - mean1) / std1


@each_process
@each_solver
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_the_flow_is_met_within_the_tolerance(process, knobs, tolerance):
    x = prior(process)
    end = flow_adaptive(process, Counted(process), x, tolerance=tolerance, **knobs)
    torch.testing.assert_close(
        end, exact(process, x, process.t_min), rtol=100 * tolerance, atol=100 * tolerance
    )


@each_process
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5, 1e-7])
def test_the_devices_solver_takes_scipys_steps(process, dtype, tolerance):
    x, ends, counts = prior(process).to(dtype), [], []
    for knobs in (SOLVERS["scipy"], SOLVERS["device"]):
        score_fn = Counted(process, dtype)
        ends.append(flow_adaptive(process, score_fn, x, tolerance=tolerance, **knobs))
        counts.append(len(score_fn.times))
    assert counts[1] <= counts[0] + 12
    assert ends[1].dtype == dtype
    torch.testing.assert_close(ends[1], ends[0], rtol=10 * tolerance, atol=10 * tolerance)


@each_process
def test_steps_of_each_image_do_not_depend_on_its_batch_and_end_when_it_arrives(process):
    x, run = prior(process), partial(flow_adaptive, process, tolerance=1e-4, **SOLVERS["image"])
    x[0] *= 10  # a row that asks for steps of its own
    together, rows = Counted(process), 0
    ends = run(score_fn=together, x=x)
    for k in range(len(x)):
        alone = Counted(process)
        end = run(score_fn=alone, x=x[k : k + 1])
        torch.testing.assert_close(end[0], ends[k], rtol=1e-9, atol=1e-12)
        rows += alone.rows
    assert together.rows == rows < len(x) * len(together.times)


@each_process
@each_solver
def test_no_time_outside_the_interval_is_looked_at(process, knobs):
    score_fn = Counted(process)
    flow_adaptive(process, score_fn, prior(process), tolerance=1e-2, t_end=0.01, **knobs)
    seen = torch.cat(score_fn.times)
    assert seen.max() == 1
    assert math.isclose(seen.min(), 0.01, rel_tol=1e-12)


@each_process
@each_solver
def test_the_last_step_costs_one_evaluation_more(process, knobs):
    x, ends, counts = prior(process), {}, {}
    for last in ("none", "mean", "published"):
        score_fn = Counted(process)
        ends[last] = flow_adaptive(process, score_fn, x, tolerance=1e-4, last=last, **knobs)
        counts[last] = score_fn.rows
    assert counts["mean"] == counts["published"] == counts["none"] + len(x)
    expected = denoise(process, Counted(process), ends["none"], process.t_min)
    assert torch.equal(ends["mean"], expected)
    pair = torch.tensor([process.t_min, 0.0], dtype=torch.float64)
    expected = reverse_diffusion(
        process, Counted(process), ends["none"], pair, None, published_steps=1000
    )
    assert torch.equal(ends["published"], expected)


@each_solver
def test_a_score_that_is_not_finite_is_an_error_with_its_time(knobs):
    with pytest.raises(FloatingPointError, match="not finite at t = 1"):
        flow_adaptive(VP(), lambda x, t: x * float("nan"), prior(VP()), **knobs)
    score_fn = Counted(VP())
    with pytest.raises(FloatingPointError, match="not finite at t = 0"):
        flow_adaptive(
            VP(), lambda x, t: score_fn(x, t) / (t > 0.5).view(-1, 1, 1, 1), prior(VP()), **knobs
        )


def test_a_slope_with_a_pole_ends_with_an_error_and_no_endless_search():
    y = torch.ones(1, 1, dtype=torch.float64)
    for error_norm in ("batch", "image"):
        with pytest.raises(FloatingPointError, match=r"steps below|not finite"):
            dormand_prince(
                lambda t, y, rows: y.square(), y, 0.0, 2.0, tolerance=1e-6, error_norm=error_norm
            )


@pytest.mark.parametrize("error_norm", ["batch", "image"])
def test_the_order_of_a_step_is_five(error_norm):
    # At a fixed tolerance per step the error of an order-5 method falls as tolerance^(5/5):
    # measured over 1e4.
    y, errors = torch.tensor([[1.0], [2.0]], dtype=torch.float64), []
    for tolerance in (1e-5, 1e-9):
        end = dormand_prince(
            lambda t, y, rows: y * torch.cos(t)[:, None],
            y,
            0.0,
            6.0,
            tolerance=tolerance,
            error_norm=error_norm,
        )
        errors.append(float((end - y * math.exp(math.sin(6.0))).abs().max()))
    slope = math.log10(errors[0] / errors[1]) / 4
    assert 0.8 < slope < 1.2, errors


def test_rows_are_told_apart_when_others_have_arrived():
    rates, y = (
        torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64),
        torch.ones(3, 2, dtype=torch.float64),
    )
    known = {"start": 0.0, "end": -1.0, "tolerance": 1e-8}
    for solver, error_norm in (("scipy", "batch"), ("device", "batch"), ("device", "image")):
        end = solve(
            lambda t, y, rows: rates[rows][:, None] * y,
            y,
            **known,
            solver=solver,
            error_norm=error_norm,
        )
        torch.testing.assert_close(
            end, torch.exp(-rates)[:, None].expand(3, 2), rtol=1e-6, atol=1e-7
        )
