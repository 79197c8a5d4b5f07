"""What a data set declares: the card by which the harness knows it before it is read.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.data.fault import MissingError
from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np

    from bench.data.mixture import GaussianMixture


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What the makers of a file publish about it, None if they do not.

    Args:
        size: Bytes.
        md5: The digest that is usually published.
        sha256: The better one, or as many first digits of it as are published.
        url: Where it can be downloaded as it is.
    """

    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    url: str | None = None

    def difference(self, digests: Mapping[str, str], size: int | None = None) -> str:
        """Returns how a file differs from what is published of it; empty if it does not.

        Args:
            digests: Its md5, its sha256 or both, by these names.
            size: Its bytes; None: not compared.
        """
        for name, digest in digests.items():
            wanted = getattr(self, name)
            if wanted and not digest.startswith(wanted):
                dots = "..." if len(wanted) < len(digest) else ""
                return f"its {name} is {digest}, not {wanted}{dots}"
        if size is not None and self.size is not None and size != self.size:
            return f"it has {size:,} bytes, not {self.size:,}"
        return ""


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What the harness must know of a data set before it is read.

    Asked for are ``shape``, ``splits`` (at least "train" and "test") and ``load``.

    Args:
        shape: (C, H, W).
        splits: Number of images of each split.
        load: Returns a split by name: uint8 images, or float32 for real values, of shape (N, C, H,
            W).
        version: Raised by hand when the images or the splits change.
        summary: One line for a person.
        caution: What numbers on it cannot show, for the head of a report.
        levels: How many values a pixel takes: 0, ..., levels - 1; 0 for real values.
        split_rule: How the splits are made, for a person.
        kind: Whether images are of discrete levels or of real values.
        range: (low, high) of real values, which become 0 and 1 for methods; None for discrete
            levels.
        mixture: Returns the distribution that the data are drawn from, in their own units; None
            if it is not known.
        flips: Whether training mirrors images.
        classes: How many classes the images have; 0 if they have none.
        labels: Returns the classes of a split by name: int64 of shape (N,), from 0.
        files: What must lie under BENCH_DATA, with how to get it: relative paths, of which one is
            enough; none: ships with a package.
        facts: What is published of some of these files, by path.
        unpacked: The md5 of files as their makers' archives hold them, by name, if published.
        sources: Returns all files that the images and classes are read from, given the data's
            folder; None: ``files``. Raises FileNotFoundError if one is missing.
    """

    shape: tuple[int, int, int]
    splits: Mapping[str, int]
    load: Callable[[str], np.ndarray]
    version: int = 1
    summary: str = ""
    caution: str = ""
    levels: int = 256
    split_rule: str = "as its files have it"
    kind: Literal["uint8", "real"] = "uint8"
    range: tuple[float, float] | None = None
    mixture: Callable[[], GaussianMixture] | None = None
    flips: bool = False
    classes: int = 0
    labels: Callable[[str], np.ndarray] | None = None
    files: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    facts: Mapping[str, FileFacts] = field(default_factory=dict)
    unpacked: Mapping[str, str] = field(default_factory=dict)
    sources: Callable[[Path], Sequence[Path]] | None = None

    def source_files(self, root: Path) -> Sequence[Path]:
        """Returns all files that the images and classes are read from; none: they ship with a
        package.

        Args:
            root: The data's folder.

        Raises:
            FileNotFoundError: One is missing.
        """
        if self.sources is not None:
            return self.sources(root)
        paths: list[Path] = []
        for names, how in self.files.items():
            place = next((root / name for name in names if (root / name).exists()), None)
            if place is None:
                raise MissingError(f"{root} holds none of {', '.join(names)}: {how}")
            inside = (path for path in place.rglob("*") if path.is_file())
            paths += sorted(inside) if place.is_dir() else [place]
        return paths
