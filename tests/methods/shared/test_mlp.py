"""Multilayer perceptrons for points: their maths, their published sizes and layout, and what they
refuse.
"""

import math

import pytest
import torch

from bench.method import Noise
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.diffusers import read_diffusers
from methods.shared.layers import initialise
from methods.shared.mlp import MLP
from methods.shared.published import from_published, published_layout, to_published

TOY = {
    "mlp": (Backbone(architecture="mlp"), 50_562),
    "mlp_residual": (Backbone(architecture="mlp_residual", width=64, blocks=20), 84_996),
}
"""The toy networks of CLD's authors, points with velocities to scores, and their numbers of
parameters.
"""


def random_mlp(**settings):
    network = MLP(4, 2, **settings).double()
    noise = Noise(1, dtype=torch.float64)
    for name, weight in network.named_parameters():
        weight.data = 0.5 * noise.child(name).normal(weight.shape)
    return network, [(layer.weight, layer.bias) for layer in network.layers]


def silu(h):
    return h / (1 + torch.exp(-h))


def points(count=5):
    noise = Noise(2, dtype=torch.float64)
    return noise.normal((count, 4)), noise.normal((count,))


def test_plain_network_sees_the_condition_at_its_input_alone():
    network, (*hidden, (weight, bias)) = random_mlp(width=6, blocks=3)
    x, condition = points()
    h = torch.cat([x, condition[:, None]], 1)
    for w, b in hidden:
        h = silu(h @ w.T + b)
    assert len(hidden) == 3
    torch.testing.assert_close(network(x, condition), h @ weight.T + bias, rtol=1e-12, atol=1e-12)


def test_residual_network_adds_each_layer_to_what_it_sees_and_tells_it_the_condition():
    network, ((first, first_bias), *hidden, (last, last_bias)) = random_mlp(
        width=6, blocks=3, residual=True
    )
    x, condition = points()
    told = condition[:, None]
    h = silu(torch.cat([x, told], 1) @ first.T + first_bias)
    for w, b in hidden:
        h = silu(h + torch.cat([h, told], 1) @ w.T + b)
    assert len(hidden) == 3
    expected = torch.cat([h, told], 1) @ last.T + last_bias
    torch.testing.assert_close(network(x, condition), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
def test_points_as_vectors_and_as_images_of_one_pixel_give_the_same_numbers(residual):
    network, _ = random_mlp(width=6, blocks=2, residual=residual)
    x, condition = points()
    image = network(x[:, :, None, None], condition)
    assert image.shape == (5, 2, 1, 1)
    assert torch.equal(image[:, :, 0, 0], network(x, condition))


@pytest.mark.parametrize(("settings", "count"), TOY.values(), ids=TOY)
def test_network_has_the_authors_number_of_parameters(settings, count):
    network = make_network(settings, 4, 2, 1)
    assert sum(weight.numel() for weight in network.parameters()) == count


@pytest.mark.parametrize(("settings", "first", "last"), [(TOY["mlp"][0], "main.0", "main.8")])
def test_published_names_count_the_activations_of_the_plain_network(settings, first, last):
    names = [entry.published for entry in published_layout(make_network(settings, 4, 2, 1))]
    assert names[:2] == [f"{first}.weight", f"{first}.bias"]
    assert names[-2:] == [f"{last}.weight", f"{last}.bias"]
    assert len(names) == 10


@pytest.mark.parametrize(("settings", "count"), TOY.values(), ids=TOY)
def test_published_weights_come_back_as_they_were(settings, count):
    network = make_network(settings, 4, 2, 1)
    initialise(network, Noise(0))
    state = network.state_dict()
    other = make_network(settings, 4, 2, 1)
    other.load_state_dict(from_published(other, to_published(network, state)))
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize(("settings", "count"), TOY.values(), ids=TOY)
def test_initial_weights_are_uniform_of_variance_one_over_the_mean_fan(settings, count):
    network = make_network(settings, 4, 2, 1)
    initialise(network, Noise(0))
    for layer in network.layers:
        limit = math.sqrt(3 / (sum(layer.weight.shape) / 2))
        assert layer.weight.abs().max() <= limit
        # The greatest of n uniform draws misses the limit by about limit / n; a thousandth of the
        # chances allow 7 / n.
        assert layer.weight.abs().max() > limit * (1 - 7 / layer.weight.numel())
        assert not layer.bias.any()


def test_perceptron_takes_points_and_refuses_images():
    for settings, _ in TOY.values():
        assert settings.refuse((2, 1, 1)) == []
        (reason,) = settings.refuse((1, 8, 8))
        assert reason == (
            f"network.architecture {settings.architecture} is for points, not for 8x8 images: take "
            "ncsnpp"
        )


@pytest.mark.parametrize("architecture", TOY)
def test_what_perceptrons_do_not_have_is_refused(architecture):
    values = {
        "multipliers": (1,),
        "attention": (),
        "embedding": "fourier",
        "fir": True,
        "dropout": 0.0,
    }
    values |= {"init_scale": 1.0, "conditional": False, "recompute": True, "up_attention": "every"}
    for name, value in values.items():
        with pytest.raises(ValueError, match=f"^{architecture} has no {name}$"):
            Backbone(architecture=architecture, **{name: value})


def test_networks_are_told_a_logarithm_unless_sinusoids_take_an_index():
    assert Backbone(embedding="positional").condition == "index"
    assert Backbone(embedding="fourier").condition == "log"
    assert Backbone(architecture="ddpm").condition == "index"
    assert {settings.condition for settings, _ in TOY.values()} == {"log"}


def test_folder_of_the_diffusers_library_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="a perceptron has no counterpart in the library"):
        read_diffusers(tmp_path, make_network(TOY["mlp"][0], 4, 2, 1))
