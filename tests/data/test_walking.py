"""Folders and archives of pictures: each file once, whatever leads to it, and nothing left out
without a word.
"""

import io
import os
import socket
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from bench.cli.parser import main
from bench.data import pictures
from bench.data.card import DataCard
from bench.data.collection import collect, contents
from bench.data.digest import digest_pictures
from bench.data.external import count_images, digest_images, read_external
from bench.data.filenames import printable
from bench.data.pictures import Shaping

COLOUR = DataCard(
    version=1,
    summary="",
    shape=(3, 8, 8),
    levels=256,
    splits={},
    split_rule="",
    load=lambda split: None,
)


def encoded(seed, form="PNG"):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
        stream, form
    )
    return stream.getvalue()


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return path


# Links


def test_link_to_a_sibling_adds_nothing_and_the_names_without_links_stay(tmp_path):
    files(tmp_path, "run1/0.png", "run1/1.png")
    os.symlink("run1", tmp_path / "latest")
    os.symlink("run1/0.png", tmp_path / "a.png")
    os.link(tmp_path / "run1/1.png", tmp_path / "run1/9.png")
    found = collect(tmp_path)
    assert found.names == ("run1/0.png", "run1/1.png")
    assert found.links == (
        ("a.png", "run1/0.png"),
        ("latest", "run1"),
        ("run1/9.png", "run1/1.png"),
    )
    assert found.what_is_left_out == "left out: 3 other names of what is read"
    assert count_images(tmp_path) == 2


def test_links_in_a_circle_and_across_end(tmp_path):
    folders = [f"{k}" for k in range(8)]
    files(tmp_path, *(f"{folder}/{folder}.png" for folder in folders))
    for one in folders:
        os.symlink("..", tmp_path / one / "up")
        os.symlink(".", tmp_path / one / "here")
        for other in folders:
            os.symlink(f"../{other}", tmp_path / one / f"to{other}")
    assert collect(tmp_path).names == tuple(f"{folder}/{folder}.png" for folder in folders)


def test_links_that_lead_out_are_followed_and_named_by_the_link(tmp_path):
    files(tmp_path / "elsewhere", "0.png", "more/1.png", "blob")
    (tmp_path / "set").mkdir()
    os.symlink("../elsewhere", tmp_path / "set" / "b")
    os.symlink("../elsewhere/more", tmp_path / "set" / "a")
    os.symlink("../elsewhere/blob", tmp_path / "set" / "2.png")  # as caches of downloads link
    assert collect(tmp_path / "set").names == ("2.png", "a/1.png", "b/0.png")


@pytest.mark.parametrize(
    ("name", "target"),
    [("gone.png", "nowhere.png"), ("gone", "no/folder"), ("self.png", "self.png")],
)
def test_link_that_leads_nowhere_is_one_line_that_names_it(tmp_path, name, target):
    os.symlink(target, files(tmp_path, "0.png") / name)
    for look in (collect, count_images, digest_images):
        with pytest.raises(
            ValueError, match=rf"{tmp_path}/{name}: is a link to {target}, which cannot be followed"
        ):
            look(tmp_path)


def test_folder_that_cannot_be_looked_into_is_one_line_that_names_it(tmp_path, monkeypatch):
    files(tmp_path, "0.png", "locked/1.png")
    scan = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(
        ValueError,
        match=rf"{tmp_path}/locked: cannot be looked into \(Permission denied\): allow it",
    ):
        collect(tmp_path)


def test_file_that_cannot_be_read_is_one_line_that_names_it(tmp_path, monkeypatch):
    found = collect(files(tmp_path, "0.png"))
    monkeypatch.setattr(
        "bench.data.digest._digest", lambda file: (tmp_path / "none" / file.name).read_text()
    )
    with pytest.raises(ValueError, match=r"0\.png: cannot be read \(No such file"):
        digest_pictures(found)
    with pytest.raises(ValueError, match=r"cannot be read \(File name too long\)"):
        collect(tmp_path / ("a" * 300))


def test_file_that_goes_away_after_it_was_seen_is_one_line_that_names_it(tmp_path):
    found = collect(files(tmp_path, "0.png", "1.png"))
    (tmp_path / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png: cannot be read \(No such file or directory\)"):
        digest_pictures(found)
    with pytest.raises(
        FileNotFoundError, match=r"1\.png is missing: unpack the archive again, or put it back"
    ):
        list(contents(tmp_path, found.names))
    (tmp_path / "1.png").mkdir()
    with pytest.raises(ValueError, match=r"1\.png: is no file: take it out"):
        list(contents(tmp_path, ["1.png"]))


# What is left out


def test_everything_that_is_not_read_is_counted_by_kind(tmp_path):
    names = [
        "0.png",
        "1.JPG",
        "a/2.jpeg",
        "a/b/3.WebP",
        "4.bmp",
        "5.ppm",
        "6.TIFF",
        "7.jfif",
        "8.pgm",
    ]
    others = [
        "x.txt",
        "y.TXT",
        "z.gif",
        "noending",
        "._0.png",
        "a/._1.JPG",
        ".DS_Store",
        "a/.DS_Store",
        "Thumbs.db",
    ]
    others += [".hidden.png", "more.zip", ".git/9.png", "__MACOSX/0.png", "trailing."]
    files(tmp_path, *names, *others)
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("socket.png")
    found = collect(tmp_path)
    assert found.names == tuple(sorted(names))
    assert found.what_is_left_out == (
        "left out: 2 .DS_Store, 2 ._*, 2 .txt, 2 files without an ending, 2 special files, 1 .gif, "
        "1 .zip, "
        "1 Thumbs.db, 1 __MACOSX folder, 1 hidden file, 1 hidden folder"
    )
    assert collect(files(tmp_path / "all", "0.png")).what_is_left_out == ""


def test_nothing_to_read_says_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"holds no picture \(\.jpg, .*\.tiff\)$"):
        collect(tmp_path)
    files(tmp_path, "a.gif", "b/c.gif", "d.tar.gz")
    with pytest.raises(ValueError, match=r"holds no picture \(.*\); left out: 2 \.gif, 1 \.gz$"):
        collect(tmp_path)


MIXED = {
    "b/0.png": "PNG",
    "B/1.JPG": "JPEG",
    "a.webp": "WEBP",
    "c.bmp": "BMP",
    "d/e/f.ppm": "PPM",
    "z.tif": "TIFF",
}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_samples_and_data_sets_read_the_same_pictures_in_the_same_order(tmp_path, form):
    made = {name: encoded(k, form_) for k, (name, form_) in enumerate(MIXED.items())}
    path = tmp_path / ("set" if form == "folder" else "set.zip")
    if form == "folder":
        for name, content in made.items():
            files(path, name)
            (path / name).write_bytes(content)
    else:
        zipped(path, reversed(made.items()))
    names = list(collect(path).names)
    assert names == sorted(MIXED) == ["B/1.JPG", "a.webp", "b/0.png", "c.bmp", "d/e/f.ppm", "z.tif"]
    both = np.concatenate(list(pictures.read(path, names, Shaping(size=8, crop="none"))))
    np.testing.assert_array_equal(read_external(path, COLOUR), both)
    assert count_images(path) == 6
    for row in (2, 3, 4, 5):
        expected = np.asarray(Image.open(io.BytesIO(made[names[row]])))
        np.testing.assert_array_equal(both[row].transpose(1, 2, 0), expected)


def test_plan_says_what_of_samples_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files(tmp_path / "mine", "0.png", "more/1.jpg", "notes.txt")
    text = (
        "name: a\ndataset: digits\nmetrics: []\nsamples: {count: 2, batch: 2}\n"
        "train: {mine: {samples_from: mine}}\n"
    )
    (tmp_path / "suite.yaml").write_text(text)
    assert main(["plan", "suite.yaml"]) == 0
    assert "note: train.mine.samples_from: 2 pictures; left out: 1 .txt" in capsys.readouterr().out
    os.symlink("nowhere", tmp_path / "mine" / "gone")
    assert main(["plan", "suite.yaml"]) == 2
    assert "suite.yaml:5: train.mine.samples_from: " in (error := capsys.readouterr().err)
    assert "gone: is a link to nowhere, which cannot be followed" in error


# Names


@pytest.mark.parametrize(
    "name", ["a\nb.png", "\x1b[31mred.png", "\u202egnp.png", "é ü.png", "\udcff.png"]
)
def test_names_of_any_kind_are_read_and_escaped_where_they_are_printed(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    found = collect(tmp_path)
    assert found.names == (name,)
    assert len(digest_pictures(found)) == 64
    with pytest.raises(ValueError, match="cannot be decoded") as caught:
        list(pictures.read(tmp_path, found.names, Shaping(size=8)))
    assert str(caught.value).isprintable()
    assert ("\\" in printable(name)) == (name != "é ü.png")


# Archives


def test_members_are_read_once_and_others_counted(tmp_path):
    same = encoded(0)
    members = [("x/", b""), ("x/0.png", same), ("x/0.png", same), ("./x//1.png", encoded(1))]
    others = [("x/b.txt", b""), ("..a", b""), ("__MACOSX/x/._0.png", b"")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.ZIP", members + others)
    found = collect(path)
    assert found.names == ("x/0.png", "x/1.png")
    assert (
        found.what_is_left_out
        == "left out: 1 .txt, 1 __MACOSX file, 1 hidden file, 1 repeated member"
    )
    assert [content for _, content in contents(path, found.names)] == [same, encoded(1)]


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def marked_encrypted(path):
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    return path


def test_members_that_cannot_be_read_are_named(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.zip", [("x/0.png", encoded(0)), ("x/0.png", encoded(1))])
    with pytest.raises(
        ValueError, match=r"a\.zip: x/0\.png: is in the archive twice, with other content"
    ):
        collect(path)
    path = zipped(tmp_path / "b.zip", [("0.png", encoded(0)), (link("val"), b"train")])
    with pytest.raises(
        ValueError, match=r"b\.zip: val: is a link in the archive: make it again with the files"
    ):
        collect(path)
    path = marked_encrypted(zipped(tmp_path / "c.zip", [("0.png", encoded(0))]))
    with pytest.raises(
        ValueError, match=r"c\.zip: 0\.png: is encrypted: make the archive again without a password"
    ):
        collect(path)
    path = zipped(tmp_path / "d.zip", [("0.png", encoded(0))])
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"d\.zip: 0\.png: cannot be unpacked \(Bad CRC-32"):
        list(contents(path, ["0.png"]))


OTHER_FILES = {
    "a.tar.gz": (b"\x1f\x8b\x08", "is a .gz file: unpack it and name the folder, or make a .zip"),
    "a.zip": (b"\0" * 257 + b"ustar", "is a .tar archive: unpack it"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "is a .7z archive: unpack it"),
    "a.rar": (b"Rar!\x1a", "is a .rar archive: unpack it"),
    "a.png": (b"\x89PNG\r\n", "is one picture: "),
    "a.npz": (b"PK\x05\x06" + b"\0" * 18, "there is no folder or .zip of pictures"),
    "a.txt": (b"hello", "but a file of another kind"),
    "b.zip": (b"hello", "is no zip archive that can be read"),
    "c.zip": (b"", "is no zip archive that can be read"),
    "d.zip": (b"PK\x05\x06" + b"\xff" * 18, "is no zip archive that can be read"),
    "e.zip": (b"PK\x05\x06" + b"\0" * 18, "holds no picture"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_files_that_are_no_archive_are_refused_with_what_to_do(tmp_path, name):
    content, message = OTHER_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        collect(tmp_path / name)
    assert message in str(caught.value)


def test_pipe_in_place_of_a_folder_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    for look in (collect, count_images):
        with pytest.raises(ValueError, match=r"there is no folder or .*pipe\.zip"):
            look(tmp_path / "pipe.zip")
