"""Where a checkpoint holds weights and averages: under which names, after which prefixes."""

import pytest
import safetensors.torch
import torch
from checkpoint_files import FREQUENCIES, RGB, drawn, equal, saved, taken, weights_of
from torch import nn

from bench.report.description import imported_weights
from bench.schema import build
from methods.ncsn.adapter import NCSN
from methods.ncsn.card import Params as NCSNParams
from methods.ncsn.published import to_published as ncsn_published
from methods.shared.checkpoint import CheckpointError
from methods.shared.published import trained_names

SECOND = {"sigma_begin": 5.0, "levels": 4, "refinenet": {"variant": "ncsnv2", "width": 4}}


PREFIXES = {
    "none": "",
    "data parallel": "module.",
    "compiled": "_orig_mod.",
    "compiled data parallel": "module._orig_mod.",
    "data parallel compiled": "_orig_mod.module.",
    "twice data parallel": "module.module.",
    "lightning": "model.",
    "lightning, compiled": "net._orig_mod.",
    "fully sharded": "_fsdp_wrapped_module.",
    "owners": "score_model.module.net.",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_words_that_wrappers_put_before_a_name_are_taken_away(tmp_path, method, prefix):
    raw = weights_of(method.network)
    content = {"model": {prefix + name: tensor for name, tensor in raw.items()}, "step": 3}
    facts, network, average = taken(method, saved(tmp_path / "c.pth", content))
    assert equal(network, raw)
    assert equal(average, raw)
    assert facts == {"format": "score_sde_pytorch", "updates": 3}


def test_word_of_a_compiled_layer_is_taken_out_of_the_middle_of_a_name(tmp_path, method):
    raw = weights_of(method.network)
    inside = {
        name.replace("all_modules.5.", "all_modules.5._orig_mod."): tensor
        for name, tensor in raw.items()
    }
    assert inside.keys() != raw.keys()
    assert equal(taken(method, saved(tmp_path / "c.pth", {"model": inside}))[1], raw)


def test_one_tensor_under_two_names_is_refused(tmp_path, method):
    raw = weights_of(method.network)
    twice = raw | {f"module.{FREQUENCIES}": raw[FREQUENCIES] + 1}
    why = f"holds {FREQUENCIES} twice, as {FREQUENCIES} and module.{FREQUENCIES}"
    with pytest.raises(CheckpointError, match=why):
        method.import_checkpoint(saved(tmp_path / "c.pth", {"model": twice}), "raw")


PLACES = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "network",
    "score_model",
    "params",
    "weights",
    None,
)


@pytest.mark.parametrize("place", PLACES)
def test_weights_are_found_alone_or_under_a_usual_name(tmp_path, method, place):
    raw = weights_of(method.network)
    content = raw if place is None else {place: raw, "epoch": 3, "global_step": torch.tensor(17)}
    facts, network, _ = taken(method, saved(tmp_path / "c.pth", content))
    assert equal(network, raw)
    assert facts["format"] == ("score_sde_pytorch" if place == "model" else "weights alone")
    assert facts["updates"] == (None if place is None else 17)


def test_weights_in_two_places_are_refused_and_so_is_a_file_without_any(tmp_path, method):
    raw = weights_of(method.network)
    with pytest.raises(
        CheckpointError, match=r"holds weights under model and state_dict: save those"
    ):
        method.import_checkpoint(
            saved(tmp_path / "a.pth", {"model": raw, "state_dict": raw}), "raw"
        )
    with pytest.raises(
        CheckpointError,
        match=r"holds no weights by name, alone or under model.*holds epoch, model$",
    ):
        method.import_checkpoint(saved(tmp_path / "b.pth", {"epoch": 1, "model": "unet"}), "raw")


def test_weights_alone_have_no_average_and_the_message_says_what_to_write(tmp_path, method):
    path = saved(tmp_path / "c.pth", weights_of(method.network))
    with pytest.raises(
        CheckpointError, match=r"holds no average of the weights \(ema\); ask for weights: raw$"
    ):
        method.import_checkpoint(path, "ema")


def averages(method):
    """Returns the forms in which files hold an average, with how many updates each tells of."""
    network, average = method.network, weights_of(method.network, seed=2)
    shadow = [average[name] for name in trained_names(network)]
    named = {name: average[name] for name in trained_names(network)}
    return {
        "list": (
            "ema",
            {"shadow_params": shadow, "num_updates": 5, "decay": 0.9, "collected_params": []},
            5,
        ),
        "parameters": (
            "ema",
            {"shadow_params": list(map(nn.Parameter, shadow)), "num_updates": 5},
            5,
        ),
        "bare list": ("ema", shadow, None),
        "named": (
            "ema_state_dict",
            {f"module.{name}": tensor for name, tensor in average.items()},
            None,
        ),
        "trained alone": ("model_ema", named, None),
        "shadow": ("ema", {"shadow": named, "num_updates": torch.tensor(5)}, 5),
        "torch's own": (
            "ema_model",
            {"n_averaged": torch.tensor(5), "module.sigmas": torch.ones(3)}
            | {f"module.{n}": t for n, t in named.items()},
            5,
        ),
    }


@pytest.mark.parametrize(
    "kind", ["list", "parameters", "bare list", "named", "trained alone", "shadow", "torch's own"]
)
def test_average_is_found_as_a_list_or_by_name(tmp_path, method, kind):
    place, ema, updates = averages(method)[kind]
    raw, expected = weights_of(method.network), weights_of(method.network, seed=2)
    if kind != "named":
        expected[FREQUENCIES] = raw[FREQUENCIES]  # not trained, so not averaged
    facts, network, average = taken(
        method, saved(tmp_path / "c.pth", {"model": raw, place: ema, "step": 9}), "ema"
    )
    assert equal(network, raw)
    assert equal(average, expected)
    assert (facts["updates"], facts["ema_updates"]) == (9, updates)
    assert "note" not in facts


def test_two_averages_are_refused(tmp_path, method):
    raw = weights_of(method.network)
    content = {"model": raw, "ema": raw, "model_ema": raw}
    with pytest.raises(CheckpointError, match="holds averages under ema and model_ema"):
        method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")


@pytest.mark.parametrize("kind", ["list", "shadow", "torch's own"])
def test_average_of_no_updates_is_said_on_the_row(tmp_path, method, kind):
    place, ema, _ = averages(method)[kind]
    ema = {
        **ema,
        **{name: 0 * torch.tensor(1) for name in ("num_updates", "n_averaged") if name in ema},
    }
    content = {"model": weights_of(method.network), place: ema, "step": 0}
    facts = method.import_checkpoint(saved(tmp_path / "c.pth", content), "ema")
    assert facts["ema_updates"] == 0
    said = "checkpoint, ema (an average of 0 updates, which is the weights before training)"
    assert imported_weights({"weights": "ema", **facts}) == said
    facts = method.import_checkpoint(tmp_path / "c.pth", "raw")
    assert imported_weights({"weights": "raw", **facts}) == "checkpoint, raw"


# NCSN's readers share all of this


@pytest.fixture(scope="module")
def ncsn():
    return NCSN(build(NCSNParams, SECOND), RGB)


@pytest.mark.parametrize("place", ["list", "state_dict", "alone", "safetensors"])
def test_ncsn_finds_wrapped_and_bare_weights_too(tmp_path, ncsn, place):
    raw = drawn(ncsn_published(ncsn.network, ncsn.network.state_dict()), seed=1)
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in raw.items()}
    path = tmp_path / "c.pth"
    if place == "safetensors":
        safetensors.torch.save_file(wrapped, path)
    else:
        torch.save(
            {"list": [wrapped, {}], "state_dict": {"state_dict": wrapped}, "alone": wrapped}[place],
            path,
        )
    facts = ncsn.import_checkpoint(path, "ema")
    assert equal(ncsn_published(ncsn.average, ncsn.average.state_dict()), raw)
    assert facts == {"format": "ncsn" if place == "list" else "weights alone", "weights": "raw"}
    assert (
        imported_weights({"weights": "ema", **facts}) == "checkpoint, raw"
    )  # the file holds no average


def test_ncsn_says_an_average_of_no_updates_and_refuses_nan(tmp_path, ncsn):
    raw = drawn(ncsn_published(ncsn.network, ncsn.network.state_dict()), seed=1)
    facts = ncsn.import_checkpoint(saved(tmp_path / "a.pth", [raw, {}, 0, 0, raw]), "ema")
    assert facts["note"].startswith("an average of 0 updates")
    broken = raw | {"begin_conv.bias": raw["begin_conv.bias"] * float("nan")}
    with pytest.raises(
        CheckpointError, match=r"average holds NaN or infinity, 4 of 4 numbers of begin_conv.bias"
    ):
        ncsn.import_checkpoint(saved(tmp_path / "b.pth", [raw, {}, 0, 9, broken]), "ema")
    with pytest.raises(CheckpointError, match="model holds NaN or infinity"):
        ncsn.import_checkpoint(saved(tmp_path / "c.pth", [broken, {}, 0, 9, raw]), "raw")
