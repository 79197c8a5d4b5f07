r"""Deliberate mistakes of an exact score, to separate a network's errors from a sampler's.

A network stands for the noise :math:`\varepsilon = -s \nabla \log p` of images with noise of
standard deviation s. Mistaken, it is

.. math:: \varepsilon' = a\,\varepsilon + b, \qquad \nabla \log p\,' = a \nabla \log p - b / s ,

with the same a and b in every dimension and at every noise level, and p may be that of data which
were smoothed by a Gaussian first, as a network that is too smooth has it.

Standard library alone.
"""

from typing import TYPE_CHECKING

from bench.frozen import dataclass

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """How an exact score is wrong; by default it is not.

    Args:
        scale: a: 1.1 is a score 10 % too large.
        bias: b, in units of the noise: each entry of the noise is predicted so much too large.
        smoothing: Standard deviation of the Gaussian that the data are smoothed by, in units of the
            data range [0, 1].
    """

    scale: float = 1.0
    bias: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.smoothing < 0:
            raise ValueError("smoothing should be at least 0")

    @property
    def label(self) -> str:
        """Says what is wrong, for tables: empty if nothing is."""
        words = [f"score x {self.scale:g}"] if self.scale != 1 else []
        words += [f"bias {self.bias:g}"] if self.bias else []
        words += [f"smoothed by {self.smoothing:g}"] if self.smoothing else []
        return f" ({', '.join(words)})" if words else ""

    def of(self, output: "Tensor", unit: "Tensor") -> "Tensor":
        """Returns an exact output with scale and bias wrong; smoothing belongs to the distribution.

        Args:
            output: The score, or another multiple of the noise.
            unit: What less of it one unit more of the noise is, to broadcast over the output: 1 / s
                for the score.
        """
        if self.scale == 1 and not self.bias:
            return output
        return self.scale * output - (self.bias * unit).to(output.dtype)


def check_mistakes(exact: bool, mistakes: Mistakes) -> None:
    """Checks that mistakes are those of an exact score.

    Raises:
        ValueError: They are not.
    """
    if mistakes != Mistakes() and not exact:
        raise ValueError("mistakes are those of an exact score: set exact, or leave them out")
