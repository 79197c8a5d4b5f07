"""FLOPs, weights and layers of NCSN's network, counted from its settings as
:mod:`methods.shared.counting` does.

Standard library only.
"""

from bench.card import NetworkCost
from methods.ncsn.settings import RefineNet, Stage
from methods.shared.counting import Tally, resized

Size = tuple[int, int]


class _Norms:
    """The weights of a normalisation in the residual blocks, and in the decoder."""

    def __init__(self, settings: RefineNet, levels: int) -> None:
        each = (3 if settings.variant == "ncsn" else 2) * levels
        self.residual = each if settings.conditional else 3
        self.decoder = each if settings.conditional else 0


def refinenet_cost(settings: RefineNet, channels: int, levels: int, size: Size) -> NetworkCost:
    """Returns what :class:`methods.ncsn.refinenet.RefineNetwork` costs for images of H x W pixels.

    Args:
        channels: Of the images.
        levels: How many noise levels a conditional variant knows.
    """
    tally, norms = Tally(), _Norms(settings, levels)
    widths = [settings.width * stage.multiplier for stage in settings.stages]
    tally.conv(channels, settings.width, size)
    entering, at, sizes = settings.width, size, []
    for i, (stage, width) in enumerate(zip(settings.stages, widths, strict=True)):
        at = _count_block(tally, norms, entering, width, at, stage, changes=bool(i))
        _count_block(tally, norms, width, width, at, None, changes=False)
        entering = width
        sizes.append(at)
    below: list[tuple[int, Size]] = []
    for i in reversed(range(len(widths))):
        leaving = widths[max(i - 1, 0)]
        inputs = [(widths[i], sizes[i]), *below]
        _count_refinement(tally, norms, inputs, leaving, last=i == 0)
        below = [(leaving, sizes[i])]
    tally.parameters += norms.residual * settings.width
    tally.conv(settings.width, channels, size)
    return tally.cost


def _count_block(
    tally: Tally,
    norms: _Norms,
    inputs: int,
    outputs: int,
    at: Size,
    stage: Stage | None,
    *,
    changes: bool,
) -> Size:
    """Counts a residual block, halved if its stage is; returns the size that it leaves."""
    pooled = stage is not None and stage.pooled
    tally.parameters += 2 * norms.residual * inputs
    tally.conv(inputs, inputs, at)
    tally.conv(inputs, outputs, at)
    at = resized(at, "down") if pooled else at
    if changes:
        tally.conv(inputs, outputs, at, kernel=1 if pooled else 3)
    return at


def _count_units(tally: Tally, norms: _Norms, channels: int, count: int, at: Size) -> None:
    for _ in range(2 * count):
        tally.parameters += norms.decoder * channels
        tally.conv(channels, channels, at, bias=False)


def _count_refinement(
    tally: Tally, norms: _Norms, inputs: list[tuple[int, Size]], outputs: int, *, last: bool
) -> None:
    for channels, at in inputs:
        _count_units(tally, norms, channels, 2, at)
    for channels, at in inputs if len(inputs) > 1 else ():
        tally.parameters += norms.decoder * channels
        tally.conv(channels, outputs, at)
    at = inputs[0][1]
    for _ in range(2):  # chained pooling
        tally.parameters += norms.decoder * outputs
        tally.conv(outputs, outputs, at, bias=False)
    _count_units(tally, norms, outputs, 3 if last else 1, at)
