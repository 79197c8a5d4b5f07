"""The data sets that there are, by name.

Standard library only.
"""

from bench.data import celeba, cifar, downsampled, faces, idx, points, scikit
from bench.data.card import DataCard
from bench.data.gallery_files import gallery_card

DATASETS: dict[str, DataCard] = {
    **scikit.CARDS,
    **idx.CARDS,
    **cifar.CARDS,
    **celeba.CARDS,
    **faces.CARDS,
    **downsampled.CARDS,
    **points.CARDS,
}


def data_card(name: str) -> DataCard:
    """Returns the card of a data set: one of :data:`DATASETS`, or of pictures that a suite names.

    Raises:
        KeyError, ValueError: There is none of that name.
    """
    return gallery_card(name) if "{" in name else DATASETS[name]
