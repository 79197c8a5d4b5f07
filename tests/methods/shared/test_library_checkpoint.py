"""Models of the diffusers library: networks filled from them give what the library gives."""

import json
from dataclasses import replace

import pytest
import torch
from checkpoint_files import RGB

from bench.method import Noise
from bench.schema import build
from methods.sde.adapter import ScoreSDE
from methods.sde.card import Params
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.checkpoint import CheckpointError
from methods.shared.diffusers import read_diffusers
from methods.shared.layers import initialise

# The diffusers library

TWO_LEVELS = {"norm_eps": 1e-6, "attention_head_dim": None, "layers_per_block": 1, "sample_size": 8}
DDPM = {
    **TWO_LEVELS,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
NCSNPP = {
    **TWO_LEVELS,
    "block_out_channels": (64, 128, 128),
    "layers_per_block": 2,
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
    "up_block_types": ("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "time_embedding_type": "fourier",
    "center_input_sample": True,
    "mid_block_scale_factor": 2**0.5,
    "norm_num_groups": None,
}
OURS = {
    "ddpm": Backbone(
        architecture="ddpm",
        width=32,
        multipliers=(1, 2),
        blocks=1,
        attention=(4,),
        up_attention="every",
    ),
    "ncsnpp": Backbone(
        width=64,
        multipliers=(1, 2, 2),
        blocks=2,
        attention=(4,),
        embedding="fourier",
        fir=True,
        progressive="output_skip",
        progressive_input="input_skip",
    ),
}
MODELS = {
    "ddpm": ("ddpm", DDPM, ".safetensors"),
    "ddpm_bin": ("ddpm", DDPM, ".bin"),
    "ddpm_flipped": ("ddpm", DDPM | {"flip_sin_to_cos": True}, ".safetensors"),
    "ncsnpp": ("ncsnpp", NCSNPP, ".safetensors"),
}


def library_model(config):
    """Returns a small model of the library with random weights."""
    diffusers = pytest.importorskip("diffusers", reason="the diffusers library is not installed")
    model = diffusers.UNet2DModel(**config)
    noise = Noise(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 or name.endswith("bias"):
                weight.copy_(noise.child(name).normal(weight.shape) / weight[0].numel() ** 0.5)
    return model.eval()


def network_of(kind):
    network = make_network(OURS[kind], 3, 3, 8).eval()
    initialise(network, Noise(0))
    return network


@pytest.mark.parametrize(("kind", "config", "suffix"), MODELS.values(), ids=MODELS)
def test_network_filled_from_the_library_gives_what_the_library_gives(
    tmp_path, kind, config, suffix
):
    model, network = library_model(config), network_of(kind)
    model.save_pretrained(tmp_path, safe_serialization=suffix == ".safetensors")
    assert (tmp_path / f"diffusion_pytorch_model{suffix}").exists()
    network.load_state_dict(read_diffusers(tmp_path, network)[0])
    x, t = Noise(5).normal((2, 3, 8, 8)), torch.tensor([0.3, 17.0])
    with torch.no_grad():
        if kind == "ddpm":
            theirs, ours = model(x, t).sample, network(x, t)
        else:
            theirs, ours = model(x, t).sample, network(2 * x - 1, t.log()) / t.view(-1, 1, 1, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_earlier_names_of_the_librarys_attention_are_known(tmp_path):
    model, network = library_model(DDPM), network_of("ddpm")
    model.save_pretrained(tmp_path, safe_serialization=False)
    expected, _ = read_diffusers(tmp_path, network)
    path = tmp_path / "diffusion_pytorch_model.bin"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = torch.load(path)
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in tensors.items()}
    torch.save(tensors, path)
    found, _ = read_diffusers(tmp_path, network)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_library_model_of_another_kind_is_refused_with_every_difference(tmp_path):
    library_model(
        DDPM | {"downsample_padding": 1, "norm_eps": 1e-5, "freq_shift": 0}
    ).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        read_diffusers(tmp_path, network_of("ddpm"))
    for line in (
        "downsample_padding: the checkpoint has 1, here it is 0",
        "norm_eps",
        "freq_shift",
    ):
        assert line in str(caught.value)
    once = make_network(replace(OURS["ddpm"], up_attention="last", blocks=2), 3, 3, 8)
    with pytest.raises(CheckpointError, match=r"network.up_attention: every"):
        read_diffusers(tmp_path, once)
    bare = make_network(replace(OURS["ddpm"], resample_with_conv=False), 3, 3, 8)
    library_model(DDPM).save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"4 unexpected.*unexpected: down_blocks.0.downsamplers.0.conv"
    ):
        read_diffusers(tmp_path, bare)
    with pytest.raises(CheckpointError, match="no counterpart in the library"):
        read_diffusers(
            tmp_path, make_network(Backbone(width=32, multipliers=(1, 2), blocks=1), 3, 3, 8)
        )


def test_library_model_of_another_width_lists_its_tensors(tmp_path):
    library_model(DDPM).save_pretrained(tmp_path)
    wide = make_network(replace(OURS["ddpm"], width=64), 3, 3, 8)
    with pytest.raises(
        CheckpointError, match=r"mis-shaped: conv_in.weight is 32x3x3x3, the network has 64x3x3x3"
    ):
        read_diffusers(tmp_path, wide)


@pytest.mark.parametrize("content", [None, "no json", json.dumps({"_class_name": "AutoencoderKL"})])
def test_folder_that_is_no_library_model_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json"):
        read_diffusers(tmp_path, network_of("ddpm"))


def test_method_takes_a_library_model_over(tmp_path):
    model = library_model(DDPM)
    model.save_pretrained(tmp_path)
    settings = {
        "architecture": "ddpm",
        "width": 32,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [4],
    }
    method = ScoreSDE(
        build(Params, {"time": "discrete", "network": settings | {"up_attention": "every"}}), RGB
    )
    assert method.import_checkpoint(tmp_path, "ema") == {"format": "diffusers"}
    x, t = Noise(5).normal((2, 3, 8, 8)), torch.tensor([0.25, 0.75])
    with torch.no_grad():
        score, output = method.score_fn(method.average)(x, t), model(x, 999 * t).sample
    std = (output / -score).flatten(1)
    torch.testing.assert_close(std, std[:, :1].expand_as(std), rtol=1e-3, atol=0)
