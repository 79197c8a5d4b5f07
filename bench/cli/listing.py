"""What there is to choose from, and what lies in the store: the commands ``list`` and ``show``."""

import argparse
import json
import sys
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from bench.card import Card, cards
from bench.data.card import DataCard
from bench.data.gallery import KINDS as GALLERIES
from bench.data.registry import DATASETS
from bench.execute.executor import executor_folder
from bench.files import read_json, scan
from bench.installation import checkout
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.registry import METRICS, SHORTHANDS
from bench.printable import say
from bench.schema import did_you_mean, plain
from bench.store import REFERENCES, STAGES, Store


def as_yaml(values: Any) -> str:
    """Returns plain values as YAML, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def print_all(options: argparse.Namespace) -> int:
    """Lists methods, samplers, data sets, metrics, suites and executors."""
    for name, card in cards().items():
        say(f"method   {name:<14} {card.title} ({card.paper})")
        for sampler, facts in card.samplers.items():
            say(f"  sampler  {sampler:<20} {facts.summary}")
        for preset in card.presets:
            say(f"  preset   {preset}")
    for name, card in DATASETS.items():
        splits = ", ".join(f"{count} {split}" for split, count in card.splits.items())
        say(
            f"dataset  {name:<14} {card.summary}; {'x'.join(map(str, card.shape))}, {_values(card)}; {splits}"
        )
    for name, kind in GALLERIES.items():
        say(f"dataset  {name:<14} {_first_line(kind)} Described in a suite: see show {name}")
    for name, metric in METRICS.items():
        say(f"metric   {name:<14} {metric.summary}")
    for name, meant in SHORTHANDS.items():
        of = ", ".join(f"{one} of {options['extractor']}" for one, options in meant)
        say(f"metric   {name:<14} short for {of}")
    for name, card in EXTRACTORS.items():
        size = "@SIZE" if card.sized else ""
        say(
            f"extractor {name + size:<20} {card.summary}"
            + ("; weights are missing" if card.missing() else "")
        )
    for path in sorted((checkout() / "suites").glob("*.yaml")):
        say(f"suite    {path.relative_to(checkout())}")
    for path in sorted(executor_folder().glob("*.yaml")):
        say(f"executor {path.stem}")
    return 0


def _values(card: DataCard) -> str:
    return (
        f"{card.levels} levels"
        if card.range is None
        else f"real values in [{card.range[0]:g}, {card.range[1]:g}]"
    )


def _first_line(kind: type) -> str:
    return kind.__doc__.strip().splitlines()[0]


ELSEWHERE = """\
images made elsewhere, under train: {samples_from: PATH, scale: WHITE}

samples_from: an .npz, or a folder or .zip of pictures. Of more images than samples.count asks for, that many are drawn
  at random by their content, so the order of the file does not matter. They are one row, whatever samples.seeds says.
scale: the value of white in the file (16, 255, 1.0), black being 0; or both, [-1, 1]. Left out: 255 in pictures, the
  data set's levels - 1 in whole numbers, 1 in floats; values that contradict this or leave it open are refused."""


def show(options: argparse.Namespace) -> int:
    """Shows a method, sampler, data set or metric, or what is stored under a key."""
    name, _, inner = options.what.partition(".")
    if name in cards() and not inner:
        card = cards()[name]
        say(f"{card.title}, version {card.version}, {card.paper}\n\nparams:")
        say(textwrap.indent(as_yaml(plain(card.params())), "  "))
        say("samplers: " + ", ".join(card.samplers))
        return 0
    samplers = [
        (card, inner or name) for card in cards().values() if not inner or card.name == name
    ]
    samplers = [(card, sampler) for card, sampler in samplers if sampler in card.samplers]
    for card, sampler in samplers:
        _show_sampler(card, sampler)
    if samplers:
        return 0
    if name in DATASETS:
        card = DATASETS[name]
        say(
            f"{card.summary}\nshape {card.shape}, {_values(card)}, splits {dict(card.splits)}: {card.split_rule}"
        )
        return 0
    if name in GALLERIES:
        say(f"{_first_line(GALLERIES[name])}\n\n    dataset: {{name: {name}, ...}} with")
        for item in fields(GALLERIES[name]):
            say(f"      {item.name}: {'needed' if item.default is MISSING else item.default}")
        return 0
    if name in METRICS:
        say(f"{METRICS[name].summary}\nparams: {as_yaml(plain(METRICS[name].params()))}")
        return 0
    if name == "samples_from":
        say(ELSEWHERE)
        return 0
    return _show_stored(options)


def _show_sampler(card: Card, name: str) -> None:
    sampler = card.samplers[name]
    say(f"{card.name}.{name}, version {sampler.version}: {sampler.summary}\n\nparams:")
    say(textwrap.indent(as_yaml(plain(sampler.params())), "  "))
    say(f"times: {', '.join(sampler.times) or 'none of its own'}")


def _show_stored(options: argparse.Namespace) -> int:
    store = Store(Path(options.store) if options.store else Path(options.results) / "store")
    stages = (*STAGES, REFERENCES)
    found = [
        (stage, name)
        for stage in stages
        for name in scan(store.root / stage)
        if name.startswith(options.what)
    ]
    if not found:
        samplers = [name for card in cards().values() for name in card.samplers]
        words = [*cards(), *samplers, *DATASETS, *GALLERIES, *METRICS, "samples_from"]
        hint = did_you_mean(options.what, words)
        say(
            f"nothing is called {options.what!r}, and no key in {store.root} begins so{hint}",
            file=sys.stderr,
        )
        return 2
    for stage, name in found:
        folder = store.folder(stage, name)
        say(f"{folder}")
        if (spec := folder / "spec.json").exists():
            values = read_json(spec)
            say(
                textwrap.indent(as_yaml(values), "  ")
                if isinstance(values, dict)
                else f"  {spec.name} is damaged"
            )
        parts = sorted(
            {entry.split(".")[0] for entry in scan(folder) if entry[0] != "."}
            - {"spec", "log", "resume"}
        )
        for part in parts:
            record = store.record(stage, name, part)
            say(f"  {part}: {'done' if record else 'not done'}")
            if record:
                say(textwrap.indent(json.dumps(record, indent=1), "    "))
            for attempt in store.attempts(stage, name, part):
                when = f"from {attempt.get('start')} to {attempt.get('end')}"
                say(f"    attempt {attempt['state']} on {attempt.get('host')} {when}")
                if "traceback" in attempt:
                    say(textwrap.indent(attempt["traceback"], "      "))
    return 0
