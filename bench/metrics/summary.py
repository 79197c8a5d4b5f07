"""What is kept of a set of images while it streams through: no more than its metrics need.

``moments`` and ``("classes", splits)`` are of fixed size; ``features`` and ``log_probs`` grow with
the set and are kept only if a metric compares image with image.
"""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np

from bench.metrics.inception import Classes
from bench.metrics.moments import Moments


class Features(NamedTuple):
    """Features (N, D) of N images, and log class probabilities (N, classes), None without."""

    features: np.ndarray
    log_probs: np.ndarray | None

    def classified(self) -> np.ndarray:
        """Returns the log class probabilities.

        Raises:
            ValueError: The extractor has no classes.
        """
        if self.log_probs is None:
            raise ValueError("the extractor gives no class probabilities")
        return self.log_probs


class Summary:
    """What is known of a set of images.

    Args:
        uses: What to keep: ``moments``, ``features``, ``log_probs``, ``("classes", splits)``.
        count: How many images there will be, for the edges of splits; needed for several splits.
    """

    def __init__(self, uses: Collection[Any] = (), count: int | None = None) -> None:
        self.uses = set(uses)
        self.count = 0
        self._moments = Moments() if "moments" in self.uses else None
        self._other: Summary | None = None
        self._classes = {
            use[1]: Classes(use[1], count)
            for use in self.uses
            if isinstance(use, tuple) and use[0] == "classes"
        }
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in ("features", "log_probs")}
        self._computed: dict[Hashable, Any] = {}

    @classmethod
    def of(
        cls, features: Features, uses: Collection[Any] = ("moments", "features", "log_probs")
    ) -> Self:
        """Returns the summary of a complete set of features."""
        summary = cls(uses, len(features.features))
        summary.add(features)
        return summary

    def add(self, part: Features) -> None:
        """Adds features of the next images."""
        self.count += len(part.features)
        if self._moments is not None:
            self._moments.add(part.features)
        for name, values in part._asdict().items():
            if name in self.uses:
                self._parts[name].append(values)
        for classes in self._classes.values():
            classes.add(part.classified())

    def put(self, name: str, values: np.ndarray) -> None:
        """Sets ``features`` or ``log_probs`` of all images at once."""
        self.uses.add(name)
        self.count = len(values)
        self._parts[name] = [values]

    @property
    def moments(self) -> Moments:
        """Mean and covariance of the features of all images."""
        if self._moments is None:
            raise ValueError("moments were not kept")
        return self._moments

    @moments.setter
    def moments(self, moments: Moments) -> None:
        self.uses.add("moments")
        self._moments = moments

    @property
    def other(self) -> "Summary":
        """The summary of the other real images that a metric compares with."""
        if self._other is None:
            raise ValueError("no other images were given")
        return self._other

    @other.setter
    def other(self, other: "Summary") -> None:
        self._other = other

    @property
    def features(self) -> np.ndarray:
        """Features of all images, shape (N, D)."""
        return self._whole("features")

    @property
    def log_probs(self) -> np.ndarray:
        """Log class probabilities of all images, shape (N, classes)."""
        return self._whole("log_probs")

    def _whole(self, name: str) -> np.ndarray:
        parts = self._parts[name]
        if not parts:
            raise ValueError(f"{name} were not kept")
        if len(parts) > 1:
            whole = np.empty((self.count, parts[0].shape[1]), parts[0].dtype)
            start = 0
            while parts:  # each part is freed once it is copied
                part = parts.pop(0)
                whole[start : start + len(part)] = part
                start += len(part)
            parts.append(whole)
        return parts[0]

    def classes(self, splits: int) -> Classes:
        """Returns the sums of class probabilities, in so many splits."""
        return self._classes[splits]

    def once(self, name: Hashable, compute: Callable[[], Any]) -> Any:
        """Returns what ``compute`` gives, computed once for each name."""
        if name not in self._computed:
            self._computed[name] = compute()
        return self._computed[name]


def all_uses(requests: Iterable[tuple[Any, Any]]) -> set[Any]:
    """Returns what metrics need kept of a set, given their cards and parameters."""
    return {use for card, params in requests for use in card.uses(params)}
