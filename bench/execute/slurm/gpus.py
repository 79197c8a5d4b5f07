"""Requests for GPUs in SLURM's words (``a100:2``, ``gpu:1g.10gb:1``): how many, of which type.

Standard library only.
"""

import re
from collections.abc import Mapping
from typing import Any

from bench.frozen import dataclass

_TYPE = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_TYPED = re.compile(rf"(?:(?P<type>{_TYPE}):)?(?P<count>\d+)")
_GENERIC = re.compile(
    rf"(?:gres[:/])?(?P<name>[a-z_]+)(?:[:/](?P<type>(?!\d+$|\d+=){_TYPE}))?(?:[:=](?P<count>\d+))?"
)
_SLICE = re.compile(r"(?<![0-9a-z])(\d)g\.\d+gb")

SHARES = ("mps", "shard")
"""Generic resources that are a part of a GPU, of a size that only the site knows."""

SLICES = 7
"""Compute slices of a GPU that MIG divides."""


@dataclass(frozen=True)
class Gpus:
    """GPUs that a job has on each node.

    Args:
        count: How many; MIG instances count as one each, as they do in SLURM's accounts.
        type: The site's name for it; empty if any will do.
        share: Whether only a part of each is asked for.
    """

    count: int
    type: str = ""
    share: bool = False

    @property
    def part(self) -> float:
        """The part of a whole GPU's compute that each has: 1/7 for MIG's 1g.10gb."""
        found = _SLICE.search(self.type.lower())
        return int(found[1]) / SLICES if found else 1.0


def read_gpus(written: int | str) -> Gpus:
    """Returns what ``gpus`` asks for: a number, or ``a100:2``, or several of these, by commas.

    Raises:
        ValueError: It is neither; the message says what to write instead.
    """
    if isinstance(written, int):
        if written < 0:
            raise ValueError("should not be negative")
        return Gpus(written)
    parts = written.split(",")
    matches = [match for part in parts if (match := _TYPED.fullmatch(part))]
    if len(matches) < len(parts):
        instead = f"write gpus: {_instead(written)}"
        raise ValueError(f"should be a whole number, or a type and a number: {instead}")
    counts = [int(match["count"]) for match in matches]
    types = [match["type"] for match in matches if match["type"]]
    if 0 in counts:
        raise ValueError("asks for no GPU of a type: write gpus: 0")
    return Gpus(sum(counts), ",".join(types))


def _instead(written: str) -> str:
    """Returns what was probably meant: ``"a100:2"`` for ``gpu:a100:2`` or ``2:a100``."""
    ignored = ("", "gpu", "gpus", "gres")
    words = [word for word in re.split(r"[:=/, x*]+", written) if word.lower() not in ignored]
    number = next((word for word in words if word.isdigit()), "1")
    type_ = next((word for word in words if not word.isdigit() and re.fullmatch(_TYPE, word)), "")
    return f'"{type_}:{number}"' if type_ else number


def read_gres(text: str) -> Gpus:
    """Returns the GPUs of a list of generic resources on a node: ``gpu:a100:2,tmpdisk:10``.

    Raises:
        ValueError: It is no such list.
    """
    count, types, share = 0, [], False
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        found = _GENERIC.fullmatch(part.strip())
        if found is None and re.match(r"(gres[:/])?(gpu|mps|shard)\b|[\d.]+$", part.strip(), re.I):
            raise ValueError('does not read as name[:type][:count]: write "gpu:a100:2"')
        if found is None or found["name"] not in ("gpu", *SHARES):
            continue
        share |= found["name"] in SHARES
        count += 1 if found["name"] in SHARES else int(found["count"] or 1)
        types += [found["type"]] if found["type"] else []
    return Gpus(count, ",".join(types), share)


BY_OPTION = ("gres", "gpus", "gpus-per-task")
"""Options of sbatch that ask for GPUs and are counted; the key ``gpus`` is gpus-per-node."""

OTHERS = (
    *("gpus-per-socket", "gpus-per-job", "tres", "tres-per-task", "tres-per-node"),
    *("tres-per-job", "tres-per-socket"),
)
"""Options of sbatch instead of which there is the key ``gpus``."""


def gpus_of(gpus: int | str, options: Mapping[str, Any], nodes: int, tasks: int) -> Gpus:
    """Returns the GPUs on each node that a job gets: those of ``gpus``, or else of the options
    under ``sbatch``.

    Raises:
        ValueError: What is asked for cannot be read, or cannot be the same on each node.
    """
    found = read_gpus(gpus)
    for name, value in options.items():
        if name not in BY_OPTION or value is False:
            continue
        text = value if isinstance(value, int) else str(value)
        try:
            more = read_gres(str(value)) if name == "gres" else read_gpus(text)
        except ValueError as error:
            raise ValueError(f"sbatch.{name} {str(error).replace('gpus:', f'{name}:')}") from None
        if not more.count:
            continue
        if found.count:
            first = "gpus" if read_gpus(gpus).count else "another option"
            both = f"{first} and sbatch.{name} both ask for GPUs"
            raise ValueError(f"{both}: leave one out (gpus: 0 asks for none)")
        if name == "gpus" and more.count % nodes:
            uneven = f"which {nodes} nodes do not share evenly"
            raise ValueError(f"sbatch.gpus are {more.count} in all, {uneven}")
        on_node = {"gpus": more.count // nodes, "gpus-per-task": more.count * tasks}
        found = Gpus(on_node.get(name, more.count), more.type, more.share)
    return found


def written_instead(name: str, value: Any, tasks: int) -> str:
    """Returns the line of an executor file that asks for the same as another option."""
    text = str(value)
    if isinstance(value, str) and not re.fullmatch(_TYPED, text):
        try:
            found = read_gres(text)
        except ValueError:
            return 'gpus: "a100:1"'
    else:
        found = read_gpus(value if isinstance(value, int) else text)
    count = (found.count or 1) * (tasks if name.endswith("task") else 1)
    return f'gpus: "{found.type}:{count}"' if found.type else f"gpus: {count}"
