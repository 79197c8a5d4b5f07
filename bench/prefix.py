"""Training prefixes: trainings that share their first updates are the same training, one of them
longer.

Standard library only.
"""

from dataclasses import replace

from bench.card import cards
from bench.frozen import dataclass
from bench.schema import build
from bench.spec import SnapshotSpec, TrainSpec, key


@dataclass(frozen=True)
class TrainingPrefix:
    """A training up to one of its models.

    Args:
        family: Equal for trainings that see the same images, in the same order, with the same
            updates, as far as the shorter one goes.
        images: Training images after which it ends.
        open: Whether a longer training may go on from there.
    """

    family: str
    images: int
    open: bool


def training_prefix(model: TrainSpec | SnapshotSpec) -> TrainingPrefix | None:
    """Returns the training that leads to a model; None if its method does not say which trainings
    share updates.
    """
    train = model.train if isinstance(model, SnapshotSpec) else model
    card = cards().get(train.method)
    if card is None or card.training is None or train.checkpoint is not None:
        return None
    params = build(card.params, train.params)
    images = model.images if isinstance(model, SnapshotSpec) else card.training.images(params)
    shared = card.training.prefix(params)
    if shared is not None:
        family = f"prefix-{key(replace(train, params=shared))}"
        return TrainingPrefix(family, images, open=True)
    # What it shares with no other training it still shares with its own snapshots.
    return TrainingPrefix(key(train), images, open=isinstance(model, SnapshotSpec))
