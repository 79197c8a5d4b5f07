"""The command ``export``: a study as one archive that another machine verifies and merges."""

import argparse
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED
from bench.cli.merge import BESIDE, REPORT, SUMS
from bench.cli.options import Command, add_suite
from bench.cli.study import Study
from bench.files import hash_file, whole
from bench.installation import program
from bench.plugins import loaded
from bench.printable import say
from bench.store import DamagedError

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in an archive, so that equal content gives equal bytes."""


def _options(parser: argparse.ArgumentParser) -> None:
    add_suite(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the archive (SUITE.zip)")


def _export(options: argparse.Namespace) -> int:
    study = Study(options)
    study.note_keys()
    path = Path(options.output or f"{study.suite.name}.zip")
    try:
        stored, missing = _stored(study)
    except DamagedError as error:
        say(
            f"{error}: run the suite again, which makes it anew; nothing was packed",
            file=sys.stderr,
        )
        return FAILED
    files = stored | _report(study) | _suite(study)
    _pack(path, files)
    size = path.stat().st_size / 1e6
    lacking = f"; {missing} results are not finished and left out" if missing else ""
    say(f"{path}: {len(files)} files, {size:.1f} MB{lacking}")
    say(f"on the other machine: {program()} merge {path.name}")
    return DONE


def _stored(study: Study) -> tuple[dict[str, Path], int]:
    """Returns the files of finished results by their names in the archive, each hashed, and how
    many results are not finished.

    Raises:
        DamagedError: A file is not what was written.
    """
    files: dict[str, Path] = {}
    missing = 0
    for unit in (unit for job in study.jobs for unit in job.results):
        record = study.store.check(unit, rehash=True)
        if record is None:
            missing += 1
            continue
        folder = study.store.folder(unit.stage, unit.key)
        paths = (folder / name for name in (*BESIDE, *record["files"], f"{unit.part}.json"))
        files |= {f"store/{unit.folder}/{path.name}": path for path in paths if path.exists()}
    return files, missing


def _report(study: Study) -> dict[str, Path]:
    """Returns the tables and figures of the study."""
    folders = (study.results, study.results / "figures")
    return {
        f"{study.suite.name}/{path.relative_to(study.results).as_posix()}": path
        for folder in folders
        for path in sorted(folder.glob("*"))
        if path.suffix in REPORT and path.is_file()
    }


def _suite(study: Study) -> dict[str, Path]:
    """Returns the suite's file and its plugins, in folders that lie to each other as they do
    here.
    """
    paths = [study.suite.path.resolve(), *(file for one in loaded() for file in one.files)]
    above = os.path.commonpath([path.parent for path in paths])
    return {
        f"{study.suite.name}/suite/{path.relative_to(above).as_posix()}": path for path in paths
    }


def _pack(path: Path, files: Mapping[str, Path]) -> None:
    """Writes a zip archive with the files and their hashes."""
    sums = []
    with whole(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            sums.append(f"{hash_file(files[name])}  {name}\n")
            with (
                open(files[name], "rb") as source,
                archive.open(_entry(name), "w", force_zip64=True) as copy,
            ):
                shutil.copyfileobj(source, copy)
        archive.writestr(_entry(SUMS), "".join(sums))


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


COMMAND = Command(_export, _options)
