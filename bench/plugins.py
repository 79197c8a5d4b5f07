"""Cards and code from files of the user: a sampler, metric, extractor, data set or method of
theirs.

A plugin is one Python file that holds any of

    SAMPLERS = {"sde": {"my_sampler": SamplerCard(...)}}     # by the method that they sample from
    METRICS = {"my_metric": MetricCard(...)}
    EXTRACTORS = {"my_network": ExtractorCard(...)}
    DATASETS = {"my_images": DataCard(...)}
    METHODS = {"my_method": Card(...)}

and the functions that these cards name. A suite lists it under ``plugins:``; ``--plugin FILE`` adds
one to any command. torch and numpy are imported inside its functions, so that a suite is planned
without them.

What a plugin declares enters keys as everything does: by its name and version. The hash of the file
and of the files that it imports from its own folder stands in the record of every result made with
it; results of one version made by another file are refused (:mod:`bench.plan` asks
:func:`changes`).

Standard library only.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from bench.card import Card, SamplerCard, registry
from bench.data.card import DataCard
from bench.data.registry import DATASETS
from bench.files import sha256
from bench.frozen import dataclass
from bench.metrics.card import MetricCard
from bench.metrics.extractor_card import ExtractorCard
from bench.metrics.extractor_cards import EXTRACTORS, extractor_card
from bench.metrics.registry import METRICS
from bench.schema import did_you_mean

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn")
"""Modules that a plugin imports inside its functions."""

KINDS: Mapping[str, type] = {
    "SAMPLERS": SamplerCard,
    "METRICS": MetricCard,
    "EXTRACTORS": ExtractorCard,
    "DATASETS": DataCard,
    "METHODS": Card,
}
"""The names that a plugin file may define, and the cards that they hold."""


class PluginError(Exception):
    """A plugin cannot be used; each line names the file and says why."""


@dataclass(frozen=True)
class Plugin:
    """A loaded file.

    Args:
        path: The file, absolute.
        digest: SHA-256 over the file and the files of its folder that it imports, in hexadecimal.
        names: What it declares: ("samplers", "sde.my_sampler"), ("metrics", "my_metric"), ...
        files: It and the files of its folder that it imports.
    """

    path: Path
    digest: str
    names: tuple[tuple[str, str], ...]
    files: tuple[Path, ...] = ()

    def plain(self) -> dict[str, str]:
        """Returns what another process needs to load the same file (:func:`load_again`)."""
        return {"path": str(self.path), "sha256": self.digest}


_loaded: dict[Path, Plugin] = {}


def loaded() -> tuple[Plugin, ...]:
    """Returns the plugins of this process."""
    return tuple(_loaded.values())


def described() -> list[dict[str, str]]:
    """Returns the plugins of this process as :func:`load_again` takes them in another one."""
    return [plugin.plain() for plugin in _loaded.values()]


def digests() -> dict[str, str]:
    """Returns the digest of each plugin of this process by file name, for records."""
    return {plugin.path.name: plugin.digest for plugin in _loaded.values()}


def load(paths: Sequence[Path | str]) -> tuple[Plugin, ...]:
    """Registers what these files declare; a file that is loaded already and is unchanged is
    skipped.

    Raises:
        PluginError: All reasons, one per line.
    """
    problems: list[str] = []
    for path in dict.fromkeys(Path(path).expanduser().absolute() for path in paths):
        try:
            _load(path)
        except PluginError as error:
            problems.append(str(error))
    if problems:
        raise PluginError("\n".join(problems))
    return loaded()


def load_again(plugins: Sequence[Mapping[str, str]]) -> None:
    """Loads what :meth:`Plugin.plain` described, in another process.

    Raises:
        PluginError: A file is not what it was.
    """
    load([plugin["path"] for plugin in plugins])
    for plugin in plugins:
        path = Path(plugin["path"])
        if _loaded[path].digest != plugin["sha256"]:
            raise PluginError(f"{path}: changed since the run began: start the run again")


def _load(path: Path) -> None:
    if not path.is_file():
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")])
        raise PluginError(f"{path}: no such file{near}")
    sources = _sources(path)
    digest = _digest(path, sources)
    if path in _loaded and _loaded[path].digest == digest:
        return
    _refuse_heavy_imports(path, sources)
    unload(path)
    module = _execute(path, sources)
    cards = list(_declared(path, module))
    if not cards:
        raise PluginError(f"{path}: declares nothing: define {', '.join(KINDS)} or one of them")
    done: list[tuple[str, str]] = []
    try:
        for kind, name, card in cards:
            _register(path, kind, name, card)
            done.append((kind, name))
    finally:
        _loaded[path] = Plugin(path, digest, tuple(done), tuple(sources))
        if len(done) < len(cards):
            unload(path)


def _sources(path: Path) -> dict[Path, ast.Module]:
    """Returns the file and the files that it imports from its own folder, parsed."""
    found: dict[Path, ast.Module] = {}
    open_files = [path]
    while open_files:
        source = open_files.pop()
        if source in found:
            continue
        try:
            found[source] = ast.parse(source.read_bytes(), str(source))
        except (SyntaxError, ValueError) as error:
            line = f" line {error.lineno}:" if isinstance(error, SyntaxError) else ""
            why = error.msg if isinstance(error, SyntaxError) else error
            raise PluginError(f"{source}:{line} not Python: {why}") from None
        except OSError as error:
            raise PluginError(f"{source}: {error.strerror}") from None
        for name in _imported(found[source]):
            open_files += _neighbours(path.parent, name)
    return found


def _neighbours(folder: Path, module: str) -> list[Path]:
    """Returns the files of a folder that an import of ``module`` runs."""
    parts = module.split(".")
    above = [folder.joinpath(*parts[: n + 1], "__init__.py") for n in range(len(parts))]
    return [path for path in (*above, folder.joinpath(*parts).with_suffix(".py")) if path.is_file()]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _digest(path: Path, sources: Mapping[Path, ast.Module]) -> str:
    names = {source: source.relative_to(path.parent).as_posix() for source in sorted(sources)}
    return sha256("".join(f"{name} {sha256(at.read_bytes())}\n" for at, name in names.items()))


def _refuse_heavy_imports(path: Path, sources: Mapping[Path, ast.Module]) -> None:
    """Raises a PluginError if loading the file imports what planning does without."""
    seen: set[Path] = set()
    open_files = [path]
    while open_files:
        source = open_files.pop()
        if source in seen:
            continue
        seen.add(source)
        for node in _at_import(sources[source].body):
            for name in _imported(ast.Module([node], [])):
                if name.split(".")[0] in HEAVY:
                    raise PluginError(
                        f"{source}: line {node.lineno}: imports {name} when it is loaded: import "
                        "it inside the functions that use it, so that suites are planned without it"
                    )
                open_files += _neighbours(path.parent, name)


def _at_import(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements that run when the module is imported, those for type checkers left
    out.
    """
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _at_import(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _at_import(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from _at_import(handler.body)


class _FromSource(SourceFileLoader):
    """Compiles a file as it is: byte code is trusted by time and size, which an edit may keep."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


FINDING = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES)


def _execute(path: Path, sources: Iterable[Path]) -> ModuleType:
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _import_anew(path, sources)
    name = f"plugin_{path.stem}_{sha256(str(path))[:8]}"
    loader = _FromSource(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        import traceback

        del sys.modules[name]
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        place = f" line {lines[-1]}:" if lines else ""
        raise PluginError(f"{path}:{place} {type(error).__name__}: {error}") from error
    return module


def _import_anew(path: Path, sources: Iterable[Path]) -> None:
    """Forgets what was imported of a plugin's folder, so that what is hashed is what runs.

    Raises:
        PluginError: Another module of that name would be imported in place of a file.
    """
    importlib.invalidate_caches()
    for folder in {str(source.parent) for source in sources}:
        sys.path_importer_cache[folder] = FileFinder(folder, *FINDING)
    for source in set(sources) - {path}:
        inside = source.relative_to(path.parent).with_suffix("")
        name = ".".join(inside.parent.parts if inside.name == "__init__" else inside.parts)
        if getattr(sys.modules.get(name), "__file__", None) == str(source):
            del sys.modules[name]
        found = importlib.util.find_spec(name)
        if found is not None and found.origin != str(source):
            raise PluginError(
                f"{source}: import {name} finds {found.origin or 'a module of Python'}, not this "
                "file: give it another name"
            )


def _declared(path: Path, module: ModuleType) -> Iterator[tuple[str, str, Any]]:
    """Yields (kind, name, card) of everything that the module declares; samplers as
    "method.name".
    """
    for variable, kind in KINDS.items():
        found = getattr(module, variable, {})
        if not isinstance(found, Mapping):
            raise PluginError(f"{path}: {variable} should be a dictionary of names and cards")
        if variable == "SAMPLERS":
            nested = {
                f"{method}.{name}": card
                for method, samplers in found.items()
                for name, card in _items(samplers)
            }
        else:
            nested = dict(found)
        for name, card in nested.items():
            if not isinstance(card, kind):
                got = f"{kind.__name__}, got {type(card).__name__}"
                raise PluginError(f"{path}: {variable}[{name!r}] should be a {got}")
            yield variable.lower(), name, card


def _items(samplers: Any) -> Iterable[tuple[str, Any]]:
    return samplers.items() if isinstance(samplers, Mapping) else [("", samplers)]


def _register(path: Path, kind: str, name: str, card: Any) -> None:
    if kind == "samplers":
        method, _, sampler = name.partition(".")
        if method not in registry():
            near = did_you_mean(method, registry())
            names = ", ".join(registry())
            raise PluginError(
                f"{path}: SAMPLERS[{method!r}]: there is no such method{near}; there are {names}"
            )
        samplers = registry()[method].samplers
        _refuse_taken(path, "sampler", sampler, samplers)
        registry()[method] = replace(registry()[method], samplers={**samplers, sampler: card})
        return
    _refuse_taken(path, kind.removesuffix("s"), name, _registry_of(kind))
    _registry_of(kind)[name] = card
    extractor_card.cache_clear()


def _registry_of(kind: str) -> dict[str, Any]:
    known: dict[str, Any] = {
        "metrics": METRICS,
        "extractors": EXTRACTORS,
        "datasets": DATASETS,
    }
    return registry() if kind == "methods" else known[kind]


def _refuse_taken(path: Path, kind: str, name: str, taken: Mapping[str, Any]) -> None:
    if name in taken:
        raise PluginError(f"{path}: there is a {kind} {name!r} already: give yours another name")


def unload(path: Path) -> None:
    """Takes back what the file at ``path`` declared; nothing if it is not loaded."""
    plugin = _loaded.pop(path, None)
    folders = {other.path.parent for other in _loaded.values()}
    if plugin and path.parent not in folders and str(path.parent) in sys.path:
        sys.path.remove(str(path.parent))
        for source in plugin.files:
            sys.path_importer_cache.pop(str(source.parent), None)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if plugin and file and Path(file) in plugin.files:
            del sys.modules[name]
    for kind, name in plugin.names if plugin else ():
        method, _, sampler = name.partition(".")
        if kind != "samplers":
            _registry_of(kind).pop(name, None)
        elif card := registry().get(method):
            rest = {n: c for n, c in card.samplers.items() if n != sampler}
            registry()[method] = replace(card, samplers=rest)
    extractor_card.cache_clear()
