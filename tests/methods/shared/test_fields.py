"""Fields of vectors as pictures, and the exact field of a known distribution in them."""

import math

import pytest
import torch

from methods.shared.exact import Mixture
from methods.shared.fields import SIDE, field_strip, paint


@pytest.mark.parametrize("k", [0, 1, 2])
def test_colour_tells_the_direction_and_strength_the_length(k):
    angle = torch.tensor(2 * math.pi * k / 3)
    ones = torch.ones(SIDE, SIDE)
    vectors = torch.stack([angle.cos() * ones, angle.sin() * ones], -1)
    vectors[0, 0] = 0
    vectors[0, 1] /= 2
    picture = paint(vectors)
    full = torch.full((3,), 0.25, dtype=torch.float64)
    full[k] = 1  # the channel of its own direction stays, the others lose three quarters
    torch.testing.assert_close(picture[:, 5, 5], full, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(picture[:, 0, 0], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(picture[:, 0, 1], (1 + full) / 2, rtol=1e-6, atol=1e-6)


def test_points_lie_as_a_reader_expects_and_the_score_points_at_the_only_mode():
    mode = Mixture(torch.ones(1), torch.tensor([[0.5, -0.5]]), torch.tensor([0.01]))

    def score(x, level):
        return mode.score(x, torch.ones_like(level), level)

    def seen(x, level):
        assert x[0].flatten().tolist() == pytest.approx([-1.2, 1.2])  # left, top
        assert x[-1].flatten().tolist() == pytest.approx([1.2, -1.2])  # right, bottom
        return score(x, level)

    strip = field_strip([seen, seen], torch.tensor([0.1, 1.0], dtype=torch.float64), -1, 1)
    assert strip.shape == (2, 2, 3, SIDE, SIDE)
    whitest = strip[0, 0].sum(0).argmax().item()
    row, column = divmod(whitest, SIDE)
    assert (column / (SIDE - 1) * 2.4 - 1.2, 1.2 - row / (SIDE - 1) * 2.4) == pytest.approx(
        (0.5, -0.5), abs=0.04
    )
