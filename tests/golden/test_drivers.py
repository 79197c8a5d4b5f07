"""The drivers follow the manifest where the sets at hand are all alike."""

import pytest
import torch
from check_cld import known_to_suites
from check_sde import spent

VE = {"kind": "ve", "sigma_min": 0.01, "sigma_max": 50.0, "N": 5}
VP = {"kind": "vp", "beta_min": 0.1, "beta_max": 20.0, "N": 5}


def config_of(sde, predictor, **values):
    return {
        "sde": sde,
        "predictor": predictor,
        "corrector": "langevin",
        "n_steps": 2,
        "eps": 1e-5,
        **values,
    }


@pytest.mark.parametrize(
    ("config", "dropped"),
    [
        (config_of(VE, "reverse_diffusion"), []),
        (config_of(VE, "reverse_diffusion", probability_flow=True), [2, 5, 8, 11, 14]),
        (
            config_of(VE, "ancestral_sampling"),
            [14],
        ),  # the data's own level, which the last time is at
        (config_of(VE, "ancestral_sampling", eps=0.3), []),
        (config_of(VP, "ancestral_sampling"), []),
    ],
)
def test_draws_that_the_authors_multiply_by_0_are_left_out(config, dropped):
    """Two corrections a time and a prediction; of the manifest's keys probability_flow may be
    missing.
    """
    draws = [torch.full((1,), float(k)) for k in range(15)]
    assert spent(draws, config) == [draw for k, draw in enumerate(draws) if k not in dropped]


def test_with_hooks_the_draws_of_each_update_are_told_apart():
    config = config_of(VE, "ancestral_sampling", corrector="none")
    draws = [torch.full((1,), float(k)) for k in range(15)]
    assert spent(draws, config, hooks=1) == [draw for k, draw in enumerate(draws) if k != 13]


@pytest.mark.parametrize(
    ("config", "known"),
    [
        ({"sampling_method": "ode", "sampling_solver": "scipy_solver"}, True),
        ({"sampling_method": "ode", "sampling_solver": "midpoint"}, False),
        ({"sampling_method": "sscs", "sscs_num_stab": 0.0}, True),
        ({"sampling_method": "sscs", "sscs_num_stab": 1e-9}, False),
        ({"sampling_method": "em"}, True),
    ],
)
def test_what_no_suite_can_ask_for_is_run_without_one(config, known):
    assert known_to_suites(config) is known
