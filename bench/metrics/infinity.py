"""How many images a line in 1/n through the distances of subsets needs (``fd_infinity``).

Standard library only.
"""

SUBSET_PER_DIMENSION = 5
"""Images per dimension of the smallest subset: with fewer, distances do not lie on a line."""


def least_for_infinity(dimension: int) -> int:
    """Returns the fewest images with subsets of several sizes, all large enough."""
    return 2 * SUBSET_PER_DIMENSION * dimension
