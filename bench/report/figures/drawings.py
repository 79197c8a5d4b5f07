"""Figures in their folder: one is drawn again only if what it is drawn from has changed.

``drawn.json`` notes for each figure a hash of what it was drawn from (its data, the code of this
package, the versions of what draws) and the hash of its PNG. Whatever does not agree is drawn.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import joblib

from bench.files import read_json, sha256
from bench.files import write as put
from bench.report.figures.figure import LazyFigure

NOTES = "drawn.json"
KINDS = ("png", "svg")


class Drawings:
    """The figures of one folder.

    Args:
        folder: Where they lie, made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        known = read_json(folder / NOTES)
        self.earlier = known if isinstance(known, dict) else {}
        self.notes: dict[str, list[str]] = {}

    def kept(self, lazy: LazyFigure) -> bytes | None:
        """Returns the PNG of an earlier report that was drawn from the same, None without one."""
        name, source = lazy.figure.name, source_of(lazy)
        paths = [self.folder / f"{name}.{kind}" for kind in KINDS]
        if not source or not all(path.is_file() for path in paths):
            return None
        image = paths[0].read_bytes()
        note = [source, sha256(image)]
        if self.earlier.get(name) != note:
            return None
        self.notes[name] = note
        return image

    def add(self, lazy: LazyFigure, files: Mapping[str, bytes]) -> bytes:
        """Writes a figure that was drawn and returns its PNG.

        Args:
            files: Its content, by kind.
        """
        name = lazy.figure.name
        for kind, content in files.items():
            put(self.folder / f"{name}.{kind}", content)
        self.notes[name] = [source_of(lazy), sha256(files["png"])]
        return files["png"]

    def write_notes(self) -> None:
        """Notes what the figures of this report were drawn from."""
        if self.notes:
            text = json.dumps(self.notes, indent=1, sort_keys=True)
            put(self.folder / NOTES, f"{text}\n".encode())


def source_of(lazy: LazyFigure) -> str:
    """Returns the hash of what a figure is drawn from, empty if that cannot be told."""
    if not isinstance(lazy.draw, partial):
        return ""
    function = lazy.draw.func
    named = f"{function.__module__}.{function.__qualname__}"
    try:
        return joblib.hash((_code(), named, lazy.draw.args, lazy.draw.keywords), "sha1")
    except Exception:  # whatever holds something that cannot be hashed is drawn each time
        return ""


@cache
def _code() -> str:
    """Returns the hash of the code that draws."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    versions = [importlib.metadata.version(name) for name in ("matplotlib", "seaborn", "numpy")]
    return sha256(b"".join(path.read_bytes() for path in files) + repr(versions).encode())
