import pytest
import torch

from bench.method import Noise
from methods.shared.objective import denoising_loss
from methods.shared.process import VE, VP, SubVP

SHAPE = (4, 1, 2, 2)
T = torch.tensor([0.01, 0.2, 0.6, 1.0], dtype=torch.float64)

each_process = pytest.mark.parametrize("process", [VE(), VP(), SubVP()], ids=lambda process: type(process).__name__)


def draws() -> tuple[torch.Tensor, torch.Tensor]:
    noise = Noise(0, dtype=torch.float64)
    return noise.uniform(SHAPE), noise.normal(SHAPE)


@each_process
@pytest.mark.parametrize("weighting", ["std", "likelihood"])
def test_the_score_of_the_noise_itself_has_no_loss(process, weighting):
    x0, z = draws()
    loss = denoising_loss(process, lambda x, t: -z / process.std(t).view(-1, 1, 1, 1), x0, T, z, weighting)
    torch.testing.assert_close(loss, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-20)


@each_process
def test_a_zero_score_loses_the_noise_under_std_weighting(process):
    x0, z = draws()
    loss = denoising_loss(process, lambda x, t: torch.zeros_like(x), x0, T, z)
    torch.testing.assert_close(loss, z.square().flatten(1).mean(1), rtol=1e-12, atol=0)


@each_process
def test_likelihood_weighting_is_g_squared_over_s_squared_times_std_weighting(process):
    x0, z = draws()
    plain, weighted = (denoising_loss(process, lambda x, t: -x, x0, T, z, name) for name in ("std", "likelihood"))
    factor = (process.diffusion(T) / process.std(T)).square()
    torch.testing.assert_close(weighted, factor * plain, rtol=1e-10, atol=0)
