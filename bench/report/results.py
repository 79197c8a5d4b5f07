"""The results of a suite: its rows, and every fact derived from them, each computed once.

Every writer (CSV, Markdown, page, terminal, figures) takes this one object. A row of the tidy table
is a point: one model (a training seed) sampled by one sampler with one sample seed. A group are the
points that differ only in their seeds. Only finished units are read, so an unfinished suite gives
the same table with fewer numbers in it, and each row says what it lacks and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.card import Card, cards
from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS
from bench.report.columns import (
    HELD_OUT_NOTE,
    LEADING,
    NUMBERS,
    TRAILING,
    TRUTHS,
    WHOLE,
    identity_text,
)
from bench.report.control import uncontrolled, unranked
from bench.report.formats import sampler_title
from bench.report.group import Group, groups_of
from bench.report.identity import Floors
from bench.report.inspection import Inspection, loss_columns, read_inspections
from bench.report.leaderboard import leaderboard
from bench.report.likelihood import SweepPoint, read_sweep
from bench.report.memorisation import Memorised, memorised
from bench.report.records import Records
from bench.report.row import RowReader
from bench.report.uncertainty import uncertainty
from bench.report.verdicts import judge
from bench.store import Store
from bench.suite.claims import Claim

if TYPE_CHECKING:
    from bench.suite.resolved import Suite


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Rows of one suite with what they depend on; derived facts are computed when first asked for.

    Only ``rows`` and ``metrics`` are needed to make one by hand. To change rows, make another
    object with :func:`dataclasses.replace`: derived facts never follow a table that changes.

    Args:
        rows: The tidy table, a row per point, finished or not. Column ``identity`` holds the hash
            of each number's identity by column. Columns ``heldout_loss@t=...`` hold the held-out
            loss of a row's model at each time. Column ``records`` names the file of each number in
            the store, ``unproven`` how many of the records behind a row name no commit.
        metrics: Cards by column of the tables; the first one ranks.
        identities: What each hash stands for, by hash.
        floors: What a metric says about real images, by column and hash, if it was measured.
        inspections: What was measured of each model itself, finished or not.
        sweep: Bits/dim of each training at each tolerance.
        name: Of the suite.
        dataset: Its data set.
        models: Its train labels, in order.
        claims: Those that it states.
        file: Where it was read from, for the command that makes a row again.
        options: The options that changed the file, for the same.
    """

    rows: pd.DataFrame
    metrics: Mapping[str, MetricCard]
    identities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    floors: Floors = field(default_factory=dict)
    inspections: Sequence[Inspection] = ()
    sweep: Sequence[SweepPoint] = ()
    name: str = ""
    dataset: str = ""
    models: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    file: str = ""
    options: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> list[Group]:
        """The rows of each group, with the estimates over its seeds."""
        return groups_of(self.rows, self.metrics)

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard, a row per group (:func:`bench.report.leaderboard.leaderboard`)."""
        return leaderboard(self.groups, self.metrics)

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The rows of the leaderboard as plain mappings, by their place in it: reading cells of a
        data frame one after another costs a hundred times as much.
        """
        return self.board.to_dict("records")

    @cached_property
    def samplers(self) -> list[str]:
        """The sampler of each row of the leaderboard, with its settings if its model has it with
        others as well.
        """
        kinds: dict[tuple[str, str], set[tuple[str, str]]] = {}
        names = [(str(line["train"]), str(line["sampler"])) for line in self.lines]
        for name, line in zip(names, self.lines, strict=True):
            kinds.setdefault(name, set()).add((str(line["times"]), str(line["settings"])))
        return [
            name[1] if len(kinds[name]) == 1 else sampler_title(line)
            for name, line in zip(names, self.lines, strict=True)
        ]

    @cached_property
    def _groups_of_board(self) -> dict[tuple[str, str], Group]:
        return {(group.name, identity_text(group.identity)): group for group in self.groups}

    def group_at(self, index: int) -> Group:
        """Returns the group of a row of the leaderboard."""
        row = self.lines[index]
        return self._groups_of_board[row["group"], identity_text(row["identity"])]

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """A row per group and metric (:func:`bench.report.uncertainty.uncertainty`)."""
        return uncertainty(self.groups)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row per claim (:func:`bench.report.verdicts.judge`)."""
        return judge(self.claims, self.rows, self.metrics, self.floors)

    @cached_property
    def memorised(self) -> list[Memorised]:
        """The groups whose samples are copies of training images."""
        return memorised(self.board, self.metrics, self.floors)

    @cached_property
    def unranked(self) -> list[str]:
        """A line for each metric and budget whose rows are not ranked together, and why."""
        return unranked(self.rows, self.metrics, self.identities)

    @cached_property
    def uncontrolled(self) -> str:
        """Why the models are not compared under control, empty if nothing speaks against it.

        A suite that says so itself changes what its run does, not what its numbers mean.
        """
        return uncontrolled(self.rows)

    @cached_property
    def drawn(self) -> list[str]:
        """A line for each part of a set that rows are of: ``Images of a: 300 of 1,797, ...``."""
        known = self.rows[self.rows["drawn"] != ""].drop_duplicates(["train", "drawn"])
        parts = known.groupby("drawn", sort=False)["train"]
        return [f"Images of {', '.join(dict.fromkeys(labels))}: {text}." for text, labels in parts]

    @property
    def first_metric(self) -> str | None:
        """The column that ranks, None without metrics."""
        return next(iter(self.metrics), None)

    @property
    def second_metric(self) -> str | None:
        """The column that tables show beside the first: of another kind if there is one."""
        names = list(self.metrics)
        kinds = [name.partition("(")[0] for name in names]
        unlike = [name for name, kind in zip(names, kinds, strict=True) if kind != kinds[0]]
        return next(iter([*unlike, *names[1:]]), None)


def read_results(
    suite: "Suite",
    store: Store | Records,
    *,
    methods: Mapping[str, Card] | None = None,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> Results:
    """Returns the results of a suite, each record of the store read once.

    Args:
        store: Where they lie; :class:`Records` if somebody else needs what is read as well.
        methods: Cards by name; those found in ``methods/`` by default.
        metrics: Metric cards by name.
    """
    methods = cards() if methods is None else methods
    records = store if isinstance(store, Records) else Records(store)
    inspections = read_inspections(suite, records, methods)
    by_model: dict[str, Inspection] = {}
    for inspection in inspections:
        by_model.setdefault(inspection.model, inspection)
    reader = RowReader(records, methods, metrics, by_model)
    rows = [reader.row(point) for point in suite.points]
    return Results(
        rows=_table(rows, list(reader.columns), inspections),
        metrics=reader.columns,
        identities=dict(sorted(reader.identities.items())),
        floors=reader.floors,
        inspections=inspections,
        sweep=read_sweep(suite, records, methods),
        name=suite.name,
        dataset=suite.dataset,
        models=tuple(suite.train),
        claims=suite.claims,
        file=_shown(suite.path),
        options=suite.options,
    )


def _shown(path: Path) -> str:
    """Returns a path below the current folder, else the file's name: no folder of a machine."""
    here = Path.cwd()
    full = path if path.is_absolute() else here / path
    return full.relative_to(here).as_posix() if full.is_relative_to(here) else path.name


def _table(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], inspections: Sequence[Inspection]
) -> pd.DataFrame:
    losses = loss_columns(inspections)
    notes = [HELD_OUT_NOTE] if inspections else []
    table = pd.DataFrame(rows, columns=[*LEADING, *metrics, *losses, *notes, *TRAILING])
    kinds = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(TRUTHS, "boolean")
    return table.astype(kinds | dict.fromkeys((*NUMBERS, *metrics, *losses), "float64"))
