"""Makes one pytest item for each file of the golden sets' manifests (for cld: for each case of a file).

A set is a folder of --golden-dir with a manifest.json; one that is absent collects nothing, but a folder without any
set is refused, and so is a file that a manifest lists and that is not there.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
SETS = ("sde", "cld", "oracle")


class Golden(NamedTuple):
    """One thing to check: a file (or one case of it) with its manifest entry and the whole manifest."""

    set: str
    file: str
    case: str | None
    path: Path
    entry: dict[str, Any]
    manifest: dict[str, Any]

    def __str__(self) -> str:
        return "/".join(part for part in (self.set, self.file, self.case) if part)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" in metafunc.fixturenames:
        folder = metafunc.config.getoption("--golden-dir") or HERE / "data"
        items = [item for name in SETS for item in collect(folder, name)]
        if not items:
            raise pytest.UsageError(f"--golden-dir: {folder} holds none of {', '.join(SETS)} with a manifest.json")
        metafunc.parametrize("golden", items, ids=str)


def collect(folder: Path, name: str) -> list[Golden]:
    """Returns what there is to check in one set, nothing where it has no manifest."""
    path = folder / name / "manifest.json"
    if not path.exists():
        return []
    manifest = json.loads(path.read_text())
    items = []
    for file, entry in {**manifest["files"], **manifest.get("files_other", {})}.items():
        cases = {case: {**inner, "case": case} for case, inner in entry.get("cases", {}).items()} or {None: entry}
        items += [Golden(name, file, case, path.parent / file, inner, manifest) for case, inner in cases.items()]
    return items
