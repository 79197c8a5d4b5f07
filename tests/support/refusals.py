"""What files claim of themselves: the card that reads them, and the one line that refuses them."""

from bench.data.card import DataCard

COLOUR = DataCard(
    version=1,
    summary="",
    shape=(3, 8, 8),
    levels=256,
    splits={},
    split_rule="",
    load=lambda split: None,
)


def refusal(look):
    """Returns the one line by which something is refused, None where it is not."""
    try:
        look()
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert said.isprintable()
    return said
