"""A listing of what papers claim: a YAML file, written before the runs that judge it.

Each entry says a claim and its source, and which claims of which suites test it; budgets, metrics
and smallest effects are stated in the suites, once. After a run it may say where a contradiction
comes from.

Standard library only.
"""

from pathlib import Path
from typing import Annotated, Literal

from bench.frozen import dataclass
from bench.schema import Above, NotEmpty, Problem, check
from bench.suite.document import Document
from bench.suite.fault import SuiteError

Expected = Literal["better", "within noise"]


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a suite makes of an entry of the listing.

    Args:
        suite: The suite's file, relative to the folder that holds the listing's folder.
        profile: The profile of the suite that is meant, if one is.
        pairs: What is compared, the first with the second.
        about: Which score and which data they are about.
        expected: What the suite expects of the first group: that it is better, or that nothing of
            interest lies between the two.
        reverses: Why the suite expects the reverse of the paper here; empty if it does not.
        cause: Where a contradiction comes from: solver, network, scale or a defect, with what
            shows it. Written after the run.
    """

    suite: str
    profile: str | None = None
    pairs: Annotated[tuple[tuple[str, str], ...], NotEmpty()]
    about: str = ""
    expected: Expected = "better"
    reverses: str = ""
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class Trial(Stated):
    """Claims of one suite that test an entry of the listing.

    Their ``pairs`` are by whole words of the two groups of each claim; several claims may have the
    same words, at several budgets.

    Args:
        metric: The column of their metric, if the suite claims the pair in several.
    """

    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class CurveTrial(Stated):
    """A comparison of what models show of themselves: the mean of a curve, one value per training.

    Their ``pairs`` are train labels: the first is claimed to have the smaller mean.

    Args:
        curve: The curve's title.
        smallest_effect: The least ratio of interest, less 1: 0.1 is 10 %.
    """

    curve: str
    smallest_effect: Annotated[float, Above(0)]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a paper claims.

    Args:
        claim: One sentence.
        source: Paper, section and table.
        trials: Claims of suites that test it here.
        curves: Curves of models that do.
        missing: Why nothing does, or what only a larger run could say.
    """

    claim: Annotated[str, NotEmpty()]
    source: Annotated[str, NotEmpty()]
    trials: tuple[Trial, ...] = ()
    curves: tuple[CurveTrial, ...] = ()
    missing: str = ""

    def __post_init__(self) -> None:
        if not (self.trials or self.curves or self.missing):
            raise ValueError("say what tests it (trials, curves), or why nothing does (missing)")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The whole file.

    Args:
        title: The page's.
        claims: In order; they are numbered from 1.
    """

    title: str = "Claims"
    claims: Annotated[tuple[Entry, ...], NotEmpty()]


def read_listing(path: Path) -> tuple[Listing, Document]:
    """Returns a listing, and the document that knows where each of its values was written.

    Raises:
        SuiteError: Every problem of the file.
    """
    document = Document(path)
    problems: list[Problem] = []
    listing = check(Listing, document.tree, problems)
    if faults := document.faults(problems):
        raise SuiteError(faults)
    return listing, document
