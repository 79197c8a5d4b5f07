"""The names under which the authors' checkpoints hold the weights of NCSN and NCSNv2.

Source: Song & Ermon, 2019, https://arxiv.org/abs/1907.05600; 2020, https://arxiv.org/abs/2006.09011
(their PyTorch checkpoints).
"""

import re
from collections.abc import Mapping

from torch import Tensor

from methods.ncsn.refinenet import RefineNetwork

PARTS = {
    "begin": "begin_conv",
    "norm": "normalizer",
    "end": "end_conv",
    "fusion": "msf",
    "pooling": "crp",
}
UNITS = {"enter": "adapt_convs", "leave": "output_convs"}


def published_names(network: RefineNetwork) -> dict[str, str]:
    """Returns the published name of each tensor by its name here, in the order of a checkpoint.

    A checkpoint holds the refinements by their numbers (1, 2, 3, 31, ...), not in the order of
    their use.
    """

    def number(name: str) -> str:
        part, index = name.split(".")[:2]
        return network.refinements[int(index)] if part == "decoder" else ""

    return {name: _published(network, name) for name in sorted(network.state_dict(), key=number)}


def _published(network: RefineNetwork, name: str) -> str:
    part, _, rest = name.replace("table", "embed.weight").partition(".")
    if part in PARTS:
        return f"{PARTS[part]}.{rest}"
    index, _, rest = rest.partition(".")
    if part == "encoder":
        stage = network.stages[int(index)]
        rest = re.sub(r"norm(\d)", r"normalize\1", rest)
        if stage.pooled and rest[0] == "0":  # the first of a stage's two blocks pools
            rest = re.sub(r"(conv2|shortcut)", r"\1.conv", rest)
        return f"res{stage.label}.{rest}"
    label = network.refinements[int(index)]
    part, _, rest = rest.partition(".")
    if part in PARTS:
        return f"refine{label}.{PARTS[part]}.{rest}"
    # A unit's stages are numbered from 1 within its blocks, and these too: 0.1.conv is 1_2_conv.
    rest = re.sub(
        r"(\d+)\.(\d+)\.(norm|conv)",
        lambda found: f"{int(found[1]) + 1}_{int(found[2]) + 1}_{found[3]}",
        rest,
    )
    return f"refine{label}.{UNITS[part]}.{rest}"


def to_published(network: RefineNetwork, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights (or gradients) of ``network`` by published names."""
    return {published: tensors[own] for own, published in published_names(network).items()}


def from_published(network: RefineNetwork, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the state of ``network`` that holds the published ``tensors``."""
    return {own: tensors[published] for own, published in published_names(network).items()}
