"""Which images stand for a set when a part of it is taken: drawn by their content, never by their
place in a file.

Files are sorted: by class, by writer, by when a sampler made them; so the first N of one are no
sample of it. Images are ranked by the sha256 of their bytes instead, and the N first in that order
are taken. A hash knows nothing of what an image shows, so this is one fixed random permutation of
the set; and since it is a function of the images alone, the same images in another order, or under
other names, give the same N in the same order. A part is a part of every larger part.

Equal images have equal hashes: their copies, in the order stored, are ranked by the hash of that
and of the copy's number, so each is drawn as if it were an image of its own, and a set that holds
one image a thousand times keeps its share of it. Which of two equal images is which does not
matter.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from bench.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np

CHUNK = 2**24
"""Values that are hashed at once, so that a memory-mapped set is never in memory as a whole."""


ALL = "all"
"""What an identity says if no part of a set was taken."""


def describe_part(count: int, total: int) -> str:
    """Returns ``300 of 1,797, drawn at random``, for a person; empty if all are taken."""
    return f"{count:,} of {total:,}, drawn at random" if count < total else ""


def describe_copies(count: int) -> str:
    """Returns how many images repeat another of their set, for a person; empty if none."""
    return f"{count:,} repeat{'s' if count == 1 else ''} another of them" if count else ""


@dataclass(frozen=True)
class Drawing:
    """The order in which the images of a set are drawn.

    Args:
        order: Places of the images in the set, first drawn first: int64 of shape (N,).
        alike: A number for each image of the set, equal if images are: int64 of shape (N,).
    """

    order: np.ndarray
    alike: np.ndarray

    def copies(self, count: int) -> int:
        """Returns how many of the first ``count`` drawn images repeat an earlier one of them."""
        import numpy as np

        drawn = self.alike[self.order[:count]]
        return len(drawn) - len(np.unique(drawn))


def drawing(images: np.ndarray) -> Drawing:
    """Returns the order in which the images of a set are drawn, shape (N, ...)."""
    import numpy as np

    digests = _digests(images)
    order = np.lexsort(digests.T)
    ranked = digests[order]
    new = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(1)])[: len(ranked)]
    group = np.cumsum(new) - 1
    alike = np.empty(len(images), np.int64)
    alike[order] = group
    number = np.arange(len(images)) - np.flatnonzero(new)[group]  # of the copy: lexsort is stable
    for place, copy in zip(order[number > 0].tolist(), number[number > 0].tolist(), strict=True):
        content = digests[place].tobytes() + copy.to_bytes(8, "little")
        digests[place] = np.frombuffer(hashlib.sha256(content).digest(), np.uint64)
    return Drawing(np.lexsort(digests.T), alike)


def _digests(images: np.ndarray) -> np.ndarray:
    """Returns the sha256 of each image as four whole numbers, uint64 of shape (N, 4)."""
    import numpy as np

    step = max(1, CHUNK // max(1, math.prod(images.shape[1:])))
    digests: list[bytes] = []
    for start in range(0, len(images), step):
        chunk = np.ascontiguousarray(images[start : start + step])
        digests += [hashlib.sha256(image).digest() for image in chunk]
    return np.frombuffer(b"".join(digests), np.dtype("<u8")).reshape(-1, 4).copy()
