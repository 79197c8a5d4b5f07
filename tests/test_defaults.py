"""No default moves without its version.

Keys leave out what has its default value (:mod:`bench.spec`), so a default that moved under an old
version would make stored results answer for numbers that they are not. ``tests/defaults/`` holds
all defaults as they were when the version was set, a file for each method and one for the harness.
After raising a version, or for a new method:

    python tests/test_defaults.py --write
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":  # of this checkout, whatever is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

from bench.card import cards
from bench.data.registry import DATASETS
from bench.metrics.registry import METRICS
from bench.schema import plain

FOLDER = Path(__file__).with_name("defaults")
REMEDY = "python tests/test_defaults.py --write"


def of_method(card):
    """Returns version and defaults of a method, its samplers and its likelihood, and its
    inspection's, by name.
    """
    found = {card.name: {"version": card.version, "defaults": plain(card.params())}}
    for name, sampler in card.samplers.items():
        defaults = {"times": next(iter(sampler.times), ""), **plain(sampler.params())}
        found[f"{card.name}.{name}"] = {"version": sampler.version, "defaults": defaults}
    if card.likelihood is not None:
        defaults = plain(card.likelihood.params())
        found[f"likelihood of {card.name}"] = {
            "version": card.likelihood.version,
            "defaults": defaults,
        }
    found[f"inspection of {card.name}"] = {"version": card.inspection, "defaults": {}}
    return found


def of_bench():
    """Returns version and defaults of every data set and metric, by name."""
    found = {}
    for name, card in DATASETS.items():
        defaults = {
            "shape": list(card.shape),
            "levels": card.levels,
            "splits": dict(card.splits),
            "flips": card.flips,
        }
        defaults |= {"range": list(card.range)} if card.kind == "real" else {}
        found[f"data set {name}"] = {"version": card.version, "defaults": defaults}
    for name, card in METRICS.items():
        found[f"metric {name}"] = {"version": card.version, "defaults": plain(card.params())}
    return found


CURRENT = {"bench": of_bench(), **{name: of_method(card) for name, card in cards().items()}}


def tracked(owner):
    file = FOLDER / f"{owner}.json"
    assert file.exists(), f"there is no {file.name} yet: {REMEDY}"
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, found in CURRENT.items() for name in found],
    ids=lambda text: text,
)
def test_default_moves_only_with_its_version(owner, name):
    now, then = CURRENT[owner][name], tracked(owner).get(name)
    if now == then:
        return
    assert then is not None, f"{name} is not in {FOLDER.name}/{owner}.json yet: {REMEDY}"
    assert now["version"] != then["version"], (
        f"a default of {name} moved and its version is still {now['version']}: raise the version "
        "(stored results "
        f"belong to the old numbers), or put the default back; then {REMEDY}"
    )
    pytest.fail(
        f"{name} has version {now['version']}, {FOLDER.name}/{owner}.json holds {then['version']}: "
        f"{REMEDY}"
    )


@pytest.mark.parametrize("owner", CURRENT)
def test_nothing_that_is_tracked_is_gone(owner):
    gone = tracked(owner).keys() - CURRENT[owner].keys()
    assert not gone, f"{', '.join(gone)}: renamed or taken out? {REMEDY}"


if __name__ == "__main__" and "--write" in sys.argv:
    FOLDER.mkdir(exist_ok=True)
    for owner, found in CURRENT.items():
        (FOLDER / f"{owner}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"wrote {FOLDER / owner}.json")
