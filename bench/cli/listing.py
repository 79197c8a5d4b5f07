"""The command ``list``: what there is to choose from."""

import argparse

from bench.card import cards
from bench.cli.exit_status import DONE
from bench.cli.options import Command, add_plugin
from bench.data.card import DataCard
from bench.data.gallery import KINDS as GALLERIES
from bench.data.registry import DATASETS
from bench.describe import summary
from bench.execute.executor import executor_files
from bench.installation import checkout
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.registry import METRICS, SHORTHANDS
from bench.printable import say


def describe_values(card: DataCard) -> str:
    """Returns which values the images of a data set have."""
    if card.range is None:
        return f"{card.levels} levels"
    return f"real values in [{card.range[0]:g}, {card.range[1]:g}]"


def _list(options: argparse.Namespace) -> int:
    for name, card in cards().items():
        say(f"method   {name:<14} {card.title} ({card.paper})")
        for sampler, facts in card.samplers.items():
            say(f"  sampler  {sampler:<20} {facts.summary}")
        for preset in card.presets:
            say(f"  preset   {preset}")
    for name, data in DATASETS.items():
        splits = ", ".join(f"{count} {split}" for split, count in data.splits.items())
        shape = "x".join(map(str, data.shape))
        say(f"dataset  {name:<14} {data.summary}; {shape}, {describe_values(data)}; {splits}")
    for name, kind in GALLERIES.items():
        say(f"dataset  {name:<14} {summary(kind)} Described in a suite: see show {name}")
    for name, metric in METRICS.items():
        say(f"metric   {name:<14} {metric.summary}")
    for name, meant in SHORTHANDS.items():
        of = ", ".join(f"{one} of {values['extractor']}" for one, values in meant)
        say(f"metric   {name:<14} short for {of}")
    for name, extractor in EXTRACTORS.items():
        title = name + ("@SIZE" if extractor.sized else "")
        missing = "; weights are missing" if extractor.missing() else ""
        say(f"extractor {title:<20} {extractor.summary}{missing}")
    for path in sorted((checkout() / "suites").glob("*.yaml")):
        say(f"suite    {path.relative_to(checkout())}")
    for name in sorted(executor_files()):
        say(f"executor {name}")
    return DONE


COMMAND = Command(_list, add_plugin)
