"""Which file imports which, read from the source: imports in functions and those for type checking
included.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

OURS = ("bench", "methods")


class Import(NamedTuple):
    """One file's import of a module.

    Args:
        file: The importing module, by its dotted name.
        target: The imported module: a file or package of ours, else as it is written.
        late: Whether it runs inside a function, so not when the file is imported.
        checking: Whether it is for type checking only.
    """

    file: str
    target: str
    late: bool
    checking: bool


def modules(root: Path) -> dict[str, Path]:
    """Returns the file of each module of ours below ``root``, by dotted name."""
    paths = [path for folder in OURS for path in sorted((root / folder).rglob("*.py"))]
    return {_dotted(path.relative_to(root)): path for path in paths}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(root: Path) -> list[Import]:
    """Returns every import in the files of ours below ``root``.

    Raises:
        ValueError: A file has a relative import.
    """
    known = modules(root)
    return [found for name, path in known.items() for found in _imports_of(name, path, known)]


def _imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    def visit(node: ast.AST, late: bool, checking: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, late, checking) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: imports are absolute, line {node.lineno}")
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(name, inner if inner in known else node.module, late, checking)
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for field, value in ast.iter_fields(node):
            # The other branch of `if TYPE_CHECKING` runs.
            typing = isinstance(node, ast.If) and field == "body" and _for_checking(node.test)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, late, checking or typing)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


def _for_checking(test: ast.expr) -> bool:
    return ast.unparse(test).endswith("TYPE_CHECKING")


def part(module: str) -> str:
    """Returns the package, or the file that stands alone, of a module: ``bench.suite``."""
    return ".".join(module.split(".")[:2])


def cycles(found: list[Import]) -> list[list[str]]:
    """Returns each set of files that import one another, however far around."""
    graph: dict[str, set[str]] = {}
    for one in found:
        graph.setdefault(one.file, set()).add(one.target)
    reach = {name: _reachable(name, graph) for name in graph}
    circles = {
        frozenset(other for other in reach[name] if name in reach.get(other, ()))
        for name in graph
        if name in reach[name]
    }
    return sorted(sorted(circle) for circle in circles)


def _reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Returns what can be reached from a file by one import or more."""
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        fresh = graph.get(ahead.pop(), set()) - reached
        reached |= fresh
        ahead.extend(fresh)
    return reached
