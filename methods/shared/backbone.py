"""The network that a card's :class:`methods.shared.hyperparameters.Backbone` describes."""

from methods.shared.ddpm import DDPM
from methods.shared.hyperparameters import Backbone
from methods.shared.ncsnpp import NCSNpp


def make_network(settings: Backbone, in_channels: int, out_channels: int, image_size: int) -> NCSNpp | DDPM:
    """Returns the network with weights of 0; :func:`methods.shared.layers.initialise` draws them.

    Args:
        image_size: Height of the training images.
    """
    kind = {"ncsnpp": NCSNpp, "ddpm": DDPM}[settings.architecture]
    return kind(in_channels, out_channels, image_size=image_size, **settings.keywords())
