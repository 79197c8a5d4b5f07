"""What the network of every extractor is: a module with its preprocessing."""

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class View(nn.Module):
    """How an extractor sees images: a network with its preprocessing.

    Subclasses return features (B, D), and logits (B, classes) or None without classes, from uint8
    levels (B, C, H, W), and say in words what the identity of a number names:

    - ``preprocess``: how levels become the network's input;
    - ``resize``: how images of another size than the network's are resized.
    """

    preprocess = ""
    resize = "none"

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns features and logits."""
        raise NotImplementedError


def fold(network: nn.Module, pairs: list[tuple[nn.Module, str, str]]) -> None:
    """Replaces convolutions and the normalisations after them by one convolution each, in float64.

    Args:
        network: In evaluation mode.
        pairs: The module that holds them, and the names of the convolution and the normalisation.
    """
    network.double()
    for holder, convolution, normalisation in pairs:
        fused = fuse_conv_bn_eval(getattr(holder, convolution), getattr(holder, normalisation))
        setattr(holder, convolution, fused)
        setattr(holder, normalisation, nn.Identity())
    network.float()
