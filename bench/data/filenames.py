"""What the name of a file says: whether it is a picture, or what else.

Standard library only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.printable import one_line

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
"""How the names of pictures end, in small letters."""

PLURALS = {
    "hidden file": "hidden files",
    "hidden folder": "hidden folders",
    "__MACOSX folder": "__MACOSX folders",
    "special file": "special files",
    "file without an ending": "files without an ending",
    "other name of what is read": "other names of what is read",
    "repeated member": "repeated members",
    "__MACOSX file": "__MACOSX files",
}
"""Kinds of what is left out that are words."""


def printable(name: str | Path) -> str:
    """Returns a name with control characters and bytes that are no text escaped."""
    return one_line(str(name))


def is_picture(name: str) -> bool:
    """Whether a file's name, with its folders, is that of a picture that is read."""
    *folders, base = re.split(r"[/\\]", name)
    if base.startswith(".") or any(is_hidden(folder) for folder in folders):
        return False
    return base.lower().endswith(PICTURES)


def is_hidden(folder: str) -> bool:
    """Whether nothing within a folder of that name is read."""
    return folder == "__MACOSX" or (folder.startswith(".") and folder not in (".", ".."))


def kind(name: str) -> str:
    """Returns the kind of a file that is not read: its ending, ``._*``, ``.DS_Store``, ..."""
    base = re.split(r"[/\\]", name)[-1]
    if base.startswith("._"):
        return "._*"
    if base in (".DS_Store", "Thumbs.db", "desktop.ini"):
        return base
    if base.startswith("."):
        return "hidden file"
    ending = os.path.splitext(base)[1].lower()
    return printable(ending[:12]) if len(ending) > 1 else "file without an ending"
