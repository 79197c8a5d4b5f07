"""Writes the generated parts of the documentation: tables of keys, and the drawing of the packages.

    python docs/generate.py            # rewrites the pages that are out of date, and names them
    python docs/generate.py --check    # names them, and ends with status 1 if there are any

A page marks a generated part by ``<!-- generated: NAME -->`` and ``<!-- end -->``, each on a line
of its own; NAME is one of :func:`parts`. The text comes from the cards, from the dataclasses that
suites and executor files are read into, from the imports, and from tracked results, so it cannot
differ from them.
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "tests" / "support")]

from drawing import drawing  # noqa: E402
from speeds import speeds  # noqa: E402
from tables import OF_A_METHOD, OF_EVERYTHING, fields_table  # noqa: E402

from bench.card import cards  # noqa: E402
from bench.data.conditioning import TASKS  # noqa: E402
from bench.data.gallery import KINDS as GALLERIES  # noqa: E402
from bench.execute.executor import Executor  # noqa: E402
from bench.execute.slurm.resources import Resources, Slurm  # noqa: E402
from bench.suite.sections import HeldOut, Inspect, Samples  # noqa: E402

MARKED = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def parts() -> Mapping[str, Callable[[], str]]:
    """Returns the function that writes each generated part, by name."""
    kinds = {
        "samples": Samples,
        "likelihood": HeldOut,
        "local executor": Executor,
        "slurm executor": Slurm,
        "slurm resources": Resources,
        **{f"task {name}": kind for name, kind in TASKS.items()},
        **{f"pictures {name}": kind for name, kind in GALLERIES.items()},
    }
    return {
        **{name: partial(fields_table, kind) for name, kind in kinds.items()},
        "inspect": partial(fields_table, Inspect, {"images": "256, or all if fewer"}),
        "drawing": partial(drawing, ROOT),
        "speeds": partial(speeds, ROOT / "results" / "perf" / "perf.csv"),
        **OF_EVERYTHING,
        **{
            f"{what} of {name}": partial(write, card)
            for name, card in cards().items()
            for what, write in OF_A_METHOD.items()
        },
    }


def updated(page: str) -> str:
    """Returns a page with its generated parts as they should be.

    Raises:
        KeyError: A part of an unknown name.
    """
    known = parts()
    return MARKED.sub(lambda found: f"{found[1]}\n{known[found[2]]().strip()}\n\n{found[3]}", page)


def main() -> int:
    """Rewrites, or with ``--check`` only names, the pages that are out of date."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := updated(text)) != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path} {'is out of date' if check else 'is written anew'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
