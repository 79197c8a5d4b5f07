"""The courses that trainings follow: two on one course are the same training, one of them longer.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.card import Card
from bench.card import cards as all_cards
from bench.schema import build
from bench.spec import SnapshotSpec, TrainSpec, key


@dataclass(frozen=True)
class Leg:
    """One training as a part of a course.

    Args:
        course: Equal for trainings that see the same images, in the same order, with the same
            updates.
        images: Training images after which it ends.
        open: Whether a longer training may go on from there.
    """

    course: str
    images: int
    open: bool


def leg(model: TrainSpec | SnapshotSpec, cards: Mapping[str, Card] | None = None) -> Leg | None:
    """Returns the course of a training and where on it the model lies; None where its method does
    not say.
    """
    train = model.train if isinstance(model, SnapshotSpec) else model
    card = (all_cards() if cards is None else cards).get(train.method)
    if card is None or card.training is None or train.checkpoint is not None:
        return None
    params = build(card.params, train.params)
    images = model.images if isinstance(model, SnapshotSpec) else card.training.images(params)
    course = card.training.prefix(params)
    if course is not None:
        return Leg(f"course-{key(replace(train, params=course))}", images, open=True)
    # What it shares with no other training it still shares with its own snapshots.
    return Leg(key(train), images, open=isinstance(model, SnapshotSpec))
