"""Trainings that several processes share, by gloo on this machine: the losses of one process, in
every process.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.card import cards
from bench.data.images import load_images
from bench.method import Noise, Run, load_method
from bench.schema import build, merge
from methods.shared.hyperparameters import Training
from methods.shared.training import SharedNoise, fit

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20

TRAIN = """
import json, os, sys
import torch
from test_shared_training import losses
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
print(json.dumps({name: losses(name, rank, world) for name in sys.argv[1:]}))
torch.distributed.destroy_process_group()
"""


def losses(name, rank=0, world=1):
    """The first losses of a tiny training without dropout, after each update."""
    training = {"training": {"steps": STEPS, "batch": 8, "warmup_steps": 2, "heldout_images": 4}}
    values = merge(cards()[name].tiny, training, {"network": {"dropout": 0.0}})
    data = load_images("digits")
    method = load_method(name, values, data)
    found = []
    method.train(
        data, Run(seed=3, rank=rank, world=world, log=lambda images, **v: found.append(v["loss"]))
    )
    weights = sum(float(tensor.double().sum()) for tensor in method.state().values())
    return {"losses": found, "weights": weights}


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shared(*names):
    """What two processes print, each for itself."""
    path = os.pathsep.join([str(ROOT / "tests" / "execute"), str(ROOT)])
    common = {
        **os.environ,
        "PYTHONPATH": path,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port()),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, *names],
            env={**common, "RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(output) for output in outputs]


def check(names):
    both = shared(*names)
    for name in names:
        alone = losses(name)
        assert len(alone["losses"]) == STEPS
        for seen in both:
            assert seen[name]["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert both[0][name] == both[1][name], "both processes end with equal weights"


def test_two_processes_have_the_losses_of_one():
    check(["sde"])


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_with_every_method():
    check(sorted(set(cards()) - {"sde"}))


@pytest.mark.parametrize("shape", [(4,), (4, 1, 2, 2), (3, 4, 1, 2, 2), (4, 4, 1, 2, 2)])
def test_rows_of_all_processes_are_those_of_the_whole_batch(shape):
    axis = 1 if len(shape) == 5 else 0
    whole = list(shape)
    whole[axis] *= 3
    for draw in ("normal", "uniform", "rademacher"):
        parts = [
            getattr(SharedNoise(Noise(1, ("a",)), 4, rank, 3).child("b"), draw)(shape)
            for rank in range(3)
        ]
        assert torch.equal(torch.cat(parts, axis), getattr(Noise(1, ("a", "b")), draw)(whole))
    parts = [SharedNoise(Noise(1), 4, rank, 3).integers(shape, 9) for rank in range(3)]
    assert torch.equal(torch.cat(parts, axis), Noise(1).integers(whole, 9))


def test_draws_that_are_not_of_the_batch_are_equal_in_all_processes():
    parts = [SharedNoise(Noise(1), 4, rank, 3).normal((7,)) for rank in range(3)]
    assert torch.equal(parts[0], Noise(1).normal((7,)))
    assert torch.equal(parts[1], parts[2])


def test_batch_that_does_not_divide_is_refused():
    settings = build(Training, {"batch": 8})
    with pytest.raises(ValueError, match="a batch of 8 images does not divide by 3 processes"):
        fit(
            torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), None, None, settings, Run(seed=0, world=3)
        )
