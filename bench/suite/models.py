"""The models of a suite: a spec for each train label and training seed."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.data.content import content
from bench.data.digest import digest_checkpoint
from bench.data.external import digest_images
from bench.data.registry import DATASETS
from bench.frozen import dataclass
from bench.schema import Problem, differences
from bench.spec import ImagesSpec, InspectSpec, LikelihoodSpec, TrainSpec
from bench.suite.fault import Findings
from bench.suite.sections import Model, Sections, Source

ModelOrImages = TrainSpec | ImagesSpec

NOT_THERE = "not there"
"""In place of a digest if a file is absent."""


@dataclass(frozen=True)
class State:
    """The models of a train label at one snapshot and average of their weights.

    Args:
        snapshot: Training images after which weights are taken; None: at the end.
        ema: Relative width of the average of the weights; None: the training's own.
        models: Spec and likelihood of each training seed.
    """

    snapshot: int | None
    ema: float | None
    models: tuple[tuple[TrainSpec, LikelihoodSpec | None], ...]


class Models:
    """Expands the train entries of a suite whose sections are right.

    Attributes:
        content: Digest of the data set's files if they are not the published ones.
        specs: The models of each train label, one per training seed.
    """

    def __init__(self, sections: Sections, findings: Findings, cache: Path | None) -> None:
        self.sections = sections
        self.findings = findings
        self.cache = cache
        ours = DATASETS.get(sections.dataset) is sections.data
        self.content = content(sections.dataset, cache) if ours else None
        if self.content:
            findings.notes.append(
                f"dataset: {sections.dataset}: its files are not known to be the published ones "
                f"(sha256 {self.content[:12]}...), so what is made from them has keys of its own"
            )
        self.specs = {label: self._specs(label, entry) for label, entry in sections.train.items()}

    def _specs(self, label: str, entry: Model | Source) -> tuple[ModelOrImages, ...]:
        dataset: dict[str, Any] = {
            "dataset": self.sections.dataset,
            "dataset_version": self.sections.data.version,
            "dataset_sha256": self.content,
        }
        if isinstance(entry, Source):
            digest = self._digest(label, entry.path) if entry.path.exists() else NOT_THERE
            return (ImagesSpec(sha256=digest, scale=entry.scale, **dataset),)
        method: dict[str, Any] = {
            "method": entry.card.name,
            "method_version": entry.card.version,
            "params": differences(entry.params),
        }
        if entry.checkpoint is None:
            return tuple(TrainSpec(seed=seed, **method, **dataset) for seed in entry.seeds)
        # To run, it has to exist, unless ``--only`` leaves this entry out.
        exists = entry.checkpoint.exists()
        digest = digest_checkpoint(entry.checkpoint, self.cache) if exists else NOT_THERE
        return (TrainSpec(checkpoint=digest, weights=entry.weights, **method, **dataset),)

    def _digest(self, label: str, path: Path) -> str:
        """Returns the digest of images made elsewhere; one that cannot be read is a problem."""
        try:
            return digest_images(path, self.cache)
        except ValueError as error:
            place = ("train", label, "samples_from")
            self.findings.problems.append(Problem(place, None, str(error)))
            return NOT_THERE

    def trainings(self, label: str) -> tuple[TrainSpec, ...]:
        """Returns the models of a label, one for each training seed."""
        return tuple(spec for spec in self.specs[label] if isinstance(spec, TrainSpec))

    def images(self, label: str) -> ImagesSpec:
        """Returns the images of a label that were made elsewhere."""
        (spec,) = (spec for spec in self.specs[label] if isinstance(spec, ImagesSpec))
        return spec

    def states(self, label: str) -> list[State]:
        """Returns every snapshot and average of a label's models, the end of training last."""
        entry = self._trained()[label]
        ends = [(spec, self._likelihood(spec, entry)) for spec in self.trainings(label)]
        return [
            State(snapshot, ema, tuple((spec, _at(bits, snapshot, ema)) for spec, bits in ends))
            for snapshot, ema in _states(entry)
        ]

    def _likelihood(
        self, spec: TrainSpec, model: Model, params: Any = None
    ) -> LikelihoodSpec | None:
        """Returns the likelihood of one model; None if it has none, and the tables say why."""
        section, card = self.sections.likelihood, model.card.likelihood
        if section is None or card is None or card.refuse(model.params):
            return None
        params = section.params[model.card.name] if params is None else params
        held_out = asdict(section.held_out)
        return LikelihoodSpec(
            train=spec, version=card.version, params=differences(params), **held_out
        )

    def sweep(self) -> dict[str, tuple[LikelihoodSpec, ...]]:
        """Returns the likelihoods of each train label at the swept values."""
        section = self.sections.likelihood
        swept: dict[str, tuple[LikelihoodSpec, ...]] = {}
        if section is None:
            return swept
        for label, entry in self._trained().items():
            specs = tuple(
                bits
                for step in section.sweep.get(entry.card.name, ())
                for spec in self.trainings(label)
                if (bits := self._likelihood(spec, entry, step)) is not None
            )
            swept |= {label: specs} if specs else {}
        return swept

    def inspections(self) -> dict[str, tuple[InspectSpec, ...]]:
        """Returns the inspections of every model of each train label."""
        if self.sections.inspect is None:
            return {}
        section = asdict(self.sections.inspect)
        return {
            label: tuple(
                InspectSpec(
                    train=spec, version=entry.card.inspection, snapshot=snapshot, ema=ema, **section
                )
                for spec in self.trainings(label)
                for snapshot, ema in _states(entry)
            )
            for label, entry in self._trained().items()
            if entry.card.inspection is not None
        }

    def _trained(self) -> Mapping[str, Model]:
        entries = self.sections.train.items()
        return {label: entry for label, entry in entries if isinstance(entry, Model)}


def _states(model: Model) -> list[tuple[int | None, float | None]]:
    return list(itertools.product((*model.snapshots, None), (None, *model.ema)))


def _at(
    spec: LikelihoodSpec | None, snapshot: int | None, ema: float | None
) -> LikelihoodSpec | None:
    """Returns the likelihood of a model's snapshot or average."""
    if spec is None or (snapshot is None and ema is None):
        return spec
    return replace(spec, snapshot=snapshot, ema=ema)
