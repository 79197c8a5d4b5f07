r"""Conditional samples: distance from the truth, spread, and whether they keep the condition.

Images are in [0, 1], of shape (N, C, H, W). The known part is an orthogonal projection P (some
pixels, or grey); errors are root mean squares over the dimensions of P or of what it leaves out.
For samples x of the exact conditional distribution, the truth is one draw like any other, so that

.. math:: \mathbb{E}\,\|x - x_0\|^2 = 2\, \mathbb{E}\,\|x - \mathbb{E}[x \mid P x_0]\|^2 :

``unknown_rmse`` should be about 1.41 ``diversity``. Less diversity than that is overconfidence.
"""

import numpy as np

from bench.data.conditioning import Truth
from bench.frozen import dataclass


@dataclass(frozen=True)
class Restored:
    """Samples, with what they should be.

    Args:
        samples: In [0, 1], float64, shape (N, C, H, W).
        truth: What they restore, or their classes.
        levels: Values that a pixel takes.
        log_probs: Log class probabilities of an independent classifier, (N, classes), or None.
    """

    samples: np.ndarray
    truth: Truth
    levels: int
    log_probs: np.ndarray | None = None

    def errors(self) -> np.ndarray:
        """Returns samples minus truth, shape (N, C, H, W)."""
        return self.samples - self.truth.restored / (self.levels - 1)

    def unknown(self, images: np.ndarray) -> np.ndarray:
        """Returns N images without their known part."""
        return images - self.truth.known_part(images)

    def unknown_squares(self) -> np.ndarray:
        """Returns the mean square error of the unknown parts, shape (N,); 0 without any."""
        return _squares(self.unknown(self.errors())) / np.maximum(self.unknown_dimensions(), 1)

    def unknown_dimensions(self) -> np.ndarray:
        """Returns the dimensions of each sample's unknown part, shape (N,)."""
        return self.samples[0].size - self.truth.known_dimensions()


def unknown_rmse(restored: Restored) -> float:
    """Returns the root mean square error of the unknown part."""
    return float(np.sqrt(restored.unknown_squares().mean()))


def unknown_best(restored: Restored) -> float:
    """Returns the same of the best sample of each image; it falls with the number of repeats."""
    squares, image = restored.unknown_squares(), restored.truth.image
    return float(np.sqrt(np.mean([squares[image == one].min() for one in np.unique(image)])))


def diversity(restored: Restored) -> float:
    """Returns the standard deviation between samples of one image: root mean square of unknowns."""
    image, dimensions = restored.truth.image, restored.unknown_dimensions()
    unknown = restored.unknown(restored.samples)
    total = size = 0.0
    for one in np.unique(image):
        group = unknown[image == one]
        if len(group) > 1:
            total += group.var(0, ddof=1).sum()
            size += dimensions[image == one][0]
    if not size:
        raise ValueError("no image has two samples, so there is no diversity: raise given.repeats")
    return float(np.sqrt(total / size))


def known_rmse(restored: Restored) -> float:
    """Returns the root mean square error of the known part: 0 if samples keep to it."""
    squares = _squares(restored.truth.known_part(restored.errors()))
    return float(np.sqrt((squares / np.maximum(restored.truth.known_dimensions(), 1)).mean()))


def known_max(restored: Restored) -> float:
    """Returns the largest error of a known pixel, or of its known grey."""
    return float(np.abs(restored.truth.known_part(restored.errors())).max())


def accuracy(restored: Restored) -> float:
    """Returns the share of samples whose class an independent classifier finds most probable."""
    if restored.log_probs is None:
        raise ValueError("needs the class probabilities of a classifier")
    return float((restored.log_probs.argmax(1) == restored.truth.image).mean())


def _squares(images: np.ndarray) -> np.ndarray:
    return np.square(images).sum((1, 2, 3))
