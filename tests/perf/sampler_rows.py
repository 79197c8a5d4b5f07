"""Samplers and likelihoods beside diffusers and scipy."""

import torch
from measure import Row, by_turns
from network_rows import CIFAR
from scipy.integrate import solve_ivp

from bench.method import Noise
from methods.shared.adaptive import flow_adaptive
from methods.shared.backbone import make_network
from methods.shared.flow import flow
from methods.shared.grids import grid
from methods.shared.layers import initialise
from methods.shared.likelihood import linear_flow, slope_and_divergence
from methods.shared.predictor_corrector import predictor_corrector
from methods.shared.process import VE, VP, like

STEPS = 50
BATCHES = {1: 2.5, 16: None, 64: None}
"""Images of a batch, and how many times as fast as diffusers the loop should be."""


@torch.no_grad()
def predictor_corrector_loop() -> list[Row]:
    """Predictor and corrector besides the network, on CIFAR-10's shape."""
    return [row for batch, goal in BATCHES.items() for row in _loop(batch, goal)]


def _loop(batch: int, goal: float | None) -> list[Row]:
    from diffusers import ScoreSdeVeScheduler

    process, score = VE(0.01, 50.0), torch.randn(batch, 3, 32, 32)
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=STEPS, snr=0.16, sigma_max=50.0)
    scheduler.set_timesteps(STEPS)
    scheduler.set_sigmas(STEPS)
    times, start = grid("uniform", process, STEPS, 1e-5), torch.randn(batch, 3, 32, 32)

    def ours() -> None:
        predictor_corrector(process, lambda x, t: score, start, times, Noise(0), snr=0.16)

    def theirs() -> None:
        x, draws = start, torch.Generator().manual_seed(0)
        for t in scheduler.timesteps:
            x = scheduler.step_correct(score, x, generator=draws).prev_sample
            x = scheduler.step_pred(score, t, x, generator=draws).prev_sample

    def noise() -> None:
        draws = torch.Generator().manual_seed(0)
        for _ in range(2 * STEPS - 1):
            torch.randn(start.shape, generator=draws)

    what = f"predictor-corrector besides the network, {STEPS} steps, {batch} images"
    seconds = 2.0 + batch / 8
    rows = [by_turns(ours, theirs, pairs=31, seconds=seconds).row(what, "diffusers", goal)]
    if batch > 1:
        turns = by_turns(ours, noise, pairs=31, seconds=seconds)
        rows.append(turns.row(what, "two draws of randn per step", 1.05, faster=False))
    return rows


def likelihood() -> list[Row]:
    """One evaluation of a likelihood's flow and divergence, in passes forward."""
    network = make_network(CIFAR, 3, 3, 32).eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    initialise(network, Noise(0))
    process, x = VE(0.01, 50.0), torch.rand(2, 3, 32, 32)
    t, probe = torch.full((2,), 0.5, dtype=torch.float64), [Noise(1).rademacher(x.shape)]

    def score_fn(x, t):
        return network(2 * x - 1, process.noise_level(t).log()) / like(process.std(t), x)

    def ours() -> None:
        slope_and_divergence(linear_flow(process, score_fn), x, t, probe)

    @torch.no_grad()
    def forward() -> None:
        score_fn(x, t.float())

    turns = by_turns(ours, forward, pairs=5)
    what = "evaluation of a likelihood's flow and divergence, CIFAR-10 NCSN++, 2 images"
    return [turns.row(what, "its pass forward", 2.25, faster=False)]


def adaptive() -> list[Row]:
    """Evaluations of the adaptive solver on a flow that is known, at scipy's error."""
    tolerance, process = 1e-5, VP()
    mean, std = 0.3, 0.2
    x = Noise(2).normal((16, 1, 8, 8))
    calls = {"ours": 0, "theirs": 0}

    def score_fn(who):
        def score(x, t):
            calls[who] += 1
            m, s = process.mean_coefficient(t), process.std(t)
            variance = (m * std).square() + s.square()
            return (like(m, x) * mean - x) / like(variance, x)

        return score

    x = x.double()
    t_end = 1e-3
    ours = flow_adaptive(
        process, score_fn("ours"), x, tolerance=tolerance, t_end=t_end, solver="device"
    )
    score = score_fn("theirs")

    def change(t, y):
        now = torch.from_numpy(y).view_as(x)
        at = torch.full((len(x),), t, dtype=torch.float64)
        return flow(process, score(now, at), now, at).flatten().numpy()

    path = solve_ivp(change, (1.0, t_end), x.flatten().numpy(), rtol=tolerance, atol=tolerance)
    ends = {"ours": ours, "theirs": torch.from_numpy(path.y[:, -1]).view_as(x)}
    exact = _exact_flow(process, x, mean, std, t_end)
    errors = {who: (end - exact).abs().max().item() for who, end in ends.items()}
    assert errors["ours"] <= 1.5 * errors["theirs"], errors
    note = f"largest error {errors['ours']:.1e}, scipy's {errors['theirs']:.1e}"
    return [
        Row(
            work="evaluations of the adaptive flow, tolerance 1e-5", peer="scipy's RK45",
            figure=calls["ours"] / calls["theirs"], goal=1.0, higher=False, ours=calls["ours"],
            theirs=calls["theirs"], measure="NFE", note=note,
        )
    ]  # fmt: skip


def _exact_flow(process, x, mean, std, t_end):
    """Returns where the flow of Gaussian data carries x from t = 1."""
    at = torch.tensor([1.0, t_end], dtype=torch.float64)
    m, s = process.mean_coefficient(at), process.std(at)
    spread = ((m * std).square() + s.square()).sqrt().tolist()
    return m[1].item() * mean + (x - m[0].item() * mean) * (spread[1] / spread[0])
