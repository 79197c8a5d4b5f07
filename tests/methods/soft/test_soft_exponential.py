"""The exponential integrator's step on blur is that of Soft Diffusion's DDIM."""

import pytest
import torch
from test_exponential import POINTS, Cosines, draws, modes, pixels, uniform

from methods.shared import solvers
from methods.shared.exact import Mixture
from methods.soft.samplers import ddim as soft_ddim


class Blurred:
    """The same blur as the corruption of Soft Diffusion's samplers: of pixels, by the cosine
    transform.
    """

    def __init__(self, process: Cosines) -> None:
        self.process = process

    def apply(self, x, t):
        return pixels(self.gain(t) * modes(x))

    def std(self, t):
        return self.process.root(t.view(-1))[:, 0, 0, 0, 0].view(t.shape)

    def gain(self, t):
        t = t.double().view(-1)
        return self.process.propagator(t, torch.zeros_like(t))[:, None, ..., 0, 0]

    def denoise(self, x, t):
        """Returns the mean of the clean image for data of five points."""
        data = Mixture(torch.ones(5), modes(POINTS), torch.zeros(5))
        return pixels(data.denoise(modes(x), self.gain(t[:1]), self.std(t[:1]).view(1, 1, 1, 1)))


@pytest.mark.parametrize("strongest", [2.0, 60.0])
def test_blur_gives_the_step_of_soft_diffusion_however_little_it_leaves(strongest):
    """At 60 pixels nothing but the mean survives, and going back in time would divide by 0."""
    process = Cosines(strongest)
    blur, times, x = Blurred(process), uniform(6, 0.1), 0.3 * draws(3, 1, 4, 4)

    def clean(u, t):
        return modes(blur.denoise(pixels(u), torch.full((len(u),), t, dtype=torch.float64)))

    found = pixels(solvers.ddim(process, clean, modes(x), times))
    torch.testing.assert_close(
        found, soft_ddim(blur, blur.denoise, x, times, None), rtol=1e-9, atol=1e-9
    )
