"""A suite file, section by section."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from bench.schema import AtLeast
from bench.suite.read.data import read_dataset, read_inspect, read_samples
from bench.suite.read.likelihood import read_likelihood
from bench.suite.read.metrics import check_tasks, read_claims, read_metrics
from bench.suite.read.points import check_size, read_most_nfe, read_points
from bench.suite.read.reading import Cards, Options, Reading
from bench.suite.read.train import read_train
from bench.suite.sections import Figures, Sections

REQUIRED = ("name", "dataset", "metrics", "samples", "train")
OPTIONAL = (
    "likelihood",
    "inspect",
    "points",
    "claims",
    "keep",
    "figures",
    "controlled",
    "most_nfe",
    "plugins",
    "profiles",
)


def read_sections(tree: Any, cards: Cards, options: Options) -> tuple[Sections, Reading]:
    """Returns the sections, whole if the reading has no problems, and the reading."""
    r = Reading(tree, cards, options, ((*REQUIRED, *OPTIONAL), REQUIRED))
    dataset = read_dataset(r)
    samples = read_samples(r)
    train = read_train(r)
    _check_profiles(r)
    metrics, sweeps = read_metrics(r, samples), read_points(r, train)
    check_tasks(r, metrics, sweeps)
    if not r.problems and samples is not None:
        check_size(r, samples, train, sweeps)
    required: dict[str, Any] = {  # None where there are problems: then nobody reads the sections
        "dataset": dataset,
        "data": r.data,
        "samples": samples,
        "train": train,
    }
    return Sections(
        **required,
        name=_read_name(r),
        metrics=metrics,
        likelihood=read_likelihood(r, train),
        inspect=read_inspect(r),
        sweeps=sweeps,
        claims=read_claims(r, metrics),
        keep=_read_keep(r),
        figures=r.section(Figures, "figures", "default"),
        controlled=r.section(bool, "controlled", True),
        most_nfe=read_most_nfe(r, sweeps),
    ), r


def _read_name(r: Reading) -> str:
    name = r.section(str, "name", "unnamed") or "unnamed"
    r.file_name(("name",), name)
    if name.casefold() == "store":
        why = "is the folder of the store, results/store: take another name"
        r.refuse(("name",), name, why)
    return f"{name}-smoke" if r.smoke else name


def _read_keep(r: Reading) -> int | None:
    section = r.mapping(("keep",), r.tree.get("keep", {}), ("samples",))
    kind = Literal["all"] | Annotated[int, AtLeast(0)]
    count = r.typed(kind, ("keep", "samples"), section.get("samples", "all"))
    return count if isinstance(count, int) else None


def _check_profiles(r: Reading) -> None:
    profiles = r.tree.get("profiles", {})
    if not isinstance(profiles, Mapping):
        r.refuse(("profiles",), profiles, "should be a mapping")
        return
    for name, values in profiles.items():
        path = ("profiles", name)
        if not isinstance(values, Mapping):
            r.refuse(path, values, "should be a mapping of sections to lay over the suite")
        elif "profiles" in values:
            r.refuse((*path, "profiles"), values["profiles"], "a profile has no profiles")
