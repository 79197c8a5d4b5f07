"""What a corruption of a user's own declares: a file of :mod:`methods.soft.corruptions` each.

Standard library only: operators are made, and torch is imported, inside :meth:`Recipe.operator`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from bench.frozen import dataclass
from methods.soft import corruptions

if TYPE_CHECKING:
    from methods.soft.operator import Operator


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Parameters of a corruption, all with defaults, and the operator that they make.

    Attributes:
        differentiable: Whether the operator has a derivative in time, so that there is a flow to
            follow.
    """

    differentiable: ClassVar[bool] = True

    def operator(self, shape: tuple[int, int, int]) -> "Operator":
        """Returns the operator on images of shape (C, H, W), the identity at t = 0."""
        raise NotImplementedError(f"{type(self).__module__} makes no operator")

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns reasons why images of this shape cannot be corrupted so (none: an empty list)."""
        return []


@cache
def recipes() -> Mapping[str, type[Recipe]]:
    """Returns the parameters of every corruption, by the name of its file.

    Raises:
        TypeError: A file without ``Params``.
    """
    found = {}
    for entry in pkgutil.iter_modules(corruptions.__path__):
        module = importlib.import_module(f"{corruptions.__name__}.{entry.name}")
        params = getattr(module, "Params", None)
        if not (isinstance(params, type) and issubclass(params, Recipe) and is_dataclass(params)):
            raise TypeError(
                f"{module.__file__}: a corruption's file should have a dataclass Params(Recipe)"
            )
        found[entry.name] = params
    return found
