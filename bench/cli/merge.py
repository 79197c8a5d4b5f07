"""The command ``merge``: results of other folders, machines and archives into one store.

Work of one key is equal work. So a result that both sides have with equal values is kept once, and
one with another value is evidence on reproducibility: the one that was there first stays, and both
values stand in ``reproducibility.csv``.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.cli.exit_status import DONE, FAILED
from bench.cli.options import Command, add_folders, store_of
from bench.cli.study import noted_keys
from bench.execute.lease import holder
from bench.files import hash_file, scan, whole, write
from bench.printable import say
from bench.store import REFERENCES, STAGES, DamagedError, Store, UnitId

SUMS = "SHA256SUMS"
"""The file of an archive with the hash of every other one, as ``sha256sum -c`` reads it."""
BESIDE = ("spec.json", "log.jsonl")
"""Files of a key that belong to all its units."""
REPORT = (".csv", ".html", ".json", ".md", ".parquet", ".pdf", ".png", ".svg", ".tex", ".yaml")
"""Endings of the files of a study that are a report's or a suite's."""
EVIDENCE = "reproducibility.csv"
COLUMNS = ("stage", "key", "part", "what", "kept", "other", "difference", "kept_made", "other_made")
MOST = 10
"""Differences that are printed; the file has all."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_folders(parser)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="DIR|FILE",
        help="a results folder, a store, or an archive that export wrote",
    )


def _merge(options: argparse.Namespace) -> int:
    store, results, status = store_of(options), Path(options.results), DONE
    evidence: list[dict[str, Any]] = []
    for name in options.sources:
        try:
            with _opened(Path(name), results) as source:
                inner = source / "store"
                counts, lines = _add(Store(inner if inner.is_dir() else source), store, evidence)
                if inner.is_dir():
                    lines += _add_studies(source, results)
        except ValueError as error:
            say(f"{error}; nothing of it was merged", file=sys.stderr)
            return FAILED
        say(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
        for line in lines:
            say(line, file=sys.stderr)
        status = FAILED if counts["damaged or in work, left out"] else status
    if evidence:
        _show(evidence, results / EVIDENCE)
    return status


@contextlib.contextmanager
def _opened(path: Path, results: Path) -> Iterator[Path]:
    """Yields the folder of a source; an archive is verified and unpacked into one that goes away.

    Raises:
        ValueError: It is neither, or a file of the archive is not what was packed.
    """
    if path.is_dir():
        if not {"store", *STAGES} & set(scan(path)):
            raise ValueError(f"{path}: neither a results folder (store/) nor a store (scores/)")
        yield path
        return
    if not zipfile.is_zipfile(path):
        why = "neither a folder nor a zip archive" if path.exists() else "is not there"
        raise ValueError(f"{path}: {why}")
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results) as folder:
        with zipfile.ZipFile(path) as archive:
            _unpack(archive, path, Path(folder))
        yield Path(folder)


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    names = set(archive.namelist())
    text = archive.read(SUMS).decode(errors="replace") if SUMS in names else ""
    sums = {name: digest for digest, _, name in (x.partition("  ") for x in text.splitlines())}
    if names != {*sums, SUMS}:
        odd = ", ".join(sorted(names ^ {*sums, SUMS})[:3])
        raise ValueError(f"{path}: files and {SUMS} do not match: {odd}")
    for name, digest in sums.items():
        try:
            found = hash_file(Path(archive.extract(name, folder)))
        except zipfile.BadZipFile:
            found = ""
        if found != digest:
            raise ValueError(f"{path}: {name}: the content is not what was packed (sha256)")


def _add(
    source: Store, target: Store, evidence: list[dict[str, Any]]
) -> tuple[Counter[str], list[str]]:
    """Adds what one store has and the other lacks.

    Returns:
        How many results became what, and a line for each that was left out.
    """
    counts: Counter[str] = Counter()
    lines = []
    for unit in _units(source):
        try:
            record = source.check(unit, rehash=True)
        except DamagedError as error:
            counts["damaged or in work, left out"] += 1
            lines.append(f"damaged, left out: {error}")
            continue
        if record is None:
            continue
        if (mine := target.record(*unit)) is not None:
            found = list(_differences(unit, (mine, target), (record, source)))
            evidence += found
            counts["there with another value" if found else "there with equal values"] += 1
        elif holder(target.path(unit, ".lease")) is not None:
            counts["damaged or in work, left out"] += 1
            lines.append(f"somebody makes it now, left out: {unit}")
        else:
            _copy(unit, record, source, target)
            counts["new"] += 1
    return counts or Counter({"new": 0}), lines


def _units(store: Store) -> Iterator[UnitId]:
    for stage in (*STAGES, REFERENCES):
        for key in scan(store.root / stage):
            for entry in scan(store.root / stage / key):
                if entry.endswith(".json") and entry not in BESIDE and not entry.startswith("."):
                    yield UnitId(stage, key, entry.removesuffix(".json"))


def _copy(unit: UnitId, record: Mapping[str, Any], source: Store, target: Store) -> None:
    """Copies the files of a unit, and its record last: from then on it is finished."""
    folder = target.folder(unit.stage, unit.key)
    for name in (*BESIDE, *record["files"], f"{unit.part}.json"):
        path = source.folder(unit.stage, unit.key) / name
        if not path.exists() or (name in BESIDE and (folder / name).exists()):
            continue
        with open(path, "rb") as file, whole(folder / name) as copy:
            shutil.copyfileobj(file, copy)
        if name in record["files"]:
            os.utime(folder / name, ns=(record["files"][name]["mtime_ns"],) * 2)


def _differences(
    unit: UnitId, mine: tuple[Mapping[str, Any], Store], theirs: tuple[Mapping[str, Any], Store]
) -> Iterator[dict[str, Any]]:
    """Yields a row for each value in which two records of one key differ."""
    one, other = (dict(_values(record)) for record, _ in (mine, theirs))
    for what in one:
        if repr(one[what]) == repr(other.get(what)):
            continue
        if what in mine[0]["files"]:
            pair = [store.folder(unit.stage, unit.key) / what for _, store in (mine, theirs)]
            difference = _largest_difference(*pair)
        else:
            difference = other.get(what, float("nan")) - one[what]
        values = (*unit, what, one[what], other.get(what), difference)
        made = (_made(record) for record, _ in (mine, theirs))
        yield dict(zip(COLUMNS, (*values, *made), strict=True))


def _values(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields what equal work makes equal: hashes of files, values, evaluations."""
    for name, facts in record["files"].items():
        yield name, facts["sha256"][:12]
    for name in ("value", "nfe"):
        if name in record:
            yield name, float(record[name])
    lists = {**(record.get("values") or {}), "losses": record.get("losses")}
    for name, values in lists.items():
        if values:
            yield f"mean of {name}", sum(map(float, values)) / len(values)


def _largest_difference(one: Path, other: Path) -> float | str:
    """Returns the largest difference between numbers of two files of arrays, empty if they cannot
    be compared.
    """
    try:
        first, second = map(_arrays, (one, other))
    except (FileNotFoundError, ValueError):
        return ""
    if {n: a.shape for n, a in first.items()} != {n: a.shape for n, a in second.items()}:
        return ""
    sizes = (
        abs(array.astype(float) - second[name].astype(float)).max(initial=0.0)
        for name, array in first.items()
        if array.dtype.kind in "biuf"
    )
    return float(max(sizes, default=0.0))


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np
    from safetensors.numpy import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    found = np.load(path, allow_pickle=False)
    return dict(found) if path.suffix == ".npz" else {"": found}


def _made(record: Mapping[str, Any]) -> str:
    made = record.get("provenance") or {}
    facts = (made.get("host"), made.get("device"), (made.get("commit") or "")[:12])
    return ", ".join(str(fact) for fact in facts if fact)


def _add_studies(source: Path, results: Path) -> list[str]:
    """Notes which keys the studies of a results folder use; brings tables and figures of those that
    are not here yet.
    """
    lines = []
    for name in scan(source):
        here, there = source / name, results / name
        if here.resolve() == there.resolve() or not (here / "keys.json").is_file():
            continue
        if not there.exists():
            for path in sorted(here.rglob("*")):
                inside = path.relative_to(here)
                if path.suffix in (*REPORT, ".py") and inside.parts[0] not in ("jobs", "workers"):
                    write(there / inside, path.read_bytes())
            continue
        try:
            keys = noted_keys(here / "keys.json") | noted_keys(there / "keys.json")
        except ValueError as error:
            lines.append(str(error))
            continue
        if keys:
            write(there / "keys.json", json.dumps(sorted(keys)).encode())
    return lines


def _show(evidence: list[dict[str, Any]], path: Path) -> None:
    """Prints the first differences, and adds all that are new to the file."""
    rows = [{name: str(value) for name, value in row.items()} for row in evidence]
    before = list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({tuple(row.values()): row for row in (*before, *rows)}.values())
    write(path, text.getvalue().encode())
    for row in rows[:MOST]:
        unit = "/".join((row["stage"], row["key"][:12], row["part"]))
        by = f" (by {row['difference']})" if row["difference"] else ""
        say(f"{unit} {row['what']}: {row['kept']} is kept, there {row['other']}{by}")
    more = f"; {len(rows) - MOST} more there" if len(rows) > MOST else ""
    say(f"equal work with other values, evidence on reproducibility: {path}{more}")


COMMAND = Command(_merge, _options)
