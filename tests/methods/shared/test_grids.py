import pytest
import torch

from bench.card import TIMES
from methods.shared.grids import GRIDS, grid, published_grid
from methods.shared.process import VE, VP, SubVP

each_process = pytest.mark.parametrize(
    "process", [VE(), VE(0.01, 4.8), VP(), SubVP()], ids=lambda p: type(p).__name__
)


def test_there_is_a_grid_for_every_name_that_a_card_may_use():
    assert tuple(GRIDS) == TIMES


@each_process
@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("steps", [1, 2, 5, 1000])
@pytest.mark.parametrize("t_min", [None, 1e-5, 0.05])
def test_times_decrease_strictly_from_one_to_t_min(process, name, steps, t_min):
    times = grid(name, process, steps, t_min)
    assert times.dtype == torch.float64
    assert times.shape == (steps + 1,)
    assert times[0] == 1
    assert times[-1] == (process.t_min if t_min is None else t_min)
    assert (times.diff() < 0).all()


@each_process
def test_log_snr_grid_has_equal_steps_of_log_snr(process):
    steps = process.log_snr(grid("log_snr", process, 7)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(7), rtol=1e-9, atol=0)


@each_process
def test_rho7_grid_has_equal_steps_of_the_seventh_root_of_the_noise_level(process):
    steps = process.noise_level(grid("rho7", process, 7)).pow(1 / 7).diff()
    torch.testing.assert_close(steps, steps.mean().expand(7), rtol=1e-9, atol=0)


def test_uniform_grid_of_ve_is_its_log_snr_grid():
    process = VE()
    torch.testing.assert_close(
        grid("uniform", process, 9), grid("log_snr", process, 9), rtol=1e-12, atol=1e-15
    )


def test_quadratic_grid_has_equal_steps_of_the_root_of_t():
    steps = grid("quadratic", VP(), 8, t_min=0.0).sqrt().diff()
    torch.testing.assert_close(
        steps, torch.full((8,), -1 / 8, dtype=torch.float64), rtol=1e-12, atol=0
    )


def test_published_grid_evaluates_at_t_min_too():
    times = published_grid(10, 1e-3)
    assert times.tolist() == [*torch.linspace(1, 1e-3, 10).tolist(), 0.0]


def test_what_cannot_be_a_grid_is_refused():
    with pytest.raises(ValueError, match=r"'cosine'.*uniform, quadratic, log_snr, rho7"):
        grid("cosine", VP(), 5)
    with pytest.raises(ValueError, match="at least 1 step"):
        grid("uniform", VP(), 0)
    with pytest.raises(ValueError, match="not strictly decreasing"):
        grid("uniform", VP(), 5, t_min=1.0)
