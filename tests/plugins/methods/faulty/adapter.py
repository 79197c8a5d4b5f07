"""A linear 'network' that goes wrong on request."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.images import Images
from bench.method import Inspection, Method, Noise, Run, Sampler
from methods.faulty.card import CARD, Params


def fail(fault: str) -> None:
    """Goes wrong in the way asked for."""
    if fault == "raise":
        raise RuntimeError("this went wrong on purpose")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "exit":
        os._exit(0)


class Faulty(Method):
    """Trains one weight towards the seed, and samples noise around it."""

    card = CARD

    def __init__(self, params: Params, data: Images, device: torch.device | str = "cpu") -> None:
        super().__init__(params, data, device)
        self.network = nn.Conv2d(1, 1, 1)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    @property
    def networks(self) -> Sequence[nn.Module]:
        return (self.network,)

    @property
    def samplers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {"walk": self._walk}

    def loss(self, x0: Tensor, noise: Noise) -> Tensor:
        return (self.network(x0) - noise.normal(x0.shape)).square().flatten(1).mean(1)

    def train(self, data: Images, run: Run) -> None:
        restored = run.restore()
        done = 0
        if restored is not None:
            done, tensors = restored
            self.network.load_state_dict(tensors)
        for step in range(done, self.params.steps):
            if self.params.diary:
                with open(self.params.diary, "a") as file:
                    file.write(f"{run.seed} {step}\n")
            time.sleep(self.params.seconds_per_step)
            with torch.no_grad():
                self.network.bias += run.noise("step", step).normal((1,)) * 0.01
            if step == self.params.steps - 1:
                fail(self.params.fault)
                if self.params.fault == "nan":
                    self.network.bias.data.fill_(float("nan"))
            run.log(4 * (step + 1), loss=1.0, heldout_loss=1.0, clipped=0.0)
            run.checkpoint(step + 1, self.network.state_dict)

    def sample(self, count: int, sampler: Sampler, noise: Noise, given: Any = None) -> Tensor:
        return self._walk(count, sampler.params, noise)

    def _walk(self, count: int, params: Any, noise: Noise) -> Tensor:
        flag = Path(params.flag) if params.flag else None
        if flag is None or not flag.exists():
            fail(params.fault)
        x = noise.child("prior").normal((count, *self.image_shape)) * 0.1 + 0.5
        for _ in range(params.steps):
            x = x + 0.01 * self.network(x)
        return x * float("nan") if params.fault == "nan" else x

    def inspect(self, images: Tensor, noise: Noise) -> Inspection:
        times, z = torch.tensor([0.5, 1.0], dtype=torch.float64), noise.normal(images.shape)
        with torch.no_grad():
            losses = [
                (self.network(images) - t * z).square().flatten(1).mean(1) for t in (0.5, 1.0)
            ]
        return Inspection(times, times, torch.stack(losses))

    def state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(state)
