"""What executor files of either kind say of how numbers are computed.

Standard library only.
"""

from dataclasses import fields
from typing import Annotated, Any, Literal

from bench.frozen import dataclass
from bench.plugins import described
from bench.schema import AtLeast


@dataclass(frozen=True, kw_only=True)
class Computing:
    """The device of a job, and what may be done to its numbers for speed; none of it is in a key.

    Args:
        threads: CPU threads of a process; results are byte-equal for equal threads only.
        device: Where networks run; ``auto``: on a GPU if there is one.
        tf32: Whether GPUs may round the factors of float32 products and convolutions to TF32.
        compile: Whether networks go through torch.compile, in training and sampling.
        checkpoint_seconds: How often a training writes what it would resume from.
    """

    threads: Annotated[int, AtLeast(1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tf32: bool = False
    compile: bool = False
    checkpoint_seconds: Annotated[float, AtLeast(0)] = 60.0

    @property
    def settings(self) -> dict[str, Any]:
        """What jobs have to know of this file."""
        shared = {item.name: getattr(self, item.name) for item in fields(Computing)}
        return {**shared, "plugins": described()}
