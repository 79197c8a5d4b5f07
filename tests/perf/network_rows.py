"""Networks and training beside diffusers and bare loops."""

import copy
import tempfile
import time
from pathlib import Path

import torch
import yaml
from measure import Row, Turns, by_turns, convolution_rate, flops_of
from torch import Tensor

from bench.card import cards
from bench.data.images import load_images
from bench.method import Noise, Run, load_method
from bench.schema import build
from methods.shared.architecture import Backbone
from methods.shared.backbone import make_network
from methods.shared.diffusers import read_diffusers
from methods.shared.layers import initialise
from methods.shared.training import HELDOUT_EVERY, LOG_POINTS, Trainer, fit

ROOT = Path(__file__).resolve().parents[2]

CIFAR = Backbone(
    width=128, multipliers=(1, 2, 2, 2), blocks=4, attention=(16,), embedding="fourier", fir=True,
    progressive="output_skip", progressive_input="input_skip", dropout=0.0,
)  # fmt: skip
CIFAR_THEIRS = {
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "layers_per_block": 4,
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", *2 * ("SkipDownBlock2D",)),
    "up_block_types": ("SkipUpBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
}  # fmt: skip
NCSNPP_THEIRS = {
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": False,
    "downsample_padding": 0,
    "time_embedding_type": "fourier",
    "center_input_sample": True,
    "mid_block_scale_factor": 2**0.5,
    "norm_num_groups": None,
}
SMALL = {8: (16, (1, 1), 1, 64), 16: (32, (1, 2), 2, 32)}
"""Width, multipliers, blocks and batch of small networks, by the size of the images."""


def cifar_pair():
    """Returns the CIFAR-10 NCSN++ of VE and the one of diffusers, of equal weights."""
    from diffusers import UNet2DModel

    theirs = UNet2DModel(in_channels=3, out_channels=3, **CIFAR_THEIRS, **NCSNPP_THEIRS).eval()
    ours = make_network(CIFAR, 3, 3, 32).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if weight.dim() > 1:
                weight.copy_(Noise(3).child(name).normal(weight.shape) / weight[0].numel() ** 0.5)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours.load_state_dict(read_diffusers(Path(folder), ours)[0])
    return ours.to(memory_format=torch.channels_last), theirs


def check_equal(ours: Tensor, theirs: Tensor) -> float:
    """Returns the largest difference relative to the largest value.

    Raises:
        AssertionError: They are not the same computation.
    """
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    assert error < 1e-4, f"not the same network: outputs differ by {error:.1e}"
    return error


@torch.no_grad()
def forward() -> list[Row]:
    """The CIFAR-10 network forward, 4 images."""
    ours, theirs = cifar_pair()
    x, sigma = torch.rand(4, 3, 32, 32), torch.tensor([0.02, 0.5, 3.0, 40.0])
    run = {
        "ours": lambda: ours(2 * x - 1, sigma.log()) / sigma.view(-1, 1, 1, 1),
        "theirs": lambda: theirs(x, sigma).sample,
    }
    error = check_equal(run["ours"](), run["theirs"]())
    peak = convolution_rate()
    turns = by_turns(run["ours"], run["theirs"], pairs=5, warm=False)
    peak = max(peak, convolution_rate())
    share = flops_of(run["ours"]) / turns.medians[0] / peak
    note = f"outputs differ by {error:.0e} of the largest; convolution {peak / 1e9:.0f} GFLOP/s"
    return [
        turns.row("CIFAR-10 NCSN++ forward, 4 images", "diffusers", 1.24, share=share, note=note)
    ]


@torch.no_grad()
def forward_two_threads() -> list[Row]:
    """The same, 16 images on two threads: its share of the convolution's rate."""
    torch.set_num_threads(2)
    ours = make_network(CIFAR, 3, 3, 32).eval().to(memory_format=torch.channels_last)
    initialise(ours, Noise(0))
    x, sigma = torch.rand(16, 3, 32, 32), torch.full((16,), 0.5)
    times, rates = [], []
    for _ in range(3):
        rates.append(convolution_rate(time.perf_counter, repeats=10))
        start = time.perf_counter()
        ours(2 * x - 1, sigma.log())
        times.append(time.perf_counter() - start)
    flops = flops_of(lambda: ours(2 * x - 1, sigma.log()))
    share = flops / min(times) / max(rates)
    return [
        Row(
            work="CIFAR-10 NCSN++ forward, 16 images, 2 threads", peer="3x3 convolution",
            figure=share, unit="of its rate", goal=0.85, ours=min(times), measure="s", repeats=3,
            threads=2, share=share, note=f"wall time; convolution {max(rates) / 1e9:.0f} GFLOP/s",
        )
    ]  # fmt: skip


def quickstart_method():
    """Returns the VP model of the quickstart, and its data."""
    suite = yaml.safe_load((ROOT / "suites" / "quickstart.yaml").read_text())
    data = load_images("digits")
    params = build(cards()["sde"].params, suite["train"]["vp"]["params"])
    return load_method("sde", suite["train"]["vp"]["params"], data), params, data


def training_step() -> list[Row]:
    """A training of the quickstart up to its first held-out loss, beside a bare loop."""
    method, params, data = quickstart_method()
    settings = params.training
    steps = HELDOUT_EVERY * (settings.steps // LOG_POINTS)
    initialise(method.network, Noise(0))
    images = 2 * torch.from_numpy(data.train[: settings.batch]).float() / (data.levels - 1) - 1
    network = copy.deepcopy(method.network).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)

    def bare() -> None:
        for _ in range(steps):
            t = torch.rand(len(images)) * (1 - 1e-5) + 1e-5
            log_mean = (
                -0.25 * t.square() * (params.beta_max - params.beta_min) - 0.5 * t * params.beta_min
            )
            mean, std = log_mean.exp().view(-1, 1, 1, 1), (-(2 * log_mean).expm1()).sqrt()
            z = torch.randn_like(images)
            x = mean * images + std.view(-1, 1, 1, 1) * z
            optimiser.zero_grad()
            output = network(x, (std / mean.flatten()).log())
            (output - z).square().flatten(1).mean(1).mean().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()

    def ours() -> None:
        run = Run(0, until=steps * settings.batch)
        fit(method.network, method.average, method.network_loss, data, settings, run)

    peak = convolution_rate()
    turns = by_turns(ours, bare, pairs=5, seconds=40)
    trainer = Trainer(method.network, method.average, method.network_loss, settings)
    x0 = data.batch(0, 0, settings.batch)
    share = steps * flops_of(lambda: trainer.update(0, x0, Noise(0))) / turns.medians[0] / peak
    note = "EMA, logging, held-out loss and dequantisation included; the loop clips, and no more"
    what = f"training step of the quickstart ({steps} steps)"
    return [turns.row(what, "bare loop", 1.08, faster=False, share=share, note=note)]


def small_networks() -> list[Row]:
    """Training steps of networks as in the studies, beside a UNet2DModel of like layout."""
    return [small_network(size) for size in SMALL]


def small_network(size: int) -> Row:
    """Returns the row of one size; rates are per FLOP, since the two are not the same network."""
    from diffusers import UNet2DModel

    width, multipliers, blocks, batch = SMALL[size]
    backbone = Backbone(width=width, multipliers=multipliers, blocks=blocks, attention=(size // 2,),
                        embedding="fourier", dropout=0.0)  # fmt: skip
    ours = make_network(backbone, 1, 1, size).to(memory_format=torch.channels_last)
    initialise(ours, Noise(0))
    attended = ["" if size // 2**k != size // 2 else "Attn" for k in range(len(multipliers))]
    theirs = UNet2DModel(
        sample_size=size, in_channels=1, out_channels=1, layers_per_block=blocks,
        block_out_channels=tuple(width * m for m in multipliers), norm_num_groups=width // 4,
        attention_head_dim=None, down_block_types=tuple(f"{a}DownBlock2D" for a in attended),
        up_block_types=tuple(f"{a}UpBlock2D" for a in reversed(attended)),
    )  # fmt: skip
    x, sigma = torch.randn(batch, 1, size, size), torch.rand(batch) + 0.1
    step_ours = _step(ours, lambda: ours(x, sigma.log()))
    step_theirs = _step(theirs, lambda: theirs(x, sigma).sample)
    peak = convolution_rate()
    turns = by_turns(step_ours, step_theirs, pairs=15, seconds=15)
    flops = [flops_of(step) for step in (step_ours, step_theirs)]
    share = flops[0] / turns.medians[0] / peak
    ratio = flops[0] / flops[1]  # of equal work
    turns = Turns(turns.ours, [seconds * ratio for seconds in turns.theirs])
    rate = batch / turns.medians[0]
    note = f"{rate:.0f} images per CPU second"
    return turns.row(
        f"training step of a {size}x{size} network", "diffusers, of equal FLOPs", None,
        share=share, note=note,
    )  # fmt: skip


def _step(network, output):
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        output().square().mean().backward()
        optimiser.step()

    return step
