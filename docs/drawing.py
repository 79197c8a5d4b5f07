"""The packages as a Mermaid drawing: a box for each, an arrow for each import between them."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from imports import Import, imports, modules, part

Arrows = Mapping[tuple[str, str], bool]
"""Which part imports which; True where every such import runs inside a function."""


def arrows(found: list[Import], boxes: set[str]) -> dict[tuple[str, str], bool]:
    """Returns every import between parts, by the two of them."""
    late: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for one in found:
        ends = part(one.file), part(one.target)
        if set(ends) <= boxes and ends[0] != ends[1]:
            late[ends].append(one.late)
    return {ends: all(times) for ends, times in sorted(late.items())}


def boxes(root: Path) -> set[str]:
    """Returns every package below bench and methods, and every file that stands beside them."""
    return {part(name) for name in modules(root) if "." in name}


def needed(every: Arrows) -> list[tuple[str, str]]:
    """Returns the arrows to draw: without those that longer ways along other arrows stand for."""
    kept = set(every)
    for arrow in every:
        if _leads(kept - {arrow}, *arrow):
            kept.remove(arrow)
    return sorted(kept)


def _leads(kept: set[tuple[str, str]], start: str, end: str) -> bool:
    ahead, seen = [start], {start}
    while ahead:
        here = ahead.pop()
        fresh = {there for origin, there in kept if origin == here} - seen
        if end in fresh:
            return True
        seen |= fresh
        ahead.extend(fresh)
    return False


def drawing(root: Path) -> str:
    """Returns the drawing, and below it what each box holds in the words of its docstring."""
    there = boxes(root)
    every = arrows(imports(root), there)
    lines = ["flowchart TD"]
    for folder in ("bench", "methods"):
        lines.append(f'  subgraph {folder}["{folder}/"]')
        lines += [
            f'    {_node(box)}["{box.partition(".")[2]}"]'
            for box in sorted(there)
            if box.startswith(f"{folder}.")
        ]
        lines.append("  end")
    for start, end in needed(every):
        lines.append(f"  {_node(start)} {'-.->' if every[start, end] else '-->'} {_node(end)}")
    held = [f"| `{box}` | {_says(root, box)} |" for box in sorted(there)]
    return "\n".join(["```mermaid", *lines, "```", "", "| box | holds |", "| --- | --- |", *held])


def _node(box: str) -> str:
    return box.replace(".", "_")


def _says(root: Path, box: str) -> str:
    """Returns the first sentence of a part's docstring; of a method, that of its adapter."""
    folder = root / box.replace(".", "/")
    files = [folder / "__init__.py", folder / "adapter.py", folder.with_suffix(".py")]
    for path in files:
        if path.exists() and (text := ast.get_docstring(ast.parse(path.read_text("utf-8")))):
            return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
    return ""
