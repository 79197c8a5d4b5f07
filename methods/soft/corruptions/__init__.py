"""Corruptions of a user's own, a file each: the file is the registration.

To add one, write ``methods/soft/corruptions/<kind>.py`` with a dataclass ``Params`` that is a
:class:`Recipe` (:mod:`methods.soft.corruptions.pixelate` is one of 40 lines). A suite then takes it
by the name of its file, with its parameters beside those of the others: ``corruption: {kind:
pixelate, pixelate: {size: 4}, noise: {most: 0.3}}``. Training, start distribution, samplers,
likelihood and figures need nothing more.

Standard library only: operators are made, and torch is imported, inside :meth:`Recipe.operator`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

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
    """Returns the parameters of every corruption found here, by the name of its file.

    Raises:
        TypeError: A file without ``Params``.
    """
    found = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        params = getattr(module, "Params", None)
        if not (isinstance(params, type) and issubclass(params, Recipe) and is_dataclass(params)):
            raise TypeError(
                f"{module.__file__}: a corruption's file should have a dataclass Params(Recipe)"
            )
        found[entry.name] = params
    return found
