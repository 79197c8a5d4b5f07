"""Train entries made elsewhere: images of ``samples_from``, and weights of a ``checkpoint``."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.card import Card
from bench.data.digest import checkpoint_files
from bench.data.external import count_images, what_is_left_out
from bench.data.root import data_root
from bench.suite.fault import KeyPath
from bench.suite.read.reading import Reading
from bench.suite.sections import Source

ELSEWHERE = ("samples_from", "scale")


def read_source(r: Reading, entry_path: KeyPath, entry: Mapping[str, Any]) -> Source | None:
    """Returns the images of an entry ``samples_from``."""
    r.mapping(entry_path, entry, ELSEWHERE)
    scale = _read_scale(r, (*entry_path, "scale"), entry["scale"]) if "scale" in entry else None
    path, value = (*entry_path, "samples_from"), entry["samples_from"]
    file = _find(r, path, value, needed=not r.options.absent)
    if file is None:
        return None
    if r.options.absent and not file.exists():
        return Source(file, scale=scale)
    try:
        count, left_out = count_images(file), what_is_left_out(file)
    except ValueError as error:
        r.refuse(path, value, str(error))
        return None
    if left_out:
        r.notes.append(f"{'.'.join(path)}: {count:,} pictures; {left_out}")
    if r.count is not None and count < r.count and not r.smoke:
        r.refuse(path, value, f"holds {count} images, and samples.count asks for {r.count}")
    return Source(file, count, scale)


def _read_scale(r: Reading, path: KeyPath, value: Any) -> tuple[float, float] | None:
    """Returns the values of black and white: one number is white, and black is 0."""
    if r.data is not None and r.data.kind == "real":
        why = "is of pictures, and the values of the data set are real: they have no white"
        r.refuse(path, value, why)
        return None
    scale = r.typed(float | tuple[float, float], path, value)
    if scale is None:
        return None
    black, white = scale if isinstance(scale, tuple) else (0.0, scale)
    if math.isfinite(black) and math.isfinite(white) and black < white:
        return black, white
    why = "should be the value of white, above 0, or a list of those of black and white"
    r.refuse(path, value, why)
    return None


class Checkpoint(NamedTuple):
    """The file or folder of a model's weights.

    Args:
        path: Where it lies, or should; None if the model is trained whatever lies where.
        weights: Which of them are taken: "ema" or "raw".
        optional: Whether the model is trained if nothing lies there.
    """

    path: Path | None = None
    weights: str = "ema"
    optional: bool = False

    @property
    def taken(self) -> bool:
        """Whether its weights are those of the model."""
        return self.path is not None and (not self.optional or self.path.exists())


def read_checkpoint(r: Reading, path: KeyPath, entry: Mapping[str, Any], card: Card) -> Checkpoint:
    """Returns where a model's weights come from if they are not trained here."""
    if "checkpoint" not in entry:
        says = {"weights": "which weights of a checkpoint", "if_missing": "what else to do"}
        for name in says.keys() & entry.keys():
            why = f"says {says[name]}, and no checkpoint is named here"
            r.refuse((*path, name), entry[name], why)
        return Checkpoint()
    weights = entry.get("weights", "ema")
    r.choice((*path, "weights"), weights, ("ema", "raw"), "kind of weights")
    otherwise = entry.get("if_missing", "stop")
    r.choice((*path, "if_missing"), otherwise, ("stop", "train"), "choice")
    here, value = (*path, "checkpoint"), entry["checkpoint"]
    if not card.checkpoints:
        r.refuse(here, value, f"{card.name} imports no published checkpoints")
        return Checkpoint()
    for name in ("seeds", "snapshots", "ema"):
        if name in entry:
            why = "belongs to a training, and a checkpoint is not trained here"
            r.refuse((*path, name), entry[name], why)
    optional = otherwise == "train"
    needed = not (optional or r.options.absent) and _may_be_asked_for(r, path[-1])
    file = _find(r, here, value, needed=needed)
    if file is not None and file.exists():
        try:
            checkpoint_files(file)
        except ValueError as error:
            r.refuse(here, value, str(error))
    elif file is not None and optional:
        r.notes.append(f"{'.'.join(path)}: trained, since nothing lies at {file}")
    return Checkpoint(file, weights, optional)


def _may_be_asked_for(r: Reading, label: str) -> bool:
    """Tells whether ``--only`` may ask for a train entry: not if it names other entries only."""
    train, only = r.tree.get("train", {}), r.options.only
    return not only or label in only or not all(name in train for name in only)


def _find(r: Reading, path: KeyPath, value: Any, *, needed: bool) -> Path | None:
    """Returns the file of a path, under the data root or else the working folder."""
    name = r.typed(str, path, value)
    if name is None:
        return None
    if not name.strip():
        r.refuse(path, name, "is empty, and should be a path")
        return None
    files = dict.fromkeys([data_root() / name, Path.cwd() / name])
    try:
        file = next((file for file in files if file.exists()), None)
    except OSError as error:  # too long a name, a loop of links, a folder that may not be read
        r.refuse(path, name, f"cannot be a path: {error.strerror}")
        return None
    if file is None and not needed:
        return data_root() / name
    if file is None:
        r.refuse(path, name, f"nothing lies at {' or at '.join(map(str, files))}")
    return file
