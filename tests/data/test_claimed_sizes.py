"""What archives and arrays claim of themselves is checked before memory is taken for it, and
headers that are none are one line.
"""

import io
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from bench.cli.parser import main
from bench.data import cifar, pictures
from bench.data.archive import MOST_BYTES
from bench.data.collection import collect, contents
from bench.data.external import count_images, read_external
from bench.data.npz import npz_header
from bench.data.pictures import Shaping
from bench.data.registry import DATASETS

DIGITS = DATASETS["digits"]
MB = 2**20


@pytest.fixture
def peak():
    """Returns the most memory that was taken since the test began, in MiB."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / MB
    tracemalloc.stop()


# Zip archives of pictures


def zipped(path, name, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


def claiming(path, size):
    """Changes the unpacked size that both headers of the first member say."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


def test_member_that_claims_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = claiming(zipped(tmp_path / "bomb.zip", "a.png", b"\0" * 1000), 300_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments: pytest.fail("was read"))
    for look in (collect, count_images):
        with pytest.raises(
            ValueError, match=r"bomb\.zip: a\.png: has 300,000,000 bytes, more than the 268"
        ):
            look(path)
    assert (
        main(["plan", str(suite(tmp_path, "{name: image_folder, path: bomb.zip, size: 8}"))]) == 2
    )


def test_member_that_unpacks_to_far_more_than_it_is_is_refused_before_it_is_read(
    tmp_path, monkeypatch
):
    path = claiming(zipped(tmp_path / "bomb.zip", "a.png", b"\0" * 1000), 200_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments: pytest.fail("was read"))
    with pytest.raises(
        ValueError,
        match=r"bomb\.zip: a\.png: says that .* bytes unpack to 200,000,000, .* take it out",
    ):
        collect(path)


def suite(folder, dataset, source="none"):
    (folder / "suite.yaml").write_text(
        f"name: a\ndataset: {dataset}\nmetrics: []\nsamples: {{count: 2, batch: 2}}\n"
        f"train: {{mine: {{samples_from: {folder}/{source}}}}}\n"
    )
    return folder / "suite.yaml"


def test_member_never_gives_more_than_it_claims(tmp_path, peak):
    path = claiming(zipped(tmp_path / "a.zip", "a.png", bytes(16 * MB)), 1000)
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"a\.zip: a\.png: cannot be (unpacked|decoded) \("):
        list(pictures.read(path, ["a.png"], Shaping(size=8)))
    assert peak() < 4


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_member_that_unpacks_without_bounds_is_refused(tmp_path, method):
    path = zipped(tmp_path / "a.zip", "a.png", bytes(100), method)
    with pytest.raises(
        ValueError, match=r"a\.zip: a\.png: is packed by (bzip2|lzma): make the archive again with"
    ):
        collect(path)


def test_member_that_holds_less_than_it_claims_is_refused(tmp_path):
    path = claiming(zipped(tmp_path / "a.zip", "a.png", bytes(1000)), 2000)
    with pytest.raises(
        ValueError, match=r"a\.zip: a\.png: (holds 1,000 of 2,000 bytes|cannot be unpacked)"
    ):
        list(contents(path, ["a.png"]))


def test_large_file_of_a_folder_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for look in (collect, lambda path: list(contents(path, ["a.png"]))):
        with pytest.raises(
            ValueError, match=r"a\.png: has 268,435,457 bytes, more than the 268,435,456 th"
        ):
            look(tmp_path)


def test_damaged_archives_never_end_in_anything_but_one_line(tmp_path):
    draw = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(draw.integers(0, 17, (8, 8), dtype=np.uint8)).save(stream, "PNG")
    whole = {
        "a.zip": zipped(tmp_path / "a.zip", "a/b.png", stream.getvalue()).read_bytes(),
        "a.npz": zipped(
            tmp_path / "a.npz", "images.npy", npy(header_of("(1, 1, 8, 8)"), bytes(64))
        ).read_bytes(),
    }
    for name, content in whole.items():
        for _ in range(150):
            damaged = bytearray(content)
            for place in draw.integers(0, len(content), 1 + draw.integers(4)):
                damaged[place] = draw.integers(256)
            damaged = (
                damaged[: draw.integers(1, len(damaged) + 1)] if draw.random() < 0.2 else damaged
            )
            (tmp_path / name).write_bytes(damaged)
            said = refusal(lambda name=name: read_external(tmp_path / name, DIGITS))
            assert said is None or str(tmp_path / name) in said


# Arrays


def npy(header, payload=b"", version=1, length=None):
    text = (header if isinstance(header, bytes) else header.encode()) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + payload


def header_of(shape="(2, 1, 8, 8)", descr="'|u1'", order=False):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


WHOLE = bytes(128)
MALFORMED = {
    "a shape that is a number": (npy("{'shape': 5}"), "has a header without shape and type"),
    "no mapping": (npy("[1, 2]"), "has a header without shape and type"),
    "no text": (npy(b"\xff\0\xfe"), "has a header without shape and type"),
    "nested": (npy("(" * 9000), "has a header without shape and type"),
    "a call": (npy("__import__('os')"), "has a header without shape and type"),
    "a long number": (
        npy(header_of(f"({'9' * 6000}, 1, 8, 8)")),
        "has a header without shape and type",
    ),
    "a large number": (npy(header_of(f"({'9' * 60}, 1, 8, 8)")), "claims shape (9999"),
    "a list": (npy(header_of("[2, 1, 8, 8]"), WHOLE), "claims shape [2, 1, 8, 8]"),
    "below zero": (npy(header_of("(-2, 1, 8, 8)"), WHOLE), "claims shape (-2, 1, 8, 8)"),
    "below zero twice": (npy(header_of("(-2, -1, 8, 8)"), WHOLE), "claims shape (-2, -1, 8, 8)"),
    "truths": (npy(header_of("(True, 1, 8, 8)"), WHOLE), "claims shape (True"),
    "fractions": (npy(header_of("(2.0, 1, 8, 8)"), WHOLE), "claims shape (2.0"),
    "many dimensions": (npy(header_of(f"({'1, ' * 40})"), b"\0"), "claims shape (1, 1"),
    "no dimension": (npy(header_of("()"), b"\0"), "is a single number, not images"),
    "objects": (
        npy(header_of(descr="'|O'"), WHOLE),
        "is an array of objects, which is never loaded",
    ),
    "records": (
        npy(header_of(descr="[('a', '|u1')]"), WHOLE),
        "is an array of [('a', '|u1')], which is never loaded",
    ),
    "cut short": (
        npy(header_of("(20000000, 1, 8, 8)"), WHOLE),
        "claims shape (20000000, 1, 8, 8) of u1, 1,280",
    ),
    "too long": (npy(header_of(), WHOLE + b"\0"), "128 bytes, and 129 are there: damaged"),
    "a long header": (npy(header_of(), WHOLE, 2, 2**32 - 1), "has a header of 4,294,967,295 bytes"),
    "a header beyond the end": (npy(header_of(), b"", 1, 60_000), "claims shape (2, 1, 8, 8)"),
    "another version": (npy(header_of(), WHOLE, 9), "has no header of an array"),
    "nothing": (b"", "has no header of an array"),
    "half": (b"\x93NUMPY\x01", "has no header of an array"),
    "other bytes": (b"hello, world, how are you", "has no header of an array"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_array_is_one_line_before_memory_is_taken(tmp_path, case, capsys, peak):
    content, message = MALFORMED[case]
    path = zipped(tmp_path / "a.npz", "arr_0.npy", content)
    for look in (npz_header, count_images, lambda path: read_external(path, DIGITS)):
        tracemalloc.reset_peak()
        with pytest.raises(ValueError, match=r"a\.npz") as caught:
            look(path)
        assert message in str(caught.value)
        assert str(caught.value).isprintable()
        assert peak() < 5
    assert main(["plan", str(suite(tmp_path, "digits", "a.npz"))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path}/suite.yaml:5: train.mine.samples_from: ")
    assert error.endswith("1 problem; nothing was run.\n")


def test_arrays_of_any_version_and_order_of_axes_are_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (2, 1, 8, 8)).astype(np.uint8)
    for version in (1, 2, 3):
        path = zipped(tmp_path / "a.NPZ", "images.npy", npy(header_of(), images.tobytes(), version))
        np.testing.assert_array_equal(read_external(path, DIGITS), images)
    path = zipped(tmp_path / "b.npz", "images.npy", npy(header_of(order=True), images.tobytes("F")))
    np.testing.assert_array_equal(read_external(path, DIGITS), images)


def test_array_that_unpacks_to_far_more_than_it_is_is_refused_before_it_is_read(
    tmp_path, monkeypatch
):
    path = zipped(tmp_path / "a.npz", "arr_0.npy", npy(header_of(), WHOLE))
    claiming(path, 70 * MB)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments: pytest.fail("was read"))
    for look in (count_images, lambda path: read_external(path, DIGITS)):
        with pytest.raises(
            ValueError, match=r"a\.npz: arr_0\.npy says that \d+ bytes unpack to 73,400,320, which"
        ):
            look(path)


def test_arrays_that_numpy_never_writes_are_refused(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = zipped(tmp_path / "a.npz", "arr_0.npy", npy(header_of(), WHOLE), method)
        with pytest.raises(
            ValueError, match=r"a\.npz: arr_0\.npy is encrypted or packed as numpy packs nothing"
        ):
            count_images(path)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", npy(header_of(), WHOLE))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("images.npy", npy(header_of(), WHOLE))
    with pytest.raises(ValueError, match=r"b\.npz holds the array images twice"):
        count_images(tmp_path / "b.npz")


def test_array_larger_than_the_machines_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", np.zeros((2, 1, 8, 8), np.uint8))
    monkeypatch.setattr("os.sysconf", lambda name: 10)
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("was read"))
    with pytest.raises(
        ValueError, match=r"a\.npz: arr_0 takes 0\.0 GB, and this machine has 0\.0 GB; save"
    ):
        read_external(tmp_path / "a.npz", DIGITS)


def test_array_of_another_shape_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", np.zeros((2, 1, 8, 9), np.uint8))
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("was read"))
    with pytest.raises(
        ValueError, match=r"a\.npz: images have shape \(2, 1, 8, 9\); this data set asks for \(N, 1"
    ):
        read_external(tmp_path / "a.npz", DIGITS)


# CIFAR's pickles and archives

PICKLES = {
    "a memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a memo in text": b"(d" + b"p" + b"9" * 12 + b"\n.",
    "bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "a text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b".",
    "a number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "surrogates": pickle.dumps({"data": 1, "\udcff": 2}, 2),
}


@pytest.mark.parametrize("case", PICKLES)
def test_pickle_that_claims_more_than_it_holds_is_one_line(tmp_path, case, peak):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(PICKLES[case])
    tracemalloc.reset_peak()
    with pytest.raises(
        ValueError, match=r"cifar-10-batches-py/test_batch: .*; get cifar-10-binary\.tar\.gz"
    ):
        cifar.read(tmp_path, "test", rows=1)
    assert peak() < 5


def test_archive_that_unpacks_to_more_than_it_should_is_refused(tmp_path, monkeypatch, peak):
    monkeypatch.setattr(cifar, "ARCHIVE_MARGIN", MB)
    with tarfile.open(
        tmp_path / "cifar-10-binary.tar.gz", "w:gz", pax_headers={"comment": "x" * 8 * MB}
    ):
        pass
    tracemalloc.reset_peak()
    with pytest.raises(
        ValueError, match=r"cifar-10-binary\.tar\.gz: cannot be unpacked \(it unpacks to more"
    ):
        cifar.read(tmp_path, "test", rows=1)
    assert peak() < 5
