"""Meets the authors' recorded numbers (sde, cld) and exact answers (oracle), one item a file of a manifest.

Each module ``check_*.py`` here has a table ``CHECKS``: the beginning of "set/file", as a glob, and the function that
checks such files, called with (path, manifest entry, manifest). The longest key that fits is the one that counts. In a
file of several cases each is an item of its own, and its entry tells its name by "case".
"""

import hashlib
import importlib
from fnmatch import fnmatchcase
from pathlib import Path

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("check_*.py"))
CHECKS = {kind: check for name in MODULES for kind, check in importlib.import_module(name).CHECKS.items()}


def test_golden(golden):
    fitting = [kind for kind in CHECKS if fnmatchcase(f"{golden.set}/{golden.file}", kind + "*")]
    kind = max(fitting, key=len, default=None)
    assert kind is not None, "nothing here checks files of this kind"
    assert golden.path.exists(), "the manifest lists a file that is not there"
    if "sha256" in golden.entry:
        assert hashlib.sha256(golden.path.read_bytes()).hexdigest() == golden.entry["sha256"], "the file was altered"
    CHECKS[kind](golden.path, golden.entry, golden.manifest)
