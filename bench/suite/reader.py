"""YAML -> Suite: which models are trained, what is sampled from them and how it is scored.

    train label -> TrainSpec per training seed
    point x train label x grid x training seed x sample seed -> Point

:mod:`bench.suite.read` checks the file section by section, :mod:`bench.suite.expansion` expands the
grids to their product. Both note every problem they meet, so all are shown at once, before any job.

What a suite says is laid in layers, later ones winning: defaults, the preset, the file,
``--profile``, ``--set``, ``--smoke``. A profile merges mappings and replaces anything else.

Standard library and YAML only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.card import Card
from bench.card import cards as all_cards
from bench.data.card import DataCard
from bench.data.registry import DATASETS
from bench.metrics.card import MetricCard
from bench.metrics.registry import METRICS
from bench.plugins import Plugin, PluginError, load, loaded
from bench.schema import Problem
from bench.spec import Point
from bench.suite.claims import Claim, expand_claims, note_power, sample_seeds
from bench.suite.document import OPTION_ORDER, Document
from bench.suite.expansion import Expansion
from bench.suite.fault import Fault, Findings, Place, SuiteError, in_order
from bench.suite.labels import select
from bench.suite.models import Models
from bench.suite.read.reading import Cards, Options
from bench.suite.read.whole import read_sections
from bench.suite.resolved import Suite, resolve
from bench.suite.sections import Model, Sections, Source


def read_suite(
    path: Path | str,
    *,
    sets: Sequence[str] = (),
    profile: str | None = None,
    smoke: bool = False,
    only: Sequence[str] = (),
    cache: Path | None = None,
    absent: bool = False,
    cards: Mapping[str, Card] | None = None,
    datasets: Mapping[str, DataCard] = DATASETS,
    metrics: Mapping[str, MetricCard] = METRICS,
) -> Suite:
    """Returns the suite of a YAML file.

    Args:
        path: The file.
        sets: ``--set`` options, ``train.vp.params.sigma_max=3``.
        profile: The key of ``profiles`` that is laid over the file.
        smoke: One small batch of every point, from models trained for a few steps.
        only: Train labels or parts of group names; points that match none are left out.
        cache: Folder that remembers the digests of images made elsewhere.
        absent: Read it even if checkpoints and images made elsewhere are absent, to say which.
        cards: The methods; by default those of :func:`bench.card.cards`.
        datasets: The data sets.
        metrics: The metrics.

    Raises:
        SuiteError: Every problem of the file and of the options, each with its place.
    """
    named = Cards(all_cards() if cards is None else cards, datasets, metrics)
    options = Options(smoke=smoke, only=only, cache=cache, absent=absent)
    document = Document(path)
    faults = _check_profiles(document, named, options) + _lay_profile(document, profile)
    for number, option in enumerate(sets):
        document.set(option, number)
    plugins, unusable = _load_plugins(document)
    faults += unusable
    sections, reading = read_sections(document.tree, named, options)
    if reading.problems or document.problems or faults:
        raise SuiteError(in_order(faults + document.faults(reading.problems)))

    findings = Findings(notes=reading.notes)
    models = Models(sections, findings, cache)
    points = Expansion(sections, models, metrics, findings, cache).points()
    claims: tuple[Claim, ...] = ()
    if not findings.problems:
        groups = {point.group: point for point in points}
        claims = expand_claims(sections.claims, groups, findings, smoke=smoke)
        if not smoke:
            trainings = {label: len(specs) for label, specs in models.specs.items()}
            seeds = sample_seeds(points)
            exact = [
                label
                for label, entry in sections.train.items()
                if isinstance(entry, Model) and entry.is_exact(sections.data)
            ]
            findings.notes += note_power(claims, trainings, groups, seeds, exact)
    if findings.problems:
        raise SuiteError(document.faults(findings.problems))

    points = select(points, sections.train, only)
    resolved = resolve(sections, models, metrics, claims)
    if plugins:
        resolved["plugins"] = {str(plugin.path): plugin.digest for plugin in plugins}
    suite = _suite(Path(path), sections, models, points, claims, resolved, findings.notes)
    changed = ["--profile", profile] if profile is not None else []
    changed += ["--smoke"] if smoke else []
    changed += [word for option in sets for word in ("--set", option)]
    return replace(suite, options=tuple(changed))


def _load_plugins(document: Document) -> tuple[tuple[Plugin, ...], list[Fault]]:
    """Loads the files under ``plugins:``, relative to the suite's folder."""
    listed = document.tree.get("plugins", []) if isinstance(document.tree, Mapping) else []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        problem = Problem(("plugins",), listed, "should be a list of Python files")
        return (), document.faults([problem])
    problems = []
    for index, name in enumerate(listed):
        try:
            load([document.path.parent / name])
        except PluginError as error:
            problems.append(Problem(("plugins", str(index)), name, str(error)))
    return loaded(), document.faults(problems)


def _profiles(document: Document) -> Mapping[str, Any]:
    """Returns the profiles that can be laid over the file."""
    profiles = document.tree.get("profiles") if isinstance(document.tree, Mapping) else None
    profiles = profiles if isinstance(profiles, Mapping) else {}
    return {name: values for name, values in profiles.items() if isinstance(values, Mapping)}


def _lay_profile(document: Document, profile: str | None) -> list[Fault]:
    profiles = _profiles(document)
    if profile is not None and profile in profiles:
        document.overlay(("profiles", profile))
    elif profile is not None:
        place = Place(OPTION_ORDER, f"--profile {profile}")
        return [Fault(place, (), profile, "there is no such profile", tuple(profiles))]
    return []


def _check_profiles(document: Document, cards: Cards, options: Options) -> list[Fault]:
    """Returns what is wrong in the lines of each profile, whether or not it is asked for."""
    options = replace(options, smoke=False, only=(), absent=True)
    faults = []
    for name in _profiles(document):
        trial = document.copy()
        own = {place for path, place in trial.places.items() if path[:2] == ("profiles", name)}
        trial.overlay(("profiles", name))
        _, reading = read_sections(trial.tree, cards, options)
        faults += [fault for fault in trial.faults(reading.problems) if fault.place in own]
    return faults


def _suite(
    path: Path,
    sections: Sections,
    models: Models,
    points: Sequence[Point],
    claims: Sequence[Claim],
    resolved: Mapping[str, Any],
    notes: Sequence[str],
) -> Suite:
    """Returns the suite of the points that are asked for, with their models and claims."""
    groups, used = {point.group for point in points}, {point.train for point in points}
    if used >= {sweep.label for sweep in sections.sweeps}:
        used = set(sections.train)  # nothing is left out: models without points stay too
    entries = {label: entry for label, entry in sections.train.items() if label in used}
    trained = {label: entry for label, entry in entries.items() if isinstance(entry, Model)}
    sources = {
        label: entry.path if isinstance(entry, Source) else entry.checkpoint
        for label, entry in entries.items()
    }
    return Suite(
        name=sections.name,
        path=path,
        dataset=sections.dataset,
        points=tuple(points),
        train={label: models.specs[label] for label in entries},
        snapshots={label: e.snapshots for label, e in trained.items() if e.snapshots},
        ema={label: entry.ema for label, entry in trained.items() if entry.ema},
        sources={label: file for label, file in sources.items() if file is not None},
        wanted={label: entry.wanted for label, entry in trained.items() if entry.wanted},
        origins={label: entry.origin for label, entry in trained.items() if entry.origin},
        sweep={label: specs for label, specs in models.sweep().items() if label in used},
        inspections={
            label: specs for label, specs in models.inspections().items() if label in used
        },
        metrics=tuple(sections.metrics),
        claims=tuple(claim for claim in claims if {claim.first, claim.second} <= groups),
        keep=sections.keep,
        figures=sections.figures,
        controlled=sections.controlled,
        resolved=resolved,
        notes=tuple(notes),
    )
