r"""Training: Adam or its kin with warm-up and clipping, and an average of the weights that forgets
exponentially.

The weights of a run depend on the run's seed, the settings and the data alone: the randomness of
update k comes from the stream ("step", k), batch k from (seed, k), so a training that resumes from
its last checkpoint ends with the same bytes as one that was never stopped.

Several processes may share a training (DistributedDataParallel): each draws the whole batch and the
randomness of all of it and takes its rows, so that what is trained is what one process would train,
up to the order of sums. Dropout draws from a stream of each process's own.

Source: Song et al., 2021, https://arxiv.org/abs/2011.13456 (appendices F and H); Kingma & Ba, 2015,
https://arxiv.org/abs/1412.6980 (Adam and Adamax); Loshchilov & Hutter, 2019,
https://arxiv.org/abs/1711.05101 (AdamW).
Departures: the average's half-life is given in images, so that it does not depend on the batch
size.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.data.images import Images
from bench.method import Noise, Run, evaluated
from methods.shared.average import PowerAverages
from methods.shared.hyperparameters import Training

LOG_POINTS = 50
HELDOUT_EVERY = 5
"""Log points between two held-out losses: each costs as much as an update, or several."""
HELDOUT_CHUNK = (
    64  # fixed, since each chunk has noise of its own: losses compare across batch sizes
)

Loss = Callable[[nn.Module, Tensor, Noise], Tensor]
"""The loss of each image, shape (B,), given a network, images in [0, 1] of shape (B, C, H, W) and
randomness.
"""


SeenLabels = Callable[[Tensor, Noise], Tensor] | None
"""What a network is told of a batch's classes, int64, shape (B,), given these; None for a network
that is told none.
"""


def fit(
    network: nn.Module,
    average: nn.Module,
    loss: Loss,
    data: Images,
    settings: Training,
    run: Run,
    seen_labels: SeenLabels = None,
) -> None:
    """Trains ``network`` from its present weights, or from the run's last checkpoint, and
    ``average`` with it.

    It ends after ``settings.steps`` updates, or with the one that reaches ``run.until`` images.
    Keeps power-function averages of the weights if the settings ask for them. Logs about 50
    times: the mean training loss and the share of clipped updates since the last time, and of every
    fifth, and the last, the average's loss on held-out images, always with the same noise.

    Args:
        network: What is trained, on ``run.device``.
        average: A network of the same shape, which ends as the average that is sampled from.
        loss: See :data:`Loss`.
        data: Where batches and held-out images come from.
        settings: Hyper-parameters.
        run: Seed, device, checkpoints and log.
        seen_labels: See :data:`SeenLabels`.

    Raises:
        FloatingPointError: The loss is no longer finite.
        ValueError: The batch does not divide by the processes that share the training.
    """
    if settings.batch % run.world:
        raise ValueError(
            f"a batch of {settings.batch} images does not divide by {run.world} processes"
        )
    rows = settings.batch // run.world
    ours = slice(run.rank * rows, (run.rank + 1) * rows)
    trainer = Trainer(network, average, loss, settings, run.world)
    steps = (
        settings.steps
        if run.until is None
        else min(settings.steps, math.ceil(run.until / settings.batch))
    )
    run.announce(steps)
    restored = run.restore()
    done = 0
    if restored is not None:
        done, tensors = restored
        trainer.load(tensors)
    heldout = data.scaled(
        torch.from_numpy(data.drawn("test", slice(settings.heldout_images))).to(run.device).float()
    )
    every = max(1, settings.steps // LOG_POINTS)
    averaged_at = settings.averaged_at(steps * settings.batch)
    with evaluated([network], precision=settings.precision, compiled=run.compiled):
        for step in range(done, steps):
            noise = run.noise("step", step)
            noise = noise if run.world == 1 else SharedNoise(noise, rows, run.rank, run.world)
            if seen_labels is None:
                x0, labels = data.batch(run.seed, step, settings.batch), None
            else:
                x0, classes = data.labelled_batch(run.seed, step, settings.batch)
                labels = seen_labels(classes[ours].to(run.device), noise)
            trainer.update(step, x0[ours].to(run.device), noise, labels)
            finished = step + 1
            if finished % every == 0 or finished == steps:
                values = trainer.report()
                if not math.isfinite(mean := values["loss"]):
                    raise FloatingPointError(
                        f"training diverged: the loss is {mean} after {finished} updates"
                    )
                if finished % (HELDOUT_EVERY * every) == 0 or finished == steps:
                    values["heldout_loss"] = trainer.heldout_loss(heldout, run.noise("heldout"))
                run.log(finished * settings.batch, **values)
            if trainer.powers is not None and finished * settings.batch in averaged_at:
                run.keep(finished * settings.batch, trainer.powers.tensors)
            run.checkpoint(finished, trainer.tensors)
    network.eval()


class Labelled(nn.Module):
    """A network that is told the same classes, int64 of shape (B,), at every call."""

    def __init__(self, network: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Returns the network's output."""
        return self.network(x, condition, self.labels)


class SharedNoise(Noise):
    """The draws of one process for its rows of a batch: those that a single process would make for
    these rows.

    Args:
        whole: The stream of the whole batch.
        rows: Rows of a process. Draws of five axes have them in the second (several for each
            image), others in the first; draws of another length are not of a batch, and equal in
            all processes.
        rank: Which rows.
        world: How many processes there are.
    """

    def __init__(self, whole: Noise, rows: int, rank: int, world: int) -> None:
        super().__init__(whole.seed, whole.path, device=whole.device, dtype=whole.dtype)
        self.rows, self.rank, self.world = rows, rank, world

    def child(self, name: str | int) -> "SharedNoise":
        """Returns the stream of that name below this one, always from its beginning."""
        whole = Noise(self.seed, (*self.path, name), device=self.device, dtype=self.dtype)
        return SharedNoise(whole, self.rows, self.rank, self.world)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Returns standard normal draws of the given shape."""
        return self._ours(super().normal, shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Returns draws from U[0, 1) of the given shape."""
        return self._ours(super().uniform, shape)

    def integers(self, shape: Sequence[int], high: int) -> Tensor:
        """Returns int64 draws from 0, ..., high - 1 of the given shape."""
        whole = super().integers
        return self._ours(lambda shape: whole(shape, high), shape)

    def rademacher(self, shape: Sequence[int]) -> Tensor:
        """Returns draws of -1 and +1 of the given shape."""
        return self._ours(super().rademacher, shape)

    def _ours(self, draw: Callable[[Sequence[int]], Tensor], shape: Sequence[int]) -> Tensor:
        shape, axis = list(shape), 1 if len(shape) == 5 else 0
        if shape[axis] != self.rows:
            return draw(shape)
        shape[axis] *= self.world
        return draw(shape).narrow(axis, self.rank * self.rows, self.rows).contiguous()


class Trainer:
    """What an update changes: network, optimiser, average and running totals.

    Args:
        network: What is trained.
        average: Its average; it starts as a copy.
        loss: See :data:`Loss`.
        settings: Hyper-parameters.
        world: How many processes share the training, each with rows of its own.
    """

    def __init__(
        self, network: nn.Module, average: nn.Module, loss: Loss, settings: Training, world: int = 1
    ) -> None:
        self.network = network.train()
        self.world = world
        self.shared = (
            network if world == 1 else DistributedDataParallel(network, broadcast_buffers=False)
        )
        self.average = average.eval().requires_grad_(False)
        self.average.load_state_dict(network.state_dict())
        self.loss = loss
        self.settings = settings
        self.weights: list[Tensor] = list(network.parameters())
        self.averaged: list[Tensor] = list(average.parameters())
        self.powers = PowerAverages(network) if settings.averages_every_images is not None else None
        half_life = settings.ema_half_life_images
        self.decay = 0.5 ** (settings.batch / half_life) if half_life else 0.0
        self.optimizer = make_optimizer(self.weights, settings)
        # Sum of losses, clipped updates, updates: kept on the device, so that an update waits for
        # nothing.
        self.totals = torch.zeros(3, dtype=torch.float64, device=self.weights[0].device)

    def update(self, step: int, x0: Tensor, noise: Noise, labels: Tensor | None = None) -> None:
        """Makes update ``step`` = 0, 1, ... on images x0 in [0, 1], shape (B, C, H, W), of whose
        classes the network is told ``labels``, int64, shape (B,).
        """
        self.optimizer.zero_grad()
        network = self.shared if labels is None else Labelled(self.shared, labels)
        with dropout_from(noise, x0.device):
            loss = self.loss(network, x0, noise).mean()
        loss.backward()
        loss = loss.detach()
        if self.world > 1:
            torch.distributed.all_reduce(loss)
            loss /= self.world
        limit = self.settings.clip
        norm = nn.utils.clip_grad_norm_(self.weights, math.inf if limit is None else limit)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        self.optimizer.step()
        update_average(
            self.averaged,
            self.weights,
            average_decay(self.decay, step + 1, self.settings.ema_warmup),
        )
        if self.powers is not None:
            self.powers.update(step + 1)
        clipped = norm > (math.inf if limit is None else limit)
        self.totals += torch.stack(
            [loss.double(), clipped.double(), torch.ones_like(loss).double()]
        )

    def report(self) -> dict[str, float]:
        """Returns the mean loss and the share of clipped updates since the last report."""
        total, clipped, count = self.totals.tolist()
        self.totals.zero_()
        return {"loss": total / count, "clipped": clipped / count}

    @torch.no_grad()
    def heldout_loss(self, images: Tensor, noise: Noise) -> float:
        """Returns the average's mean loss on ``images`` in [0, 1], shape (N, C, H, W)."""
        chunks = images.split(HELDOUT_CHUNK)
        losses = [self.loss(self.average, chunk, noise.child(k)) for k, chunk in enumerate(chunks)]
        return torch.cat(losses).mean().item()

    def tensors(self) -> dict[str, Tensor]:
        """Returns everything that the next update depends on."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            found |= {f"adam.{index}.{name}": tensor for name, tensor in values.items()}
        if self.powers is not None:
            found |= {f"powers.{name}": tensor for name, tensor in self.powers.tensors().items()}
        return found | {"totals": self.totals}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what :meth:`tensors` returned."""
        self.network.load_state_dict(under("network.", tensors))
        self.average.load_state_dict(under("average.", tensors))
        adam = self.optimizer.state_dict()
        for path, tensor in under("adam.", tensors).items():
            index, _, name = path.partition(".")
            # A fused optimiser walks through memory, so its averages must lie as the weights do. It
            # also moves its count of steps to their device; the others read it on the CPU.
            own = (
                tensor.cpu()
                if name == "step"
                else torch.empty_like(self.weights[int(index)]).copy_(tensor)
            )
            adam["state"].setdefault(int(index), {})[name] = own
        self.optimizer.load_state_dict(adam)
        self.totals.copy_(tensors["totals"])
        if self.powers is not None:
            self.powers.load(under("powers.", tensors))


def make_optimizer(weights: list[Tensor], settings: Training) -> torch.optim.Optimizer:
    """Returns the optimiser that the settings ask for, fused if torch has that."""
    kind, options = {
        "adam": (torch.optim.Adam, {"fused": True}),
        "adamw": (torch.optim.AdamW, {"fused": True}),
        "adamax": (torch.optim.Adamax, {}),
    }[settings.optimiser]
    rates = {
        "lr": settings.learning_rate,
        "eps": settings.adam_eps,
        "weight_decay": settings.weight_decay,
    }
    return kind(weights, **rates, **options)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names start with ``prefix``, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def weights_of(network: nn.Module, average: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a network ("network.") and of the average of its weights ("ema.")."""
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    return state | {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}


def load_weights(network: nn.Module, average: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Takes over what :func:`weights_of` returned."""
    network.load_state_dict(under("network.", state))
    average.load_state_dict(under("ema.", state))


def learning_rate(settings: Training, step: int) -> float:
    """Returns the rate of update ``step`` from 0; with a warm-up the first is 0, as theirs."""
    warm = min(step / settings.warmup_steps, 1.0) if settings.warmup_steps else 1.0
    done = step / settings.steps
    fall = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
    return settings.learning_rate * warm * fall[settings.schedule]


def average_decay(decay: float, n: int, warmup: bool) -> float:
    """Returns what the average keeps of itself at its n-th update; less in its warm-up."""
    return min(decay, (1 + n) / (10 + n)) if warmup else decay


@torch.no_grad()
def update_average(averaged: list[Tensor], weights: list[Tensor], decay: float) -> None:
    """Moves ``averaged`` towards ``weights``, keeping ``decay`` of itself."""
    torch._foreach_lerp_(averaged, weights, 1 - decay)


@contextmanager
def dropout_from(noise: Noise, device: torch.device) -> Iterator[None]:
    """Lets layers that draw from torch's global generator (dropout) draw from ``noise`` instead."""
    seed = int(noise.child("dropout").integers((1,), 2**62).item())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:  # looks for devices of every kind, 0.1 ms
            torch.manual_seed(seed)
        yield
