"""Data sets that are parts of others."""

from dataclasses import replace

from bench.data.images import Images


def few(data, train=60, test=40):
    """Returns a data set of the first images of another."""
    card = replace(
        data.card,
        splits={"train": train, "test": test},
        load=lambda split: data.split(split)[: train if split == "train" else test],
    )
    return Images(data.name, card)
