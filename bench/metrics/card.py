"""What the harness must know of a metric before torch is imported.

A metric's value means nothing without its identity: extractor, weights, input size, resize kernel,
pixel levels, count, reference and backend (:mod:`bench.metrics.scoring` writes it beside the
value). So the columns of a table are named after both, ``fd(digits-cnn@8)``.

Standard library only: a suite is checked without numpy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from bench.data.card import DataCard
from bench.frozen import dataclass
from bench.metrics.extractor_cards import extractor_card, extractor_label, refuse_extractor
from bench.metrics.parameters import ExtractorParams, FeatureParams, SplitParams
from bench.schema import differences

MIXTURE = "mixture"
"""The reference that is no split: the mixture that a data set declares."""


def _own_differences(params: Any) -> list[str]:
    """Returns the parameters that differ from their defaults, but for what is compared."""
    common = {"extractor", "reference", "statistics"}
    changed = differences(params)
    return [f"{name}={value}" for name, value in changed.items() if name not in common]


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """A metric: a function of two sets of features, and what must be known to plan it.

    Only the first five fields are always needed: then features of all images are compared with
    those of a split.

    Args:
        name: What suites write, and the beginning of its column.
        version: Raised by hand when equal images would give another number.
        summary: One line, for ``list``.
        measure: Returns the value from what is known of the samples and of the reference, and the
            parameters. Both are a :class:`bench.metrics.summary.Summary`, whose ``features`` has
            shape (N, D); the reference is None or the data set's mixture if ``reference`` says so.
            Without an extractor both are :class:`bench.metrics.points.Points`; with ``tasks`` the
            samples are a :class:`bench.metrics.conditional.Restored`.
        higher_is_better: Its direction.
        params: Frozen dataclass of its parameters, all with defaults, which inherits from the
            classes of :mod:`bench.metrics.parameters` that say what is compared.
        notes: What its column says of the parameters besides extractor and reference, so that
            unlike numbers are told apart; by default what differs from the defaults.
        bare_names: Names of the column that belong to one extractor each (``FID``).
        extractor_defaults: Parameters that take another default with one extractor.
        fixed_reference: What the samples are compared with if the parameters leave no choice: a
            split, or :data:`MIXTURE`; None: nothing.
        also: A second split that the reference's summary holds as ``other``.
        refusals: Reasons of its own why it cannot be measured on a data set (none: an empty list).
        least_count: Images below which the value is a smoke test and not evidence.
        needs: Images below which there is no value, and why.
        uses: What a summary must hold (:mod:`bench.metrics.summary`): only ``features`` and
            ``log_probs`` grow with the number of images.
        both: Whether it should be asked for twice, against training and against held-out images:
            a model that is near the former alone may have memorised them.
        floor: Sets of real images that are drawn to find what such images score; 0: none.
        bounds: The least and the greatest possible value, infinite if there is none: intervals
            stay within.
        tasks: What the samples must be conditioned on (:mod:`bench.data.conditioning`); empty: any
            sample set.
        backend: The package whose code computes the value from features, "own" for this project.
        host_flops: About what it computes from features on the processor, for plans, from
            (parameters, samples, real images, length of a feature vector).
    """

    name: str
    version: int
    summary: str
    measure: Callable[[Any, Any, Any], float]
    higher_is_better: bool
    params: type = FeatureParams
    notes: Callable[[Any], Sequence[str]] = _own_differences
    bare_names: Mapping[str, str] = field(default_factory=dict)
    extractor_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fixed_reference: str | None = None
    also: str | None = None
    refusals: Callable[[Any, DataCard], list[str]] = lambda params, data: []
    least_count: Callable[[Any, DataCard], int] = lambda params, data: 256
    needs: Callable[[Any, DataCard], tuple[int, str]] = lambda params, data: (1, "")
    uses: Callable[[Any], tuple[Any, ...]] = lambda params: (
        ("features",) if isinstance(params, ExtractorParams) else ()
    )
    both: bool = False
    floor: int = 20
    bounds: tuple[float, float] = (-math.inf, math.inf)
    tasks: tuple[str, ...] = ()
    backend: Callable[[Any], str] = lambda params: "own"
    host_flops: Callable[[Any, int, int, int], float] = lambda params, count, real, length: 0.0

    def __post_init__(self) -> None:
        if self.both and not issubclass(self.params, FeatureParams):
            raise TypeError(f"metric {self.name}: `both` needs parameters that are FeatureParams")

    def column(self, params: Any) -> str:
        """Returns the name of its column, which tells unlike numbers apart."""
        extractor = extractor_of(params)
        bare = self.bare_names.get(extractor or "")
        notes = [extractor_label(extractor)] if extractor is not None and bare is None else []
        notes += self.notes(params)
        if statistics := statistics_of(params):
            notes.append(f"to statistics {statistics[:8]}")
        elif isinstance(params, SplitParams) and params.reference == "test":
            notes.append("to test")
        name = bare or self.name
        return f"{name}({', '.join(notes)})" if notes else name

    def reference(self, params: Any) -> str | None:
        """Returns the split that samples are compared with, or :data:`MIXTURE`, or None."""
        return params.reference if isinstance(params, SplitParams) else self.fixed_reference

    def refuse(self, params: Any, data: DataCard) -> list[str]:
        """Returns why it cannot be measured on a data set; empty if it can."""
        return [
            *self._refuse_values(params, data),
            *self._refuse_splits(params, data),
            *self.refusals(params, data),
        ]

    def _refuse_values(self, params: Any, data: DataCard) -> list[str]:
        """Returns why what it reads cannot be had of a data set's images."""
        extractor = extractor_of(params)
        if extractor is not None:
            reasons = refuse_extractor(extractor, data)
            uses_classes = any(use not in ("moments", "features") for use in self.uses(params))
            if uses_classes and not extractor_card(extractor).classes:
                reasons.append(f"extractor {extractor} names no classes")
            return reasons
        if self.tasks:
            return ["only images are restored, not real values"] if data.kind == "real" else []
        if data.kind != "real":
            return ["it compares values themselves, which says little of images: use fd"]
        if self.reference(params) == MIXTURE and data.mixture is None:
            return ["the data set declares no mixture"]
        return []

    def _refuse_splits(self, params: Any, data: DataCard) -> list[str]:
        """Returns which splits it compares with and a data set has not."""
        if statistics_of(params):
            return []
        has = ", ".join(data.splits)
        return [
            f"the data set has no split {split} (it has {has})"
            for split in (self.reference(params), self.also)
            if split not in (None, MIXTURE, *data.splits)
        ]


def extractor_of(params: Any) -> str | None:
    """Returns the extractor that a metric's parameters name, None if they compare no features."""
    return params.extractor if isinstance(params, ExtractorParams) else None


def statistics_of(params: Any) -> str:
    """Returns the sha256 of the imported statistics that take a split's place; empty for none."""
    return params.statistics if isinstance(params, FeatureParams) else ""
