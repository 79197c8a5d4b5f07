"""What the inspection of each model measured: its held-out loss by noise level, strips, curves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.card import Card
from bench.data.subset import ALL
from bench.frozen import dataclass
from bench.report.columns import HELD_OUT
from bench.report.records import Records, unit_of
from bench.spec import InspectSpec
from bench.store import UnitId

if TYPE_CHECKING:
    from bench.suite.resolved import Suite


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One inspected model: a training, a snapshot or an average of it.

    Args:
        train: Label of the model in the suite.
        method: Title of its method.
        model: Key of the model.
        unit: Where the record lies, ``file`` its path below the store.
        cause: Why there are no losses, empty if there are some.
        losses: Mean loss by column of the tidy table, in the order of ``times``.
        noise_levels: Standard deviation of the noise over the factor of the image at each time,
            None where a corruption has no such number.
        drawn: Which part of the split was taken, empty for all of it.
        strips: Titles of its strips of images.
        curves: Title and axes of its curves.
    """

    train: str
    method: str
    seed: int
    snapshot: int | None
    ema: float | None
    images: int
    split: str
    model: str
    unit: UnitId
    file: str
    cause: str = ""
    losses: Mapping[str, float]
    times: Sequence[float] = ()
    noise_levels: Sequence[float | None] = ()
    weighting: str = ""
    drawn: str = ""
    strips: Sequence[str] = ()
    curves: Sequence[Mapping[str, str]] = ()

    @property
    def note(self) -> str:
        """What a row says about its held-out losses."""
        return self.cause or self.drawn

    @property
    def is_end(self) -> bool:
        """Whether the model is the end of its training, with the training's own average."""
        return self.snapshot is None and self.ema is None


def read_inspections(
    suite: "Suite", records: Records, methods: Mapping[str, Card]
) -> list[Inspection]:
    """Returns the inspections that a suite asks for, finished or not."""
    return [
        _read(label, spec, records, methods)
        for label, specs in suite.inspections.items()
        for spec in specs
    ]


def _read(
    label: str, spec: InspectSpec, records: Records, methods: Mapping[str, Card]
) -> Inspection:
    unit = unit_of(spec)
    known: dict[str, Any] = {}
    if (record := records.record(unit)) is not None:
        names = (f"{HELD_OUT}@t={text}" for text in distinct(record["times"]))
        known = {name: record[name] for name in ("times", "noise_levels", "strips", "curves")}
        known |= {
            "losses": dict(zip(names, record["losses"], strict=True)),
            "weighting": record["identity"]["weighting"],
            "drawn": part_of(record["identity"]),
        }
    else:
        outcome = records.outcome(unit)
        failed = f"inspect failed: {outcome.cause or 'cause unknown'}"
        known = {"losses": {}, "cause": failed if outcome.state == "failed" else "not finished"}
    return Inspection(
        train=label,
        method=methods[spec.train.method].title,
        seed=spec.train.seed,
        snapshot=spec.snapshot,
        ema=spec.ema,
        images=spec.images,
        split=spec.split,
        model=unit_of(spec.model).key,
        unit=unit,
        file=records.file(unit),
        **known,
    )


def loss_columns(inspections: Iterable[Inspection]) -> list[str]:
    """Returns the columns of held-out losses, by rising time."""
    columns = dict.fromkeys(name for inspection in inspections for name in inspection.losses)
    return sorted(columns, key=lambda name: float(name.partition("=")[2]))


def part_of(identity: Mapping[str, Any]) -> str:
    """Returns which part of a split a number is for, empty if it is for all of it."""
    drawn = identity.get("drawn", ALL)
    return "" if drawn == ALL else drawn


def distinct(values: Sequence[float]) -> list[str]:
    """Returns numbers as texts of two significant digits, or of as many more as tell them apart."""
    texts = [[f"{value:.{digits}g}" for value in values] for digits in range(2, 18)]
    return next((found for found in texts if len(set(found)) == len(found)), texts[-1])
