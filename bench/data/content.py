"""The content of the files that a data set is read from, as keys know it.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.digest import digest_files, digest_md5, unpacked_name
from bench.data.fault import InputError
from bench.data.registry import data_card
from bench.data.root import data_root


def content(name: str, cache: Path | None = None) -> str | None:
    """Returns the sha256 of the files that a data set is read from, None if they are those that
    are published.

    So the name and the version say which images are meant until other files lie under the name:
    then the digest says it too (:attr:`bench.spec.TrainSpec.dataset_sha256`). None also if the data
    set ships with a package or is named after its content, and if its files are missing: then the
    published ones are expected.

    Args:
        cache: Folder that remembers digests; None: always read the files.
    """
    return _content(_sources(name), name, cache)


def check_content(name: str, sha256: str | None, cache: Path | None = None) -> None:
    """Makes sure that the files of a data set, if they are there, are those of a spec.

    Args:
        sha256: What :func:`content` returned when the spec was made.
        cache: As for :func:`content`.

    Raises:
        ValueError: They are others.
    """
    files = _sources(name)
    actual = _content(files, name, cache)
    if files and actual != sha256:
        is_, was = (
            f"sha256 {digest[:12]}..." if digest else "as published" for digest in (actual, sha256)
        )
        raise InputError(
            f"data set {name}: its files, {files[0]}{' and others' if len(files) > 1 else ''}, are "
            f"not those that the suite was planned with ({is_}, not {was}); start the suite again"
        )


def _sources(name: str) -> Sequence[Path]:
    """Returns the files of a data set, none if one is missing or it has none."""
    try:
        files = data_card(name).source_files(data_root())
    except FileNotFoundError:
        return []
    return files if all(file.is_file() for file in files) else []


def _content(files: Sequence[Path], name: str, cache: Path | None) -> str | None:
    card = data_card(name)
    md5s = {place.rsplit("/", 1)[-1]: facts.md5 for place, facts in card.facts.items()}
    md5s |= card.unpacked
    published = [md5s.get(unpacked_name(file)) for file in files]
    if all(
        md5 and digest_md5(file, cache) == md5 for file, md5 in zip(files, published, strict=True)
    ):
        return None
    return digest_files(files, cache)
