"""Which pictures of a folder or archive are for training and which are held out, by the names of
its folders.

Known are folders for training (train, training), for testing (test, testing) and for validation
(val, valid, validation, held_out, ...) in any case, at the top or within folders that hold all the
rest. Pictures of the folder for testing are held out, or else those for validation; where there are
both, those for validation are left alone. What looks like a split but is ambiguous is refused, so
that nobody trains on what its owner held out.

Standard library only.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from bench.data.collection import Collection
from bench.data.fault import InputError
from bench.data.filenames import printable
from bench.frozen import dataclass

Role = Literal["train", "test", "validation"]

ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("train", "training", "train_set", "trainset", "training_set"), "train"),
    **dict.fromkeys(("test", "testing", "test_set", "testset", "testing_set"), "test"),
    **dict.fromkeys(
        ("val", "valid", "validation", "val_set", "valset", "validation_set"), "validation"
    ),
    **dict.fromkeys(
        ("held_out", "heldout", "hold_out", "holdout", "dev", "eval", "evaluation"), "validation"
    ),
}
"""What a folder is for, by its name in small letters with ``_`` between words."""

LIKE = re.compile(
    r"(?:(train|training|trn)|(test|testing|tst)|(?:val|valid|validate|validation|dev|eval|evaluation|heldout|holdout))"
    r"(?:data|images?|imgs?|photos?|pictures?|pics|set|split|[ab])?"
)
"""A word within a name that makes it look like a split."""

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

SIDE = re.compile(
    r"(?P<split>.+?)(?:[ _-]+[ABab]|(?<=[a-z0-9])[AB])|(?P<word>(?i:train|test|val))[ABab]"
)
"""A folder of one side of a set of pairs: ``trainA``, ``test_b``."""

OTHERWISE = "or write split: random where these are no splits"


@dataclass(frozen=True)
class Folders:
    """The splits that folders make.

    Args:
        train, test: Names of the pictures for training and of those held out, in order.
        folders: The folder of each.
        unused: Pictures of a folder for validation beside one for testing.
        in_both: Pictures for training that links put into another of these folders too: they are
            not trained on.
    """

    train: list[str]
    test: list[str]
    folders: tuple[str, str]
    unused: int = 0
    in_both: int = 0


def role(folder: str) -> Role | None:
    """Returns what a folder is for by its name, None if that says nothing."""
    return ROLES.get(re.sub(r"[\s_.-]+", "_", folder.strip().casefold()))


def looks_like(name: str) -> Role | None:
    """Returns what ``trainA``, ``val2017`` or ``photos_test`` seem to be for; None: nothing."""
    joined = re.sub(r"(?i)(h[eo]ld)[ _.-](out)", r"\1\2", name)  # held_out_photos
    for word in WORD.findall(joined):
        if match := LIKE.fullmatch(word.lower()):
            return "train" if match[1] else "test" if match[2] else "validation"
    return None


def by_folder(collection: Collection) -> Folders | None:
    """Returns the splits that folders make, None if they make none.

    Raises:
        ValueError: They are ambiguous; the message names the folders and what to write.
    """
    members, wrappers = _unwrapped(collection)
    where = printable(collection.path.joinpath(*wrappers))
    roles: dict[Role, list[str]] = {}
    for folder in sorted(members):
        if (of := role(folder)) is not None:
            roles.setdefault(of, []).append(folder)
    if not roles:
        _refuse_wrapped(collection, wrappers)
        _refuse_unlike(collection, where, members)
        return None
    known = [folder for folders in roles.values() for folder in folders]
    _refuse_others(collection, where, members, known)
    for of, folders in roles.items():
        if len(folders) > 1:
            raise InputError(f"{where}: {_all(folders)} are both for {of}: leave one, {OTHERWISE}")
    _refuse_within(collection, where, members, roles.get("train", []))
    if set(roles) == {"train"}:
        return None
    if "train" not in roles:
        raise InputError(
            f"{where}: has {_all(known)} and no folder for training beside it: nothing is trained "
            f"on what is held out; name the folder for training train, {OTHERWISE}"
        )
    held_out = roles["test" if "test" in roles else "validation"][0]
    train = roles["train"][0]
    unused = members[roles["validation"][0]] if len(roles) == 3 else set()
    apart = members[held_out] | unused
    return Folders(
        train=sorted(members[train] - apart),
        test=sorted(members[held_out]),
        folders=("/".join([*wrappers, train]), "/".join([*wrappers, held_out])),
        unused=len(unused - members[held_out]),
        in_both=len(members[train] & apart),
    )


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]


def _unwrapped(collection: Collection) -> tuple[dict[str, set[str]], list[str]]:
    """Returns the pictures of each folder beside which there are others, "" for those in none, and
    what is around them.

    A picture that links put into several folders is in each of them.
    """
    paths = [(_parts(seen), name) for seen, name in _every_name(collection)]
    depth = 0
    while True:
        tops = {path[depth] if len(path) > depth + 1 else "" for path, _ in paths}
        if len(tops) > 1 or "" in tops:
            break
        depth += 1
    members: dict[str, set[str]] = {}
    for path, name in paths:
        members.setdefault(path[depth] if len(path) > depth + 1 else "", set()).add(name)
    return members, paths[0][0][:depth]


def _every_name(collection: Collection) -> Iterator[tuple[str, str]]:
    """Yields every name of every picture, with the one that is used."""
    pictures = set(collection.names)
    for name in collection.names:
        yield name, name
    for other, used in collection.links:
        if used in pictures:
            yield other, used
            continue
        first, last = (
            bisect.bisect_left(collection.names, f"{used}{end}") for end in ("/", "0")
        )  # "0" follows "/"
        for name in collection.names[first:last]:
            yield other + name[len(used) :], name


def _all(folders: Iterable[str]) -> str:
    return " and ".join(f"{printable(folder)}/" for folder in folders)


def _refuse_wrapped(collection: Collection, wrappers: list[str]) -> None:
    """Refuses a place whose pictures all lie in a folder of held-out pictures."""
    held_out = [
        folder
        for folder in wrappers
        if (role(folder) or looks_like(folder)) in ("test", "validation")
    ]
    if held_out:
        raise InputError(
            f"{printable(collection.path)}: all pictures lie in {_all(held_out)}, which by its "
            f"name is held out: point path: at the pictures to train on, {OTHERWISE}"
        )


def _refuse_others(
    collection: Collection, where: str, members: Mapping[str, set[str]], known: list[str]
) -> None:
    """Refuses pictures beside known splits that are in none of them."""
    inside = set().union(*(members[folder] for folder in known))
    others = [
        folder for folder in sorted(members) if folder not in known and members[folder] - inside
    ]
    if not others:
        return
    _refuse_pairs(collection, members)
    named = _all(folder for folder in others[:5] if folder) + (
        f" and {len(others) - 5} more" if len(others) > 5 else ""
    )
    count = sum(len(members[folder] - inside) for folder in others)
    loose = len(members.get("", ()))
    what = f"{named} {'holds' if len(others) == 1 else 'hold'}" if others != [""] else "there are"
    beside = f" ({loose:,} of them in no folder)" if loose and others != [""] else ""
    raise InputError(
        f"{where}: {what} {count:,} pictures{beside} beside {_all(known)}, and it is not known "
        f"what they are for: move them into a split or elsewhere, {OTHERWISE}"
    )


def _refuse_within(
    collection: Collection, where: str, members: Mapping[str, set[str]], train: list[str]
) -> None:
    """Refuses a folder for training that holds a folder of held-out pictures."""
    for folder in train:
        for name in sorted(members[folder]):
            parts = _parts(name)[:-1]
            inner = parts[parts.index(folder) + 1 :] if folder in parts else []
            held_out = next((part for part in inner if role(part) in ("test", "validation")), None)
            if held_out is not None:
                within = "/".join([folder, *inner[: inner.index(held_out) + 1]])
                raise InputError(
                    f"{where}: {printable(within)}/ lies within {printable(folder)}/ and by its "
                    f"name is held out: move it beside {printable(folder)}/, {OTHERWISE}"
                )


def _refuse_pairs(collection: Collection, members: Mapping[str, set[str]]) -> None:
    """Refuses trainA, trainB, testA, testB of sets for translation between two domains."""
    sides = {folder: side for folder in members if (side := SIDE.fullmatch(folder))}
    words = {folder: side["split"] or side["word"] for folder, side in sides.items()}
    pairs = {folder: of for folder, word in words.items() if (of := role(word) or looks_like(word))}
    train = sorted(folder for folder, of in pairs.items() if of == "train")
    if train:
        inner = _inner(collection, train[0])
        raise InputError(
            f"{printable(collection.path)}: {_all(sorted(pairs))} are of a set of pairs: point "
            f"`path:` at one side, as in `path: {printable(inner)}` (a part of it is held out at "
            f"random), or put {_all(sorted(pairs)[:1])} and {_all(train[:1])} as test/ and train/ "
            "into a folder of their own"
        )


def _inner(collection: Collection, folder: str) -> Path:
    """Returns the path of a folder; of an archive, the path once it is unpacked."""
    name = next(name for name in collection.names if folder in _parts(name)[:-1])
    parts = _parts(name)
    base = collection.path if collection.path.is_dir() else collection.path.with_suffix("")
    return base.joinpath(*parts[: parts.index(folder) + 1])


def _refuse_unlike(collection: Collection, where: str, members: Mapping[str, set[str]]) -> None:
    """Refuses folders and files named like splits, and splits below several folders."""
    _refuse_pairs(collection, members)
    like = [folder for folder in sorted(members) if looks_like(folder)]
    if like:
        raise InputError(
            f"{where}: {_all(like)} "
            f"{'looks like a split' if len(like) == 1 else 'look like splits'}, and no name of "
            "one: rename to train, test and val, or point path: at the pictures to train on, "
            f"{OTHERWISE}"
        )
    deeper: dict[str, set[Role]] = {}
    files: dict[str, set[Role]] = {}
    alike: dict[str, set[Role]] = {}
    for name in collection.names:
        *folders, base = _parts(name)
        for depth, folder in enumerate(folders):
            if (of := role(folder)) is not None:
                deeper.setdefault("/".join(folders[:depth]), set()).add(of)
        if (of := looks_like(re.split(r"[_\-. \d]", base, maxsplit=1)[0])) is not None:
            files.setdefault("/".join(folders), set()).add(of)
        elif (of := looks_like(base)) is not None:  # COCO_train2014_1.jpg beside COCO_val2014_2.jpg
            alike.setdefault("/".join([*folders, _pattern(base)]), set()).add(of)
    for pattern, several in alike.items():
        files.setdefault(pattern.rpartition("/")[0], set()).update(
            several if len(several) > 1 else ()
        )
    for roles, what in ((deeper, "folders"), (files, "files")):
        both = sorted(folder for folder, of in roles.items() if "train" in of and len(of) > 1)
        if both:
            at = f"{printable(both[0])}/" if both[0] else "it"
            more = f" and {len(both) - 1} more" if len(both) > 1 else ""
            raise InputError(
                f"{where}: {at}{more} has {what} named for training and others for what is held "
                f"out: put them into two folders train/ and test/ at the top, {OTHERWISE}"
            )


def _pattern(base: str) -> str:
    """Returns a file's name without its numbers and the words that look like a split."""
    unnumbered = re.sub(r"\d+", "#", base)
    return WORD.sub(lambda word: "?" if LIKE.fullmatch(word[0].lower()) else word[0], unnumbered)
