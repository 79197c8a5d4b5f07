"""The network that a card's :class:`methods.shared.architecture.Backbone` describes."""

from methods.shared.architecture import PERCEPTRONS, Backbone
from methods.shared.ddpm import DDPM
from methods.shared.mlp import MLP
from methods.shared.ncsnpp import NCSNpp

Network = NCSNpp | DDPM | MLP


def make_network(
    settings: Backbone, in_channels: int, out_channels: int, image_size: int, classes: int = 0
) -> Network:
    """Returns the network with weights of 0; :func:`methods.shared.layers.initialise` draws them.

    Args:
        image_size: Height of the training images.
        classes: How many classes NCSN++ can be told; the others are told none.
    """
    keywords = settings.keywords()
    if settings.architecture in PERCEPTRONS:
        return MLP(
            in_channels, out_channels, residual=settings.architecture == "mlp_residual", **keywords
        )
    if settings.architecture == "ncsnpp":
        keywords["classes"] = classes
    kind = {"ncsnpp": NCSNpp, "ddpm": DDPM}[settings.architecture]
    return kind(in_channels, out_channels, image_size=image_size, **keywords)
