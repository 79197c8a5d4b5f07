"""CLD's bound on the likelihood against Gaussian data, where image and velocity are Gaussian at all
times.
"""

import math

import pytest
import torch
from exact import Replay

from bench.method import Noise
from methods.cld.likelihood import (
    bound,
    joint_flow,
    joint_log_likelihood,
    velocity_entropy,
    velocity_part,
)
from methods.cld.process import CLD
from methods.cld.settings import CLDLikelihoodParams
from methods.shared.likelihood import slope_and_divergence, whole

SHAPE = (1, 1, 2)
VARIANCES = torch.tensor([0.05, 0.8], dtype=torch.float64).view(
    1, 2, 1, 1, 1
)  # of two directions at 45 degrees
EPS, TOLERANCE = 1e-4, 1e-6


class Gaussian(CLD):
    """CLD of Gaussian data with correlated pixels; its prior is the data's own marginal, so that
    nothing is lost.
    """

    def directions(self, u: torch.Tensor, t: torch.Tensor):
        """Returns x and v along the covariance's axes, (B, 2, 1, 1, 1), and their covariances
        there.
        """
        halves = torch.stack(u.double().chunk(2, 1))
        along = torch.stack(
            [halves[..., 0] + halves[..., 1], halves[..., 0] - halves[..., 1]], 2
        ) / math.sqrt(2)
        x, v = along[..., None]
        return x, v, self.covariance(t.double().view(-1, 1, 1, 1, 1), image_variance=VARIANCES)

    def score(self, u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x, v, (xx, xv, _, det) = self.directions(u, t)
        along = ((xv * x - xx * v) / det)[..., 0]
        return torch.stack([along[:, 0] + along[:, 1], along[:, 0] - along[:, 1]], -1).to(
            u
        ) / math.sqrt(2)

    def log_prob(self, u: torch.Tensor, t: float) -> torch.Tensor:
        x, v, (xx, xv, vv, det) = self.directions(u, torch.full((len(u),), t))
        energy = (vv * x.square() - 2 * xv * x * v + xx * v.square()) / det
        return -0.5 * (energy + det.log()).flatten(1).sum(1) - 2 * math.log(2 * math.pi)

    def prior_log_prob(self, u: torch.Tensor) -> torch.Tensor:
        return self.log_prob(u, 1.0)

    def image_log_prob(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Of x alone, whatever the velocity."""
        along, _, covariance = self.directions(torch.cat([x, x], 1), torch.full((len(x),), t))
        return (
            (-0.5 * (along.square() / covariance.xx + (2 * math.pi * covariance.xx).log()))
            .flatten(1)
            .sum(1)
        )


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return Noise(seed, dtype=torch.float64).normal(shape)


def test_the_flow_gives_the_joint_log_density():
    process, u = Gaussian(beta0=1.0, beta1=3.0, mass=0.5), 0.5 * draws(3, 2, 1, 2)
    knobs = {"eps": EPS, "tolerance": TOLERANCE, "probe": "exact"}
    for probe_drift in (False, True):
        log_prob, z = joint_log_likelihood(
            process, process.score, u, Noise(1), probe_drift=probe_drift, **knobs
        )
        torch.testing.assert_close(log_prob, process.log_prob(u, EPS), rtol=0, atol=1e-3)
    assert z.shape == u.shape


@pytest.mark.parametrize("probe_drift", [False, True])
def test_the_mean_over_all_signs_is_the_divergence_with_and_without_the_drift(probe_drift):
    process, u, t = (
        Gaussian(),
        draws(3, 2, 1, 2),
        torch.tensor([0.3, 0.01, 0.9], dtype=torch.float64),
    )
    count = 4 if probe_drift else 2
    rows = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * count)
    vectors = [row.view(1, count // 2, 1, 2).expand(3, -1, -1, -1) for row in rows]
    flow_fn = joint_flow(process, process.score, probe_drift=probe_drift)
    velocity, divergence = slope_and_divergence(
        flow_fn, u, t, vectors, whole if probe_drift else velocity_part
    )
    torch.testing.assert_close(velocity, process.flow(process.score(u, t), u, t))
    rows = [
        torch.autograd.functional.jacobian(
            lambda u, at=t[k : k + 1]: process.flow(process.score(u, at), u, at), one
        )
        for k, one in enumerate(u.split(1))
    ]
    torch.testing.assert_close(divergence, torch.stack([row.view(4, 4).trace() for row in rows]))


def test_probes_of_the_velocity_alone_vary_less():
    """Near the data the derivative of v's change by x is large, and where the probes see it, its
    sign is random.
    """
    process, u, t = (
        Gaussian(),
        draws(1, 2, 1, 2).expand(500, -1, -1, -1),
        torch.full((500,), 1e-3, dtype=torch.float64),
    )
    spreads = []
    for probe_drift in (False, True):
        flow_fn = joint_flow(process, process.score, probe_drift=probe_drift)
        vectors = [Noise(2, dtype=torch.float64).rademacher((500, 1 + probe_drift, 1, 2))]
        part = whole if probe_drift else velocity_part
        _, divergence = slope_and_divergence(flow_fn, u, t, vectors, part)
        spreads.append(divergence.std().item())
    assert 100 * spreads[0] < spreads[1]


def test_the_bound_falls_short_by_the_divergence_of_the_velocities():
    """By KL(q | p(v | x)) of the model's velocities: the average over q of a quadratic is that over
    2d velocities.
    """
    eps, process, x = 0.02, Gaussian(), 0.5 * draws(3, *SHAPE)
    unit = math.sqrt(2) * torch.eye(2, dtype=torch.float64)
    noise = Replay(*(row.view(1, *SHAPE).expand_as(x) for row in torch.cat([unit, -unit])))
    knobs = {"eps": eps, "tolerance": TOLERANCE, "probe": "exact"}
    found = bound(process, process.score, x, noise, velocities=4, entropy="expected", **knobs)
    along, _, (xx, xv, _, det) = process.directions(torch.cat([x, x], 1), torch.full((3,), eps))
    ratio, shift = process.velocity_variance * xx / det, (xv / xx * along).square() * xx / det
    gap = 0.5 * (ratio + shift - 1 - ratio.log()).flatten(1).sum(1)
    assert gap.min() > 0.5
    torch.testing.assert_close(process.image_log_prob(x, eps) - found, gap, rtol=0, atol=1e-3)


def test_near_the_data_the_bound_is_sharp_for_every_draw():
    """The velocity is still distributed as q, and with its own density subtracted no draw of it
    matters.
    """
    process, x = Gaussian(), 0.5 * draws(3, *SHAPE)
    knobs = {"eps": 1e-5, "tolerance": 1e-6, "probe": "exact"}
    found = bound(process, process.score, x, Noise(3, dtype=torch.float64), **knobs)
    torch.testing.assert_close(found, process.image_log_prob(x, 1e-5), rtol=0, atol=0.05)


def test_entropies_agree_on_average_and_near_the_data_the_drawn_one_varies_less():
    process, x = Gaussian(), torch.zeros(400, *SHAPE, dtype=torch.float64)
    knobs = {"eps": EPS, "tolerance": 1e-3, "probe": "exact"}
    drawn, expected = (
        bound(process, process.score, x, Noise(4, dtype=torch.float64), entropy=entropy, **knobs)
        for entropy in ("drawn", "expected")
    )
    # -log q of d dimensions has variance d / 2, here 1; the mean of 400 is within four of its
    # errors.
    assert (drawn - expected).mean().abs().item() < 4 * math.sqrt(1 / 400)
    assert 3 * drawn.std() < expected.std()
    q = torch.distributions.Normal(0, math.sqrt(process.velocity_variance))
    assert velocity_entropy(process, x) == pytest.approx(2 * q.entropy().item())


def test_importance_weights_close_half_of_the_gap_and_stay_a_bound():
    process, x = Gaussian(), torch.full((200, *SHAPE), 0.2, dtype=torch.float64)
    exact = process.image_log_prob(x[:1], 2e-3).item()
    knobs = {"eps": 2e-3, "tolerance": 1e-3, "probe": "exact", "velocities": 8}
    plain, weighted = (
        bound(
            process,
            process.score,
            x,
            Noise(5, dtype=torch.float64),
            importance_weighted=weigh,
            **knobs,
        )
        for weigh in (False, True)
    )
    assert plain.mean() < weighted.mean() < exact + 4 * weighted.std() / math.sqrt(200)
    assert exact - weighted.mean() < 0.5 * (exact - plain.mean())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"velocities": 0}, "velocities"),
        ({"importance_weighted": True}, "probe exact"),
        ({"importance_weighted": True, "probe": "exact", "entropy": "expected"}, "entropy"),
    ],
)
def test_impossible_parameters_are_refused_with_the_reason(values, why):
    with pytest.raises(ValueError, match=why):
        CLDLikelihoodParams(**values)
