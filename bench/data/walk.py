"""Everything below a folder, links included.

Standard library only.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

from bench.data.archive import check_size
from bench.data.fault import InputError
from bench.data.filenames import is_hidden, is_picture, kind, printable

Identity = tuple[int, int]
"""Device and inode."""


class Walk:
    """Visits everything below a folder: first without links, then along them, so that names
    without links come first.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()
        self.round = 0
        self.links: list[str] = []
        self.folders: dict[Identity, str] = {}
        self.pictures: dict[Identity, list[tuple[int, str]]] = {}
        self.other_names: list[tuple[str, str]] = []

    def result(self) -> tuple[tuple[str, ...], dict[str, int], tuple[tuple[str, str], ...]]:
        """Returns names, what is left out, and links, as :class:`bench.data.collection.Collection`
        has them.

        Raises:
            ValueError: A folder cannot be looked into, a link leads nowhere, or a file is too
                large.
        """
        self._search("", self._state(""))
        while self.links:
            links, self.links = sorted(self.links), []
            self.round += 1
            for name in links:
                self._follow(name)
        for found in self.pictures.values():
            (_, used), *others = sorted(found)
            self.other_names += [(other, used) for _, other in others]
        if self.other_names:
            self.left_out["other name of what is read"] += len(self.other_names)
        names = sorted(min(found)[1] for found in self.pictures.values())
        return tuple(names), dict(self.left_out), tuple(sorted(self.other_names))

    def _path(self, name: str) -> Path:
        return self.root / name if name else self.root

    def _state(self, name: str) -> os.stat_result:
        path = self._path(name)
        try:
            return os.stat(path)
        except OSError as error:
            if path.is_symlink():
                target = printable(os.readlink(path))
                raise InputError(
                    f"{printable(path)}: is a link to {target}, which cannot be followed "
                    f"({error.strerror}): repair it, or take it out"
                ) from None
            raise InputError(
                f"{printable(path)}: cannot be read ({error.strerror}): allow it, or take it out"
            ) from None

    def _search(self, name: str, state: os.stat_result) -> None:
        """Notes everything below a folder."""
        waiting = [(name, state)]
        while waiting:
            name, state = waiting.pop()
            if not self._is_new(name, state):
                continue
            try:
                with os.scandir(self._path(name)) as entries:
                    children = [
                        (entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False))
                        for entry in entries
                    ]
            except OSError as error:
                where = printable(self._path(name))
                why = error.strerror
                raise InputError(
                    f"{where}: cannot be looked into ({why}): allow it, or take it out"
                ) from None
            for base, linked, below in sorted(children):
                child = f"{name}/{base}" if name else base
                if is_hidden(base) and below:
                    self.left_out["__MACOSX folder" if base == "__MACOSX" else "hidden folder"] += 1
                elif linked and not base.startswith("."):
                    self.links.append(child)
                elif below:
                    waiting.append((child, self._state(child)))
                else:
                    self._note(child)

    def _is_new(self, name: str, state: os.stat_result) -> bool:
        """Whether a folder was not met before; notes its other name if it was."""
        first = self.folders.setdefault((state.st_dev, state.st_ino), name)
        if first == name:
            return True
        circle = first == "" or name.startswith(f"{first}/")
        if not circle:
            self.other_names.append((name, first))
        else:
            self.left_out["other name of what is read"] += 1
        return False

    def _follow(self, name: str) -> None:
        state = self._state(name)
        if stat.S_ISDIR(state.st_mode):
            self._search(name, state)
        else:
            self._note(name)

    def _note(self, name: str) -> None:
        """Notes a file, by the name that leads to it."""
        if not is_picture(name):
            self.left_out[kind(name)] += 1
            return
        state = self._state(name)
        if not stat.S_ISREG(state.st_mode):
            self.left_out["special file"] += 1
            return
        check_size(printable(self._path(name)), state.st_size)
        self.pictures.setdefault((state.st_dev, state.st_ino), []).append((self.round, name))
