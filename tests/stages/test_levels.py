"""Images in [0, 1] as levels of the data set."""

import pytest
import torch

from bench.stages import sample


@pytest.mark.parametrize(
    ("rule", "levels"),
    [("round", [0, 0, 1, 1, 15, 16, 16]), ("truncate", [0, 0, 0, 1, 15, 15, 16])],
)
def test_values_become_the_nearest_level_or_the_one_below(rule, levels):
    images = torch.tensor([-3.0, 0.49 / 16, 0.51 / 16, 1 / 16, 15.49 / 16, 15.51 / 16, 7.0])
    assert sample.quantise(images, 17, rule).tolist() == levels


def test_all_levels_survive_both_rules_where_floats_hold_them():
    images = torch.arange(17) / 16
    for rule in ("round", "truncate"):
        assert sample.quantise(images, 17, rule).tolist() == list(range(17))


def test_half_a_level_outside_is_not_clipped_by_rounding():
    images = torch.tensor([-1 / 32, 1 + 1 / 32, -1 / 31, 1 + 1 / 31])
    assert sample.clipped(images, 17, "round") == 0.5
    assert sample.clipped(images, 17, "truncate") == 1
