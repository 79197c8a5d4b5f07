"""Where the harness itself lies, and by which name a person starts it."""

import sys
from pathlib import Path

INSTALLED = "score-bench"
"""The command that an installation adds (``project.scripts`` in pyproject.toml)."""


def checkout() -> Path:
    """Returns the folder that holds the packages, and in a checkout also suites/."""
    return Path(__file__).resolve().parent.parent


def program() -> str:
    """Returns the name by which the command line was started."""
    return INSTALLED if Path(sys.argv[0]).name == INSTALLED else "run_bench.py"
