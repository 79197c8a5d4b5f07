import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bench.method import Noise
from bench.schema import build
from methods.shared.process import VE, VP
from methods.soft import corruptions
from methods.soft.corruption import Corruption, make_corruption, onsets
from methods.soft.corruptions.pixelate import Params as Pixelate
from methods.soft.operator import Blur, Composite, Interpolated, Mask, Operator, Scaling
from methods.soft.recipe import recipes
from methods.soft.schedule import Geometric, Linear, SineSquared, Tabulated
from methods.soft.settings import Blur as BlurParams
from methods.soft.settings import CorruptionParams, NoiseScale, Preserving
from methods.soft.settings import Mask as MaskParams

SHAPE = (2, 6, 8)
ONSET = onsets(MaskParams(order="outwards", width=0.4), SHAPE)

OPERATORS = {
    "blur": Blur(SHAPE, Linear(0.0, 3.0)),
    "cut_off": Blur(SHAPE, Linear(0.3, 3.0), half_width=11),
    "tabulated": Blur(SHAPE, Tabulated([0.0, 0.5, 2.0, 3.0])),
    "mask": Mask(ONSET, 0.4, 0.1),
    "blur_mask": Composite(Blur(SHAPE, SineSquared(2.0)), Mask(ONSET, 0.4)),
    "fade": Scaling(Linear(1.0, 0.0)),
    "pixelate": make_corruption(CorruptionParams(kind="pixelate"), SHAPE).operator,
    "shift": Interpolated(lambda x: x.roll(1, -1), SineSquared(0.8)),
}

SCHEDULES = {
    "linear": Linear(0.5, 3.0),
    "sin2": SineSquared(2.0),
    "geometric": Geometric(0.01, 0.1),
    "plateau": Geometric(0.01, 0.1, 0.27),
    "tabulated": Tabulated([0.0, 0.5, 0.7, 3.0]),
    "ve": make_corruption(CorruptionParams(kind="ve"), SHAPE).noise_scale,
    "vp": make_corruption(CorruptionParams(kind="vp"), SHAPE).noise_scale,
    "vp_mean": make_corruption(CorruptionParams(kind="vp"), SHAPE).operator.factor,
}

each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def images(count: int = 3, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    return Noise(0, dtype=torch.float64).normal((count, *shape))


def time(t: float) -> torch.Tensor:
    return torch.tensor(t, dtype=torch.float64)


def matrix(operator: Operator, t: float, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """The operator at t as a matrix, by what it makes of unit vectors."""
    dims = math.prod(shape)
    units = torch.eye(dims, dtype=torch.float64).view(dims, *shape)
    return operator.apply(units, time(t)).view(dims, dims).T


def close(actual, expected, rtol: float = 0.0, atol: float = 1e-13) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol)


@each_operator
@pytest.mark.parametrize("t", [0.15, 0.5, 0.9])
def test_the_derivative_is_that_of_the_operator(operator, t):
    x, step = images(), 1e-6
    slope = (operator.apply(x, time(t + step)) - operator.apply(x, time(t - step))) / (2 * step)
    close(operator.derivative(x, time(t)), slope, atol=1e-8)
    assert slope.abs().max() > 0.01


@each_schedule
@pytest.mark.parametrize("t", [0.15, 0.5, 0.9])
def test_the_derivative_is_that_of_the_schedule(schedule, t):
    step = 1e-6
    slope = (schedule(time(t + step)) - schedule(time(t - step))) / (2 * step)
    close(schedule.derivative(time(t)), slope, rtol=1e-7, atol=1e-9)


@each_schedule
def test_at_a_kink_the_derivative_is_the_one_from_the_left(schedule):
    for kink in schedule.kinks:
        left = (schedule(time(kink)) - schedule(time(kink - 1e-7))) / 1e-7
        right = (schedule(time(kink + 1e-7)) - schedule(time(kink))) / 1e-7
        close(schedule.derivative(time(kink)), left, rtol=1e-5)
        assert (left - right).abs() > 0.05


def test_kinks_are_those_of_all_parts():
    assert OPERATORS["tabulated"].kinks == pytest.approx((1 / 3, 2 / 3))
    both = Composite(OPERATORS["tabulated"], Scaling(Geometric(1.0, 0.5, 0.4)))
    assert Corruption(both, Geometric(0.1, 1.0, 0.25)).kinks == pytest.approx(
        (0.25, 1 / 3, 0.4, 2 / 3)
    )
    assert Corruption(OPERATORS["mask"], Geometric(0.1, 1.0)).kinks == ()


def test_tabulated_levels_stand_at_equal_distances_with_lines_between():
    schedule = SCHEDULES["tabulated"]
    close(schedule(torch.linspace(0, 1, 4, dtype=torch.float64)), [0.0, 0.5, 0.7, 3.0])
    close(schedule(time(0.5)), 0.6)


@each_operator
def test_times_of_each_image_are_those_of_one_after_the_other(operator):
    x, t = images(), torch.tensor([0.1, 0.45, 0.8], dtype=torch.float64)
    for function in (operator.apply, operator.derivative):
        alone = [function(image[None], at) for image, at in zip(x, t, strict=True)]
        close(function(x, t), torch.cat(alone))


@each_operator
def test_channels_are_corrupted_one_by_one(operator):
    x = images()
    alone = [operator.apply(channel, time(0.6)) for channel in x.split(1, dim=1)]
    close(operator.apply(x, time(0.6)), torch.cat(alone, dim=1))


@each_operator
def test_float32_is_as_right_as_its_numbers(operator):
    x = images()
    for function in (operator.apply, operator.derivative):
        single = function(x.float(), torch.full((3,), 0.6))
        assert single.dtype == torch.float32
        close(
            single, function(x, time(0.6)), atol=1e-5 if function == operator.derivative else 1e-6
        )


@each_operator
def test_self_adjoint_is_what_it_says(operator):
    found = matrix(operator, 0.6)
    assert operator.self_adjoint == torch.allclose(found, found.T, rtol=0, atol=1e-14)


def test_images_reflected_without_their_edge_make_a_blur_that_is_not_symmetric():
    offsets = np.arange(-5, 6)
    weights = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights /= weights.sum()

    def blur(mode: str) -> np.ndarray:
        padded = np.pad(np.eye(8), ((5, 5), (0, 0)), mode=mode)
        return sum(weight * padded[k : k + 8] for k, weight in enumerate(weights))

    assert np.abs(blur("reflect") - blur("reflect").T).max() > 0.1
    close(blur("symmetric"), blur("symmetric").T)
    ours = matrix(Blur((1, 1, 8), Linear(1.5, 1.5), half_width=5), 0.5, (1, 1, 8))
    close(ours, blur("symmetric"))


@pytest.mark.parametrize("half_width", [1, 3, 20])
def test_a_cut_off_kernel_is_the_convolution_of_mirrored_images(half_width):
    operator, x = Blur(SHAPE, Linear(2.0, 2.0), half_width), images(1)[0, 0].numpy()
    offsets = np.arange(-half_width, half_width + 1)
    weights = np.exp(-0.5 * (offsets / 2.0) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        widths = [(half_width, half_width) if k == axis else (0, 0) for k in (0, 1)]
        padded = np.pad(x, widths, mode="symmetric")
        x = sum(
            weight * padded.take(range(k, k + x.shape[axis]), axis)
            for k, weight in enumerate(weights)
        )
    close(operator.apply(images(1), time(0.5))[0, 0], x)


def test_the_blur_is_the_gaussian_filter_of_mirrored_images():
    x = images(1)
    filtered = gaussian_filter(x[0, 0].numpy(), 3.0, mode="reflect", truncate=8)
    close(OPERATORS["blur"].apply(x, time(1.0))[0, 0], filtered, atol=1e-10)


def test_blurs_add_their_variances_and_keep_the_mean():
    def blur(b: float) -> torch.Tensor:
        return matrix(Blur(SHAPE, Linear(b, b)), 0.5)

    close(blur(0.9) @ blur(1.2), blur(1.5))
    close(blur(0.0), torch.eye(math.prod(SHAPE)))
    x = images()
    close(OPERATORS["blur"].apply(x, time(1.0)).mean((2, 3)), x.mean((2, 3)))


def test_the_widest_blur_of_the_paper_keeps_the_lowest_cosines():
    blur = make_corruption(CorruptionParams(), (3, 64, 64)).operator
    lowest = blur.eigenvalues(time(1.0))[0, 0, 0, 1:5]
    close(lowest, [0.529, 0.0781, 0.00323, 3.73e-5], rtol=2e-3)


def test_a_pixel_fades_after_its_onset_from_1_to_the_floor_with_two_derivatives():
    onset, width, floor = 0.3, 0.4, 0.1
    mask = Mask(torch.tensor([[onset]]), width, floor)

    def value(t: float) -> float:
        return mask.eigenvalues(time(t)).item()

    assert [value(t) for t in (0.0, onset, onset + width, 1.0)] == pytest.approx(
        [1.0, 1.0, floor, floor], abs=1e-12
    )
    assert value(onset + width / 2) == pytest.approx((1 + floor) / 2)
    step = 1e-3
    for edge in (onset, onset + width):
        bend = (value(edge + step) - 2 * value(edge) + value(edge - step)) / step**2
        # h'' grows as 60 u there: a ramp of one derivative less would have a bend of the order of 1
        # / width^2.
        assert abs(bend) < 2 * 60 * step / width**3


@pytest.mark.parametrize("order", ["outwards", "inwards", "random"])
def test_onsets_go_from_the_first_pixel_at_0_to_the_last_which_has_faded_at_1(order):
    params = MaskParams(order=order, width=0.4, floor=0.0)
    found = onsets(params, (1, 7, 7))
    assert found.min() == 0
    assert found.max().item() == pytest.approx(0.6)
    centre, corner = found[3, 3].item(), found[0, 0].item()
    if order == "outwards":
        assert centre < found[3, 5] < corner
    if order == "inwards":
        assert centre > found[3, 5] > corner
    if order == "random":
        assert len(found.unique()) == 49
        assert torch.equal(found, onsets(params, (3, 7, 7)))
        assert not torch.equal(found, onsets(MaskParams(order=order, width=0.4, seed=1), (1, 7, 7)))
    assert Mask(found, 0.4).eigenvalues(time(1.0)).abs().max() == 0


def test_a_mask_without_a_width_switches_pixels_off_and_has_no_derivative():
    onset = onsets(MaskParams(order="random", width=0.0, floor=0.0), SHAPE)
    mask = Mask(onset, 0.0)
    assert not mask.differentiable
    values = mask.eigenvalues(time(0.5))[0, 0]
    assert torch.equal(values, (onset >= 0.5).double())
    assert mask.eigenvalues(time(0.0)).min() == 1
    assert mask.eigenvalues(time(1.0)).max() == 0
    with pytest.raises(ValueError, match="no derivative"):
        mask.derivative(images(), time(0.5))
    assert not Composite(OPERATORS["blur"], mask).differentiable


@pytest.mark.parametrize("kind", ["ve", "vp"])
def test_noise_alone_is_the_process_of_that_name(kind):
    noise = NoiseScale(schedule="geometric", least=0.02, most=5.0)
    params = CorruptionParams(
        kind=kind, noise=noise, preserving=Preserving(beta_min=0.2, beta_max=15.0)
    )
    process = VE(0.02, 5.0) if kind == "ve" else VP(0.2, 15.0)
    corruption, x0, t = (
        make_corruption(params, SHAPE),
        images(),
        torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64),
    )
    for found, expected in zip(corruption.perturb(x0, t), process.perturb(x0, t), strict=True):
        close(found, expected, rtol=1e-13)


def test_the_straight_path_leads_from_the_image_to_noise():
    corruption, x0 = make_corruption(CorruptionParams(kind="straight"), SHAPE), images(1)
    mean, std = corruption.perturb(x0, torch.tensor([0.3], dtype=torch.float64))
    close(mean, 0.7 * x0)
    assert std.item() == pytest.approx(0.3)
    close(corruption.derivative(x0, time(0.3)), -x0)
    assert corruption.std_derivative(time(0.3)).item() == 1


def test_lengths_are_fractions_of_the_width_of_an_image():
    params = CorruptionParams(blur=BlurParams(schedule="geometric", least=0.05, most=0.5))
    b = make_corruption(params, (1, 4, 8)).operator.std
    assert [b(time(t)).item() for t in (0.0, 0.5, 1.0)] == pytest.approx([0.4, 0.4 * 10**0.5, 4.0])


def test_levels_found_in_training_come_before_those_given():
    params = CorruptionParams(blur=BlurParams(schedule="levels", levels=(0.0, 0.25, 0.5)))
    assert make_corruption(params, SHAPE).operator.std(time(0.5)).item() == pytest.approx(2.0)
    assert make_corruption(params, SHAPE, [0.0, 0.375]).operator.std(
        time(1.0)
    ).item() == pytest.approx(3.0)
    with pytest.raises(ValueError, match="levels"):
        make_corruption(CorruptionParams(blur=BlurParams(schedule="levels")), SHAPE)


def test_of_blur_and_mask_the_blur_comes_first():
    params = CorruptionParams(kind="blur_mask", mask=MaskParams(floor=0.0))
    corruption, x = make_corruption(params, SHAPE), images()
    blur, mask = (
        make_corruption(CorruptionParams(kind=kind, mask=params.mask), SHAPE)
        for kind in ("blur", "mask")
    )
    close(corruption.apply(x, time(0.6)), mask.apply(blur.apply(x, time(0.6)), time(0.6)))
    assert corruption.apply(x, time(1.0)).abs().max() == 0


def test_pixelation_leaves_the_means_of_blocks():
    x, t = images(1), time(0.3)
    corruption = make_corruption(
        build(CorruptionParams, {"kind": "pixelate", "pixelate": {"size": 2}}), SHAPE
    )
    means = x.view(1, 2, 3, 2, 4, 2).mean((3, 5)).repeat_interleave(2, -1).repeat_interleave(2, -2)
    close(corruption.apply(x, time(0.0)), x)
    close(corruption.apply(x, t), 0.7 * x + 0.3 * means)
    close(corruption.apply(x, time(1.0)), means)
    close(corruption.derivative(x, t), means - x)


GHOST = '''
from dataclasses import dataclass
from methods.soft.recipe import Recipe

@dataclass(frozen=True, kw_only=True)
class Params(Recipe):
    """An echo of the image beside it."""

    pixels: int = 3

    def operator(self, shape):
        from methods.soft.operator import Interpolated

        return Interpolated(lambda x: (x + x.roll(self.pixels, -1)) / 2)
'''

USE = """
import sys
import methods.soft.corruptions
methods.soft.corruptions.__path__.append(sys.argv[1])

from bench.card import cards
from bench.schema import build, merge
card = cards()["soft"]
noise = {"least": 0.05, "most": 0.4}
values = {"corruption": {"kind": "ghost", "ghost": {"pixels": 4}, "noise": noise}}
params = build(card.params, merge(card.tiny, values))
assert card.variant(params) == "ghost" and card.refuse(params, (1, 8, 8)) == []
assert not card.likelihood.refuse(params) and "torch" not in sys.modules

import torch
from bench.data.images import load_images
from bench.method import Noise, Run, Sampler
from methods.soft.adapter import SoftDiffusion
data = load_images("digits")
model = SoftDiffusion(params, data)
model.train(data, Run(seed=0))
x = 2 * torch.from_numpy(data.train).double() / 16 - 1
ended = model.corruption.apply(x, torch.ones((), dtype=torch.float64))
assert torch.allclose(ended, (x + x.roll(4, -1)) / 2)
fast = {"deis", "dpm_solver_2m", "dpm_solver_3m", "sde_dpm_solver_2m", "unipc"}
for name, sampler in card.samplers.items():
    chosen = sampler.params() if not sampler.effort.exact else sampler.params(steps=3)
    refused = any("basis" in why for why in sampler.refuse(params, chosen, "uniform"))
    assert refused == (name in fast)
    if not refused:
        assert model.sample(2, Sampler(name, "uniform", chosen), Noise(0)).isfinite().all()
images = torch.from_numpy(data.test[:1].astype("int64"))
scored = model.score(images, Noise(0), card.likelihood.params(tolerance=0.1))
assert scored.values["bits_per_dim"].isfinite().all()
print("whole")
"""


def test_a_corruption_of_ones_own_is_one_file(tmp_path):
    (tmp_path / "ghost.py").write_text(GHOST)
    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout == "whole\n", done.stderr


def test_a_corruption_without_parameters_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(corruptions, "__path__", [str(tmp_path)])
    with pytest.raises(TypeError, match=r"empty\.py: .*Params\(Recipe\)"):
        recipes.__wrapped__()


@pytest.mark.parametrize(
    ("kind", "values", "word"),
    [
        (Pixelate, {"size": 1}, "at least 2"),
        (BlurParams, {"least": 0.4}, "least < most"),
        (BlurParams, {"schedule": "geometric"}, "cannot begin at 0"),
        (BlurParams, {"schedule": "sin2", "least": 0.1}, "sin2"),
        (BlurParams, {"levels": (0.0, 0.1)}, "schedule levels"),
        (BlurParams, {"schedule": "levels", "levels": (0.2, 0.1)}, "should not fall"),
        (BlurParams, {"half_width": 0}, "half_width"),
        (BlurParams, {"plateau": 1.0}, "plateau"),
        (MaskParams, {"width": 1.5}, "width"),
        (MaskParams, {"floor": 1.0}, "floor"),
        (NoiseScale, {"schedule": "linear", "least": 0.0}, "positive"),
        (Preserving, {"beta_min": 3.0, "beta_max": 2.0}, "beta_max"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_a_remedy(kind, values, word):
    with pytest.raises(ValueError, match=word):
        kind(**values)
