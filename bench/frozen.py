"""``@dataclass(frozen=True)`` without generated code: making a class takes 0.03 ms, not 0.3.

``dataclasses.dataclass`` writes, compiles and runs the source of up to six methods of each class
whenever its module is imported: byte code files do not keep them. Here all classes share their
methods, which read what a class consists of from its fields. The rest is as there: ``fields``,
``replace`` and ``asdict`` work, and classes of either kind may inherit from the other.

Standard library only.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn


class _Layout(NamedTuple):
    """What the methods have to know of a class.

    Args:
        positional: Fields that may be given by place.
        required: Fields that have to be given.
        defaults: Every field in order, with its default, or None if it has another or none.
        factories: What makes the default of a field, by name.
        shown: Fields that stand in the representation.
        compared: Returns the values by which instances are equal.
        rules: Whether there is a ``__post_init__``.
    """

    positional: tuple[str, ...]
    required: frozenset[str]
    defaults: Mapping[str, Any]
    factories: Mapping[str, Callable[[], Any]]
    shown: tuple[str, ...]
    compared: Callable[[Any], Any]
    rules: bool


def _read_layout(cls: Any) -> _Layout:
    items = dataclasses.fields(cls)
    missing = dataclasses.MISSING
    made = {f.name: f.default_factory for f in items if f.default_factory is not missing}
    given = [f.name for f in items if f.default is missing and f.name not in made]
    compared = [f.name for f in items if f.compare]
    return _Layout(
        positional=cls.__match_args__,
        required=frozenset(given),
        defaults={f.name: None if f.default is missing else f.default for f in items},
        factories=made,
        shown=tuple(f.name for f in items if f.repr),
        compared=attrgetter(*compared) if compared else lambda instance: (),
        rules=hasattr(cls, "__post_init__"),
    )


_layout: Callable[[Any], _Layout] = cache(_read_layout)


def _initialiser(cls: type) -> Callable[..., None]:
    names: Any = None  # of all fields, once an instance is made
    rules = False

    def __init__(self: Any, /, *args: Any, **values: Any) -> None:
        nonlocal names, rules
        if names is None:
            layout = _layout(cls)
            names, rules = layout.defaults.keys(), layout.rules
        if args or values.keys() != names:
            values = _whole(cls, args, values)
        self.__dict__.update(values)
        if rules:
            self.__post_init__()

    return __init__


def _whole(cls: type, args: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of all fields of an instance.

    Raises:
        TypeError: Arguments are missing, unknown, too many or given twice.
    """
    layout = _layout(cls)
    if args:
        if len(args) > len(layout.positional) or values.keys() & layout.positional[: len(args)]:
            raise _mistaken(cls, args, values)
        values.update(zip(layout.positional, args, strict=False))
    made = {name: make() for name, make in layout.factories.items() if name not in values}
    whole = {**layout.defaults, **made, **values}
    if len(whole) > len(layout.defaults) or not layout.required <= values.keys():
        raise _mistaken(cls, args, values)
    return whole


def _mistaken(cls: type, args: tuple[Any, ...], values: Mapping[str, Any]) -> TypeError:
    """Returns what is wrong with the arguments of an instance."""
    layout, name = _layout(cls), cls.__qualname__
    if len(args) > len(layout.positional):
        return TypeError(f"{name}() takes {len(layout.positional)} positional arguments at most")
    if unknown := [field for field in values if field not in layout.defaults]:
        return TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}")
    if missing := [field for field in layout.defaults if field in layout.required - values.keys()]:
        return TypeError(f"{name}() misses arguments: {', '.join(map(repr, missing))}")
    return TypeError(f"{name}() got an argument twice, by place and by name")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _layout(type(self)).shown)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: Any, other: object) -> bool:
    if type(other) is not type(self):
        return NotImplemented
    compared = _layout(type(self)).compared
    return self is other or compared(self) == compared(other)


def _hash(self: Any) -> int:
    return hash(_layout(type(self)).compared(self))


def _setattr(self: Any, name: str, value: Any) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: Mapping[str, Any] = {
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
}


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class _Frozen:
    """One that ``dataclasses`` made, for the marks by which it knows a frozen one."""


def _declare(cls: Any, kw_only: bool) -> None:
    """Gives a class its fields, those of its bases first.

    ``dataclasses`` reads its own ones from a copy without bases, which it takes for no frozen
    class: to such it would give methods.
    """
    namespace = {name: getattr(cls, name) for name in cls.__annotations__ if hasattr(cls, name)}
    namespace |= {"__annotations__": cls.__annotations__, "__module__": cls.__module__}
    namespace["__doc__"] = "of its own, so that none is made"
    bare = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)
    copy: Any = bare(type(cls.__name__, (), namespace))
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        fields |= base.__dict__.get("__dataclass_fields__", {})
    for name, item in copy.__dataclass_fields__.items():
        if isinstance(cls.__dict__.get(name), dataclasses.Field):
            delattr(cls, name)
            if item.default is not dataclasses.MISSING:
                setattr(cls, name, item.default)
    cls.__dataclass_fields__ = fields | copy.__dataclass_fields__
    cls.__dataclass_params__ = _Frozen.__dataclass_params__  # type: ignore[attr-defined]
    positional = tuple(f.name for f in dataclasses.fields(cls) if not f.kw_only)
    setattr(cls, "__match_args__", positional)  # noqa: B010  # mypy allows no assignment


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        *, frozen: bool, kw_only: bool = False, eq: bool = True
    ) -> Callable[[type], type]:
        """Makes a class a frozen dataclass.

        Args:
            frozen: Has to be true: what changes is for ``dataclasses``.
            kw_only: Whether its fields are given by name only.
            eq: Whether instances of equal fields are equal, and not only one with itself.

        Raises:
            TypeError: Not ``frozen``.
        """
        if not frozen:
            raise TypeError("bench.frozen makes frozen classes; take dataclasses.dataclass")

        def decorate(cls: type) -> type:
            own = cls.__dict__.get
            hashed = own("__hash__") is not None or not eq  # by a method of the class's own
            _declare(cls, kw_only)
            methods = {**_METHODS, "__init__": _initialiser(cls), **({"__eq__": _eq} if eq else {})}
            for name, method in methods.items():
                if own(name) is None:
                    setattr(cls, name, method)
            if not hashed:
                cls.__hash__ = _hash
            return cls

        return decorate
