"""The exponential integrator of CLD against exact flows of points and Gaussians."""

from functools import partial
from itertools import product

import pytest
import torch
from test_exponential import (
    PREDICTIONS,
    SHAPE,
    draws,
    fresh_noise_is_its_share,
    mixture,
    uniform,
)

from bench.method import Noise
from methods.cld import exponential as cld
from methods.cld.exponential import Damped, clean_state
from methods.cld.process import CLD
from methods.shared.adaptive import dormand_prince
from methods.shared.exact import Mixture, combine

CLDS = [CLD(), CLD(beta0=0.1, beta1=6.9), CLD(mass=0.7, gamma=0.2)]


each_cld = pytest.mark.parametrize("process", CLDS, ids=("published", "rising", "heavy"))


def cld_score(process: CLD, data: Mixture):
    def score(u, t):
        return data.joint_score(
            *u.chunk(2, 1), process.mean_coefficients(t), process.covariance(t)
        )[1]

    return score


@each_cld
def test_the_root_squares_to_the_covariance_and_follows_its_equation(process):
    """Its derivative, by differences, is (F + G G^T / (2 Sigma)) R; the Cholesky factor's is
    not.
    """
    t, h = torch.tensor([0.003, 0.1, 0.4, 0.97], dtype=torch.float64), 1e-5
    root, sigma = Damped(process).root(t), process.covariance(t).matrix()
    torch.testing.assert_close(root @ root.mT, sigma, rtol=1e-12, atol=1e-15)
    beta = process.beta(t)
    zero = torch.zeros_like(beta)
    rows = [[zero, beta / process.mass], [-beta, -beta * process.friction / process.mass]]
    drift = torch.stack([torch.stack(row, -1) for row in rows], -2)
    noise = torch.diag_embed(torch.stack([zero, process.diffusion(t).square()], -1))
    expected = (drift + 0.5 * noise @ torch.linalg.inv(sigma)) @ root

    def slope(root_of):
        return (root_of(t * (1 + h)) - root_of(t * (1 - h))) / (2 * h * t)[:, None, None]

    torch.testing.assert_close(slope(Damped(process).root), expected, rtol=1e-6, atol=1e-6)
    cholesky = torch.linalg.cholesky(sigma)
    off = (
        slope(lambda t: torch.linalg.cholesky(process.covariance(t).matrix()))
        - expected @ root.inverse() @ cholesky
    )
    assert off.abs().amax((1, 2)).min() > 0.01


@each_cld
def test_a_single_image_is_reached_in_any_number_of_steps(process):
    """The noise stays what it is along the flow of a point, so steps of any length are exact."""
    data = Mixture(torch.ones(1), draws(1, 4), torch.zeros(1))
    score, u = cld_score(process, data), process.prior((3, *SHAPE), Noise(3, dtype=torch.float64))

    def velocity(t, y, rows):
        now = y.view_as(u)
        return process.flow(score(now, t), now, t).flatten(1)

    flow = dormand_prince(velocity, u.flatten(1), 1.0, 0.05, tolerance=1e-9).view_as(u)
    for steps, solver in (
        (1, cld.ddim),
        (4, cld.ddim),
        *(
            (4, partial(cld.deis, order=order, prediction=prediction))
            for order, prediction in product([2, 3, 4], PREDICTIONS)
        ),
        *((4, solver) for solver in (cld.dpm_solver_2m, cld.dpm_solver_3m, cld.unipc)),
    ):
        reached = solver(process, score, u, uniform(steps, 0.05))
        torch.testing.assert_close(reached, flow, rtol=0, atol=1e-6)


def test_the_score_by_v_tells_the_mean_of_the_image():
    process, data, t = (
        CLD(numerical_eps=1e-3),
        mixture(),
        torch.tensor([0.2] * 3, dtype=torch.float64),
    )
    u = draws(3, 2, 2, 2)
    x, v = u.chunk(2, 1)
    gains, covariance = process.mean_coefficients(t), process.covariance(t)
    y, std = combine(x, v, gains, covariance)
    image = data.denoise(y, torch.ones_like(std), std)
    expected = torch.cat([image, torch.zeros_like(image)], 1)
    torch.testing.assert_close(clean_state(process, cld_score(process, data), u, 0.2), expected)


@each_cld
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_is_its_share_of_the_posterior_and_keeps_the_marginal(process, eta):
    fresh_noise_is_its_share(Damped(process), eta)
