"""The suites that reproduce papers, as plain values."""

from pathlib import Path

from bench.suite.document import Document

SUITES = Path(__file__).resolve().parents[2] / "suites"
NCSN, SDE, CLD, SOFT, FACES = (
    SUITES / f"reproduce_{name}.yaml" for name in ("ncsn", "sde", "cld", "soft", "celebahq_1024")
)
INLINE = "inline"


def tree_of(path, profile=None):
    """Returns a suite as plain values, with a profile laid over it."""
    document = Document(path)
    if profile is not None:
        document.overlay(("profiles", profile))
    document.tree.pop("profiles", None)
    for entry in document.tree["train"].values():
        for name in [name for name, value in entry.items() if value is None]:
            del entry[name]
    return document.tree


def entries(path, profile=None):
    return tree_of(path, profile)["train"]
