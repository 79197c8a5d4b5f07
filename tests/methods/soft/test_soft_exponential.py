"""The fast solvers undo corruptions: as the family of DDIM does, and single images exactly."""

import pytest
import torch
from test_exponential import POINTS, Cosines, draws, modes, pixels, uniform

from methods.shared import solvers
from methods.shared.exact import Mixture
from methods.soft import exponential
from methods.soft.corruption import Corruption, make_corruption
from methods.soft.operator import Blur
from methods.soft.samplers import ancestral
from methods.soft.samplers import ddim as soft_ddim
from methods.soft.schedule import Geometric, Linear
from methods.soft.settings import CorruptionParams, Mask


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


SHAPE = (1, 4, 4)
CORRUPTIONS = {
    "blur that begins blurred": Corruption(Blur(SHAPE, Linear(0.3, 2.0)), Geometric(0.05, 0.5)),
    "mask": make_corruption(CorruptionParams(kind="mask", mask=Mask(floor=0.0)), SHAPE),
    "straight": make_corruption(CorruptionParams(kind="straight"), SHAPE),
}
SOLVERS = ("deis", "dpm_solver_2m", "dpm_solver_3m", "unipc")
each_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)


@each_corruption
@pytest.mark.parametrize("name", SOLVERS)
def test_a_single_image_is_reached_in_any_steps_from_t_1_to_0(corruption, name):
    image, x = draws(1, *SHAPE, seed=3), draws(2, *SHAPE)
    times = torch.linspace(1, 0, 6, dtype=torch.float64)
    options = {"prediction": "clean", "order": 4} if name == "deis" else {}
    solver = getattr(exponential, name)

    def clean(x, t):
        return image.expand_as(x)

    reached = solver(corruption, clean, x, times, **options)
    first, last = times[0], times[-1]
    kept = corruption.std(last) / corruption.std(first) * (x - corruption.apply(image, first))
    torch.testing.assert_close(reached, corruption.apply(image, last) + kept, rtol=1e-9, atol=1e-9)
    denoised = solver(corruption, clean, x, times, final="denoise", **options)
    torch.testing.assert_close(denoised, clean(x, last))


@each_corruption
def test_a_step_of_the_sde_is_ancestral_sampling(corruption):
    image, x = draws(1, *SHAPE, seed=3), draws(2, *SHAPE)
    times, z = torch.tensor([0.8, 0.5], dtype=torch.float64), draws(2, *SHAPE, seed=5)

    class Given:
        """Draws whose coordinates in the corruption's basis, or themselves, are z."""

        def __init__(self, z):
            self.z = z

        def normal(self, shape):
            return self.z

    def clean(x, t):
        return image.expand_as(x)

    basis = corruption.operator
    found = exponential.sde_dpm_solver_2m(
        corruption, clean, x, times, Given(basis.to_basis(z)), last_noise=True
    )
    expected = ancestral(corruption, clean, x.clone(), times, Given(z), last_noise=True)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_corruption_that_is_diagonal_in_no_basis_is_refused():
    corruption = make_corruption(CorruptionParams(kind="blur_mask"), SHAPE)
    with pytest.raises(ValueError, match="diagonal in one basis"):
        exponential.unipc(corruption, lambda x, t: x, draws(1, *SHAPE), uniform(2))
