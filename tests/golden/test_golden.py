"""Meets the authors' recorded numbers (sde, cld) and exact answers (oracle), one item a file of a
manifest.

Each module ``check_*.py`` here has a table ``CHECKS``: the beginning of "set/file", as a glob, and
the function that checks such files, called with (path, manifest entry, manifest). The longest key
that fits is the one that counts. In a file of several cases each is an item of its own, and its
entry tells its name by "case".
"""

import hashlib
import importlib
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

READING = (".md", ".txt")
"""How the names of files end that are there to be read, beside a set's own."""

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("check_*.py"))
CHECKS = {
    kind: check for name in MODULES for kind, check in importlib.import_module(name).CHECKS.items()
}


def test_every_file_of_a_set_is_named_in_its_manifest(golden_set):
    manifest = json.loads((golden_set / "manifest.json").read_text())
    known = {"manifest.json", *manifest["files"], *manifest.get("files_other", {})}
    others = sorted(
        file.name
        for file in golden_set.iterdir()
        if file.name not in known and file.suffix not in READING
    )
    if others:
        pytest.skip(f"nothing says what these are: {', '.join(others)}")


def test_golden(golden):
    fitting = [kind for kind in CHECKS if fnmatchcase(f"{golden.set}/{golden.file}", kind + "*")]
    kind = max(fitting, key=len, default=None)
    assert kind is not None, "nothing here checks files of this kind"
    assert golden.path.exists(), "the manifest lists a file that is not there"
    if "sha256" in golden.entry:
        assert hashlib.sha256(golden.path.read_bytes()).hexdigest() == golden.entry["sha256"], (
            "the file was altered"
        )
    CHECKS[kind](golden.path, golden.entry, golden.manifest)
