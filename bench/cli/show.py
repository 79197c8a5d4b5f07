"""The command ``show``: the parameters of what ``list`` names, or what is stored under a key."""

import argparse
import json
import sys
import textwrap
from typing import Any

from bench.card import Card, cards
from bench.cli.exit_status import DONE, WRONG
from bench.cli.listing import describe_values
from bench.cli.options import Command, add_folders, add_plugin, store_of
from bench.data.gallery import KINDS as GALLERIES
from bench.data.registry import DATASETS
from bench.describe import as_yaml, commented_yaml, summary, without_markup
from bench.execute.executor import executor_files
from bench.files import read_json, scan
from bench.metrics.registry import METRICS
from bench.printable import say
from bench.schema import did_you_mean
from bench.store import REFERENCES, STAGES, Store

ELSEWHERE = """\
images made elsewhere, under train: {samples_from: PATH, scale: WHITE}

samples_from: an .npz, or a folder or .zip of pictures. If there are more images than samples.count
  asks for, that many are drawn at random by their content, so the order of the file does not
  matter. They are one row, whatever samples.seeds says.
scale: the value of white in the file (16, 255, 1.0), black being 0; or both, [-1, 1]. Left out: 255
  in pictures, the data set's levels - 1 in whole numbers, 1 in floats; values that contradict this
  or leave it open are refused."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_folders(parser)
    add_plugin(parser)
    parser.add_argument(
        "what", help="a name (sde, flow_heun, sde.flow_heun, digits, fd) or the beginning of a key"
    )


def _show(options: argparse.Namespace) -> int:
    texts = _named(options.what) or _stored(store_of(options), options.what)
    if texts:
        say("\n\n".join(texts))
        return DONE
    samplers = [name for card in cards().values() for name in card.samplers]
    words = [
        *cards(),
        *samplers,
        *DATASETS,
        *GALLERIES,
        *METRICS,
        *executor_files(),
        "samples_from",
    ]
    why = f"nothing is called {options.what!r}, and no key in {store_of(options).root} begins so"
    say(f"{why}{did_you_mean(options.what, words)}", file=sys.stderr)
    return WRONG


def _named(what: str) -> list[str]:
    """Returns a text for each thing of that name."""
    name, _, inner = what.partition(".")
    if name in cards() and not inner:
        return [_method(cards()[name])]
    owners = [card for card in cards().values() if not inner or card.name == name]
    sampler = inner or name
    if texts := [_sampler(card, sampler) for card in owners if sampler in card.samplers]:
        return texts
    if name in DATASETS:
        card = DATASETS[name]
        splits = f"splits {dict(card.splits)}: {card.split_rule}"
        return [f"{card.summary}\nshape {card.shape}, {describe_values(card)}, {splits}"]
    if name in GALLERIES:
        kind = GALLERIES[name]
        return [_described(f"data set {name}: {summary(kind)}", kind, f"dataset:\n  name: {name}")]
    if name in METRICS:
        metric = METRICS[name]
        return [
            _described(f"metric {name}, version {metric.version}: {metric.summary}", metric.params)
        ]
    if what in executor_files():
        path = executor_files()[what]
        return [f"executor {what}: {path}\n\n{path.read_text().rstrip()}"]
    return [ELSEWHERE] if name == "samples_from" else []


def _described(title: str, kind: type, head: str = "params:") -> str:
    """Returns a title and the parameters below it."""
    values = commented_yaml(kind)
    return f"{title}\n\n" + (f"{head}\n{textwrap.indent(values, '  ')}" if values else "no params")


def _method(card: Card) -> str:
    title = f"method {card.name}: {card.title}, version {card.version}, {card.paper}"
    about = without_markup(summary(card.params))
    text = _described(f"{title}\n{about}", card.params)
    text += f"\n\nsamplers: {', '.join(card.samplers)}"
    if card.presets:
        text += f"\npresets: {', '.join(card.presets)}"
    if card.likelihood is None:
        return f"{text}\nlikelihood: none: {card.no_likelihood}"
    return _described(f"{text}\n\nlikelihood: {card.likelihood.kind}", card.likelihood.params)


def _sampler(card: Card, name: str) -> str:
    sampler = card.samplers[name]
    title = f"sampler {card.name}.{name}, version {sampler.version}: {sampler.summary}"
    times = f"times: {', '.join(sampler.times) or 'none of its own'}"
    return f"{_described(title, sampler.params)}\n{times}"


def _stored(store: Store, beginning: str) -> list[str]:
    """Returns a text for each key that begins so."""
    return [
        "\n".join(_entry(store, stage, name))
        for stage in (*STAGES, REFERENCES)
        for name in scan(store.root / stage)
        if name.startswith(beginning)
    ]


def _entry(store: Store, stage: str, name: str) -> list[str]:
    """Returns what is stored under a key: its spec, its parts with their records, the attempts."""
    folder = store.folder(stage, name)
    lines = [f"{folder}"]
    if (spec := folder / "spec.json").exists():
        values: Any = read_json(spec)
        text = as_yaml(values).rstrip() if isinstance(values, dict) else f"{spec.name} is damaged"
        lines.append(textwrap.indent(text, "  "))
    parts = {entry.split(".")[0] for entry in scan(folder) if not entry.startswith(".")}
    for part in sorted(parts - {"spec", "log", "resume"}):
        record = store.record(stage, name, part)
        lines.append(f"  {part}: {'done' if record else 'not done'}")
        if record:
            lines.append(textwrap.indent(json.dumps(record, indent=1), "    "))
        for attempt in store.attempts(stage, name, part):
            when = f"from {attempt.get('start')} to {attempt.get('end')}"
            lines.append(f"    attempt {attempt['state']} on {attempt.get('host')} {when}")
            if "traceback" in attempt:
                lines.append(textwrap.indent(attempt["traceback"].rstrip(), "      "))
    return lines


COMMAND = Command(_show, _options)
