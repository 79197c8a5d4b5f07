"""Results that were made with another content of a plugin file, under the same version.

A key holds the version that a plugin declares, not the content of its file, so a file that was
edited without raising its version would have old and new numbers side by side. The record of each
result names the content (``provenance.plugins``): a result of another content is refused, until the
version is raised or its author says that the numbers did not change.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.files import append, read_lines
from bench.plan import Job
from bench.plugins import Plugin
from bench.spec import canonical
from bench.store import Store

FIELDS = {
    "method": "methods",
    "dataset": "datasets",
    "metric": "metrics",
    "extractor": "extractors",
}
"""Fields of specs that name what a plugin can declare."""

EQUAL = "plugins.jsonl"
"""The file of the store that says which contents give the same numbers."""


def refuse_changed(
    store: Store, jobs: Iterable[Job], plugins: Iterable[Plugin], same: bool = False
) -> list[str]:
    """Returns a line for each plugin whose results in the store were made with another content.

    Args:
        jobs: What is planned; only finished results among it are read.
        same: Whether the author says that the numbers did not change, which is noted in the store.
    """
    lines = []
    jobs = list(jobs)
    for plugin in plugins:
        others = _others(store, jobs, plugin)
        if not others:
            continue
        if same:
            for digest in others:
                append(
                    store.root / EQUAL, {"file": plugin.path.name, "same": [digest, plugin.digest]}
                )
            continue
        count = sum(others.values())
        names = ", ".join(name.partition(".")[2] or name for _, name in plugin.names)
        lines.append(
            f"{plugin.path}: changed since {count} stored results of {names} were made "
            f"({next(iter(others))[:8]}, now {plugin.digest[:8]}): raise the version in its card, "
            "or add --same-numbers if their numbers would come out the same"
        )
    return lines


def _others(store: Store, jobs: Iterable[Job], plugin: Plugin) -> dict[str, int]:
    """Returns how many results were made with each other content that is not known to be equal."""
    equal = _equal(store, plugin)
    found: dict[str, int] = {}
    for job in jobs:
        if not any(_uses(canonical(spec), plugin) for spec in job.specs):
            continue
        for unit in job.results:
            record = store.record(*unit) or {}
            digest = (record.get("provenance") or {}).get("plugins", {}).get(plugin.path.name)
            if digest is not None and digest not in equal:
                found[digest] = found.get(digest, 0) + 1
    return found


def _equal(store: Store, plugin: Plugin) -> set[str]:
    """Returns the contents that give this one's numbers, itself included."""
    pairs = [
        line["same"]
        for line in read_lines(store.root / EQUAL)
        if line.get("file") == plugin.path.name and isinstance(line.get("same"), list)
    ]
    equal = {plugin.digest}
    while more := {digest for pair in pairs if equal & set(pair) for digest in pair} - equal:
        equal |= more
    return equal


def _uses(values: Any, plugin: Plugin) -> bool:
    """Tells whether a spec, as plain values, names what the plugin declares."""
    return any(declared in plugin.names for declared in _named(values))


def _named(values: Any) -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for field, value in values.items():
            if field in FIELDS and isinstance(value, str):
                yield FIELDS[field], value.partition("@")[0]
            else:
                yield from _named(value)
        train = values.get("train")
        if isinstance(train, Mapping) and "sampler" in values:
            yield "samplers", f"{train.get('method')}.{values['sampler']}"
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _named(value)
