r"""Precision and recall: how many samples lie where real images do, and how much of where these lie samples reach.

Where a set lies is estimated by balls around its features, each as wide as the distance to its k-th nearest
neighbour in the set:

.. math:: \text{precision} = \frac{1}{|S|} \left|\{s \in S : \exists\, r \in R, |s - r| \le \rho_k(r)\}\right|, \qquad
          \text{recall} = \frac{1}{|R|} \left|\{r \in R : \exists\, s \in S, |r - s| \le \rho_k(s)\}\right| .

Both grow with the count of the set whose balls they are: compare equal counts with one reference.

Shapes: N samples, M real images, D features. All is float64.

Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991 (equations 1 and 2).
"""

import numpy as np
from scipy.spatial.distance import cdist

CHUNK = 1000
"""Rows whose distances to all others are held at once: bounds the memory."""


def radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the distance of each row of features (N, D) to its k-th nearest neighbour among the others, (N,).

    Raises:
        ValueError: No more rows than neighbours.
    """
    if len(features) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more than {neighbours} images, got {len(features)}")
    # A row is its own nearest, at distance 0.
    parts = [np.partition(cdist(part, features), neighbours, axis=1)[:, neighbours] for part in _parts(features)]
    return np.concatenate(parts)


def coverage(points: np.ndarray, centres: np.ndarray, neighbours: int) -> float:
    """Returns the share of points, (N, D), that lie in the balls around centres, (M, D).

    With real images as centres it is the precision of the points, with samples the recall of real images.

    Raises:
        ValueError: No more centres than neighbours.
    """
    points, centres = np.asarray(points, np.float64), np.asarray(centres, np.float64)
    reach = radii(centres, neighbours)
    covered = [(cdist(part, centres) <= reach).any(axis=1) for part in _parts(points)]
    return float(np.concatenate(covered).mean())


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
