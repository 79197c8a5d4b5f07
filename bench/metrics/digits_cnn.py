"""``digits-cnn`` and ``fashion14-cnn``: small convolutional classifiers of scikit-learn's digits
and of Fashion-MNIST at 14x14.

They are made by ``python -m bench.metrics.train_digits_cnn`` from the training images only, so that
held-out images are as new to them as generated ones. Their features are the 24 smooth (SiLU)
activations before the last layer, each in units of its standard deviation over the training images:
a Frechet distance over 256 images then has ten images per dimension, no feature outweighs another,
and the real images' covariance has trace 24. They run in float64.
"""

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from bench.metrics.extractor_card import ViewInputs
from bench.metrics.view import View


class SmallCNN(nn.Module):
    """Classifies images of shape (B, 1, side, side) in [-1, 1] into ten classes.

    Args:
        side: Of the images, in pixels.
        dropout: Fraction of the features that training hides from the last layer.
    """

    deviations: Tensor

    def __init__(self, side: int = 8, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.features = nn.Linear(48 * (side // 4) ** 2, 24)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(24, 10)
        self.register_buffer("deviations", torch.ones(24))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 24) and logits (B, 10)."""
        x = functional.silu(self.conv1(x))
        x = functional.silu(self.conv2(x))
        x = functional.avg_pool2d(functional.silu(self.conv3(x)), 2)
        features = functional.silu(self.features(x.flatten(1)))
        return features / self.deviations, self.classes(self.dropout(features))


class Classifier(View):
    """A classifier in float64, so that devices agree far below any difference worth showing."""

    def __init__(self, inputs: ViewInputs) -> None:
        super().__init__()
        self.levels = inputs.levels
        self.preprocess = f"v / {inputs.levels - 1} * 2 - 1"
        with torch.device("meta"):
            self.network = SmallCNN(inputs.card.size)
        self.network.load_state_dict(load(inputs.content), assign=True)
        self.to(torch.float64)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (B, 24) and logits (B, 10)."""
        return self.network(levels.to(torch.float64) / (self.levels - 1) * 2 - 1)
