"""Makes one pytest item for each file of the golden sets' manifests (for cld: for each case of a
file).

A set is a folder of --golden-dir with a manifest.json. A folder without any set is refused, and so
is a file that a manifest lists and that is not there.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent


class Golden(NamedTuple):
    """One thing to check: a file (or one case of it) with its manifest entry and the whole
    manifest.
    """

    set: str
    file: str
    case: str | None
    path: Path
    entry: dict[str, Any]
    manifest: dict[str, Any]

    def __str__(self) -> str:
        return "/".join(part for part in (self.set, self.file, self.case) if part)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--golden-dir") or HERE / "data"
    if "golden" in metafunc.fixturenames:
        metafunc.parametrize(
            "golden", [item for name in sets(folder) for item in collect(folder, name)], ids=str
        )
    if "golden_set" in metafunc.fixturenames:
        metafunc.parametrize(
            "golden_set", [folder / name for name in sets(folder)], ids=lambda path: path.name
        )


def sets(folder: Path) -> list[str]:
    """Returns the sets in a folder by name.

    Raises:
        pytest.UsageError: There is none, so that nothing would be checked.
    """
    found = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
    if not found:
        raise pytest.UsageError(f"{folder} holds no set, a folder with a manifest.json")
    return found


def collect(folder: Path, name: str) -> list[Golden]:
    """Returns what there is to check in one set."""
    path = folder / name / "manifest.json"
    manifest = json.loads(path.read_text())
    items = []
    for file, entry in {**manifest["files"], **manifest.get("files_other", {})}.items():
        cases = {
            case: {**inner, "case": case} for case, inner in entry.get("cases", {}).items()
        } or {None: entry}
        items += [
            Golden(name, file, case, path.parent / file, inner, manifest)
            for case, inner in cases.items()
        ]
    return items
