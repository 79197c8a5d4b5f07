"""One row of the tidy table: what a point is, what it cost, its numbers, and where they lie."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.card import Card
from bench.data.conditioning import RESTORATIONS, SPLIT, condition
from bench.data.registry import data_card
from bench.data.subset import describe_copies, describe_part
from bench.metrics.card import MetricCard
from bench.report.columns import (
    BITS,
    BITS_ERROR,
    BITS_NOTE,
    COLD,
    DRAW_ERROR,
    DRAW_SD,
    EXACT_BITS,
    GFLOPS,
    HELD_OUT,
    HELD_OUT_NOTE,
    SECONDS,
    SECONDS_NOTE,
    joined,
)
from bench.report.description import describe, imported_weights, preset_of, versions
from bench.report.identity import Identities
from bench.report.inspection import Inspection, part_of
from bench.report.likelihood import Likelihood, mean_over_images, read_likelihood
from bench.report.records import Records, batches_of, unit_of
from bench.report.state import state_of
from bench.schema import build
from bench.spec import ImagesSpec, Point, ScoreSpec, key
from bench.store import UnitId

Units = Mapping[str, Sequence[UnitId]]
"""The units that a point needs, by stage, in the order in which they are made."""


class RowReader:
    """Makes the rows of the tidy table; identities and floors gather as rows are read.

    Args:
        inspections: By key of the model.
    """

    def __init__(
        self,
        records: Records,
        methods: Mapping[str, Card],
        metrics: Mapping[str, MetricCard],
        inspections: Mapping[str, Inspection],
    ) -> None:
        self.records = records
        self.methods = methods
        self.metrics = metrics
        self.inspections = inspections
        self.identities = Identities()
        self.floors: dict[str, dict[str, dict[str, Any]]] = {}
        self.columns: dict[str, MetricCard] = {}
        self.presets: dict[str, str] = {}
        self._named: dict[tuple[str, str], str] = {}

    def row(self, point: Point) -> dict[str, Any]:
        """Returns one row of the table as plain values."""
        units = _units(point)
        row: dict[str, Any] = {"label": point.label, "group": point.group, "train": point.train}
        row |= {"budget": point.budget, "count": point.count, "key": key(point.sample)}
        likelihood, inspection = None, None
        if point.likelihood is not None:
            likelihood = read_likelihood(self.records, units["likelihood"])
        if isinstance(point.sample, ImagesSpec):
            row |= {"method": "images made elsewhere", BITS_NOTE: "no model here"}
        else:
            model = units["training"][0]
            row |= describe(point, self.methods) | {"train_key": model.key}
            row["preset"] = self._preset(point)
            row |= self._training(model) | self._sampling(units["samples"])
            row |= self._likelihood(point, likelihood)
            if (inspection := self.inspections.get(model.key)) is not None:
                row |= {**inspection.losses, HELD_OUT_NOTE: inspection.note}
        columns = [self.column(score) for score in point.scores]
        row |= self._scores(columns, units["metrics"])
        if likelihood is not None:
            row["identity"][BITS] = self.identities.add(likelihood.identity)
        row["drawn"] = "; ".join(filter(None, self._drawn(point, units, likelihood)))
        row["versions"] = versions(point)
        row["records"] = self._files(columns, units, inspection)
        row |= self._provenance(units)
        if isinstance(point.sample, ImagesSpec):
            row["unproven"]["the images"] = None
        return row | state_of(self.records, units)._asdict()

    def _preset(self, point: Point) -> str:
        """Returns the preset that a point's model is, empty for none; found once a train label."""
        if point.train not in self.presets:
            spec = point.sampling.train
            self.presets[point.train] = preset_of(self.methods[spec.method], spec.params)
        return self.presets[point.train]

    def column(self, score: ScoreSpec) -> str:
        """Returns the name of a metric's column, and remembers its card."""
        known = score.metric, repr(score.params)
        if known not in self._named:
            card = self.metrics[score.metric]
            self._named[known] = card.column(build(card.params, score.params))
            self.columns[self._named[known]] = card
        return self._named[known]

    def _training(self, unit: UnitId) -> dict[str, Any]:
        record = self.records.record(unit) or {}
        row = {f"training_{name}": record.get(name) for name in ("images", "flops", "seconds")}
        row["parameters"] = record.get("parameters")
        if "imported" in record:
            row["weights"] = imported_weights(record["imported"])
        return row

    def _sampling(self, units: Sequence[UnitId]) -> dict[str, Any]:
        """Returns what sampling cost, over the finished batches that the point's count asks for."""
        batches = [record for unit in units if (record := self.records.record(unit)) is not None]
        if not batches:
            return {}
        warm = [batch for batch in batches if batch["warm"]]
        seconds = sum(b["seconds"] for b in warm) / sum(b["images"] for b in warm) if warm else None
        # In a record without FLOPs per image no network's call cost more than the score's pass.
        counted = [{"flops_per_image": b["nfe"] * b["flops_per_row"], **b} for b in batches]
        clipped = batches[0]["clipped"] is not None
        return {
            "nfe": mean_over_images(batches, "nfe"),
            "nfe_min": min(batch["nfe"] for batch in batches),
            "nfe_max": max(batch["nfe"] for batch in batches),
            SECONDS: seconds,
            SECONDS_NOTE: "" if warm else COLD,
            GFLOPS: mean_over_images(counted, "flops_per_image") / 1e9,
            "network_gflops_per_row": mean_over_images(batches, "flops_per_row") / 1e9,
            "clipped_fraction": mean_over_images(batches, "clipped") if clipped else None,
            "device": joined(batch["provenance"].get("device") for batch in batches),
        }

    def _likelihood(self, point: Point, measured: Likelihood | None) -> dict[str, Any]:
        """Returns bits/dim, or why there is none."""
        card = self.methods[point.sampling.train.method]
        if card.likelihood is None:
            return {BITS_NOTE: card.no_likelihood or f"{card.title} has no likelihood"}
        if point.likelihood is None:
            reasons = card.likelihood.refuse(build(card.params, point.sampling.train.params))
            return {BITS_NOTE: "; ".join(reasons) or "the suite asks for none"}
        if measured is None:
            return {BITS_NOTE: "not finished"}
        return {
            BITS: measured.mean,
            BITS_ERROR: measured.error,
            DRAW_ERROR: measured.draw_error,
            DRAW_SD: measured.draw_sd,
            EXACT_BITS: measured.exact,
            "likelihood_nfe": measured.nfe,
            "likelihood_gflops_per_image": measured.gflops,
            BITS_NOTE: card.likelihood.kind,
        }

    def _scores(self, columns: Sequence[str], units: Sequence[UnitId]) -> dict[str, Any]:
        """Returns the values of the finished metrics, and the hash of each one's identity."""
        row: dict[str, Any] = {}
        identity: dict[str, str] = {}
        for column, unit in zip(columns, units, strict=True):
            if (record := self.records.record(unit)) is None:
                continue
            row[column] = record["value"]
            identity[column] = short = self.identities.add(record["identity"])
            if record.get("floor") is not None:
                self.floors.setdefault(column, {}).setdefault(short, record["floor"])
        return row | {"identity": identity}

    def _drawn(self, point: Point, units: Units, likelihood: Likelihood | None) -> Iterator[str]:
        """Yields which part of each set was taken, empty for all of it, and what repeats in it."""
        if isinstance(point.sample, ImagesSpec):
            scored = (self.records.record(unit) for unit in units["metrics"])
            source = next((record["source"] for record in scored if record is not None), None)
            if source is not None:
                yield describe_part(source["drawn"], source["images"])
                yield describe_copies(source["copies"])
        elif (given := point.sample.given) is not None and given["task"] in RESTORATIONS:
            splits = data_card(point.sample.train.dataset).splits
            yield _headed("given", describe_part(condition(given).images, splits[SPLIT]))
        if likelihood is not None:
            yield _headed("bits/dim", part_of(likelihood.identity))

    def _files(self, columns: Sequence[str], units: Units, inspection: Inspection | None) -> str:
        """Returns the path in the store of the record of each number."""
        files = {
            column: self.records.file(unit)
            for column, unit in zip(columns, units["metrics"], strict=True)
            if self.records.record(unit) is not None
        }
        bits = units.get("likelihood", ())
        if any(self.records.record(unit) is not None for unit in bits):
            files[BITS] = self.records.file(bits[0]._replace(part="*"))
        if inspection is not None and not inspection.cause:
            files[HELD_OUT] = inspection.file
        return "; ".join(f"{name}={file}" for name, file in files.items())

    def _provenance(self, units: Units) -> dict[str, Any]:
        """Returns which code and hosts made the numbers, and how many records name no commit."""
        unproven: dict[str, int | None] = {}
        entries: list[Mapping[str, Any]] = []
        for stage, asked in units.items():
            finished = [r for unit in asked if (r := self.records.record(unit)) is not None]
            made = [record.get("provenance") or {} for record in finished]
            if lacking := sum(not entry.get("commit") for entry in made):
                unproven[stage] = lacking
            entries += made
        if not entries:
            return {"unproven": unproven}
        commits = ((entry.get("commit") or "")[:12] for entry in entries)
        return {
            "unproven": unproven,
            "commit": tuple(dict.fromkeys(filter(None, commits))),
            "dirty": any(entry.get("dirty") for entry in entries),
            "host": joined(entry.get("host") for entry in entries),
            "ended": max((str(entry["end"]) for entry in entries if entry.get("end")), default=""),
        }


def _units(point: Point) -> dict[str, list[UnitId]]:
    units: dict[str, list[UnitId]] = {}
    if not isinstance(point.sample, ImagesSpec):
        units["training"] = [unit_of(point.sample.model)]
        units["samples"] = batches_of(point.sample, point.count)
    if point.likelihood is not None:
        units["likelihood"] = batches_of(point.likelihood, point.likelihood.images)
    units["metrics"] = [unit_of(score) for score in point.scores]
    return units


def _headed(head: str, text: str) -> str:
    return f"{head}: {text}" if text else ""
