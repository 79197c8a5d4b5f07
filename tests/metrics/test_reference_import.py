"""Statistics that papers ship: taken where they agree with themselves, else refused with the file
and both numbers.
"""

import io
import re
import zipfile

import numpy as np
import pytest

from bench.cli.parser import main
from bench.data.images import load_images
from bench.metrics.parameters import FrechetParams
from bench.metrics.references import References
from bench.metrics.scoring import score
from bench.metrics.statistics_file import import_statistics, read_statistics
from bench.store import Store

FEATURES = np.random.default_rng(0).normal(size=(200, 6))
MEAN, COVARIANCE = FEATURES.mean(0), np.cov(FEATURES.T)
GOOD = {"mu": MEAN, "sigma": COVARIANCE}


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "arrays",
    [
        GOOD,
        {**GOOD, "count": 200},
        {**GOOD, "count": np.float64(200.0)},
        {**GOOD, "count": np.array([200])},
        {**GOOD, "pool_3": FEATURES},
        {**GOOD, "pool_3": FEATURES, "feats": FEATURES, "count": 200},
        {**GOOD, "pool_3": FEATURES.astype(np.float32)},
        {"mu": MEAN.astype(np.float32), "sigma": np.cov(FEATURES.T, bias=True), "pool_3": FEATURES},
        {"mu": MEAN + 0j, "sigma": COVARIANCE + 1e-9j},
        {"mu": MEAN, "pool_3": FEATURES},
        {"pool_3": FEATURES},
    ],
    ids=lambda arrays: ", ".join(
        f"{name} {np.asarray(value).dtype}" for name, value in arrays.items()
    ),
)
def test_statistics_that_agree_with_themselves_are_taken(tmp_path, arrays):
    moments, features = read_statistics(npz(tmp_path / "s.npz", **arrays))
    mean, covariance = moments.statistics()
    np.testing.assert_allclose(mean, MEAN, atol=1e-6)
    np.testing.assert_allclose(covariance, COVARIANCE, rtol=1e-2, atol=1e-6)
    assert mean.dtype == covariance.dtype == np.float64
    assert (features is not None) == ("pool_3" in arrays)


ASYMMETRIC = COVARIANCE.copy()
ASYMMETRIC[1, 2] += 0.1


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        (
            {"mu": MEAN + 5, "sigma": COVARIANCE, "pool_3": FEATURES},
            r"mu\[\d\] is \d\.\d+, and that of the features pool_3 beside it is -?\d\.\d+",
        ),
        (
            {"mu": MEAN, "sigma": 2 * COVARIANCE, "pool_3": FEATURES},
            r"sigma\[\d, \d\] is \d\.\d+, and that of the features pool_3 beside it is \d\.\d+",
        ),
        ({"mu": MEAN + 5, "feats": FEATURES}, r"mu\[\d\] is .* feats beside it is"),
        (
            {**GOOD, "pool_3": FEATURES[:, :5]},
            r"mu has shape \(6,\), and that of pool_3 has \(5,\)",
        ),
        (
            {**GOOD, "pool_3": FEATURES, "feats": FEATURES + 1},
            "it holds pool_3 and feats, and they differ",
        ),
        (
            {"mu": MEAN, "sigma": COVARIANCE + 0.3j},
            r"sigma has an imaginary part of up to 0\.3 beside real .* 1\.\d+",
        ),
        ({"mu": MEAN + 1e-3j, "sigma": COVARIANCE}, r"mu has an imaginary part of up to 0\.001"),
        ({**GOOD, "count": -1}, "count is -1: a covariance is of at least 2 images"),
        ({**GOOD, "count": 0}, "count is 0: a covariance is of at least 2 images"),
        ({**GOOD, "count": 1}, "count is 1: a covariance is of at least 2 images"),
        ({**GOOD, "count": 2**31}, "count is 2147483648: .* fewer than 2,147,483,648"),
        ({**GOOD, "count": 199.5}, r"count is 199\.5, and should be a whole number"),
        ({**GOOD, "count": np.nan}, "count is nan, and should be a whole number"),
        (
            {**GOOD, "count": np.array([1, 2])},
            r"count should be one whole number, and is of shape \(2,\)",
        ),
        (
            {**GOOD, "count": np.array("200")},
            "count should be one whole number, and is of shape .* type <U3",
        ),
        (
            {**GOOD, "count": 4},
            "count is 4, and sigma has rank 6: of so many images it is at most 3",
        ),
        (
            {"pool_3": FEATURES, "count": 50_000},
            "count is 50000, and pool_3 holds the features of 200 images",
        ),
        (
            {"mu": MEAN[None], "sigma": COVARIANCE},
            r"shapes \(1, 6\) and \(6, 6\), not \(D,\) and \(D, D\)",
        ),
        ({"mu": MEAN, "sigma": COVARIANCE[:5]}, r"shapes \(6,\) and \(5, 6\)"),
        ({"mu": MEAN[:0], "sigma": COVARIANCE[:0, :0]}, r"shapes \(0,\) and \(0, 0\)"),
        (
            {"mu": MEAN, "sigma": ASYMMETRIC},
            r"not symmetric: sigma\[1, 2\] is .*, sigma\[2, 1\] is ",
        ),
        ({"mu": MEAN, "sigma": -COVARIANCE}, r"sigma has the negative eigenvalue -1\.\d+"),
        ({"mu": MEAN, "sigma": np.zeros((6, 6))}, "sigma is 0 everywhere"),
        ({"mu": MEAN * np.nan, "sigma": COVARIANCE}, "mu holds NaN or infinity"),
        ({"mu": MEAN, "sigma": COVARIANCE * np.inf}, "sigma holds NaN or infinity"),
        ({"mu": np.array(["a"] * 6), "sigma": COVARIANCE}, "mu is of type <U1, not of numbers"),
        (
            {**GOOD, "mu": MEAN + 5, "activations": FEATURES},
            r"mu\[0\] is .* features activations beside it",
        ),
        ({"pool_3": np.ones((20, 6))}, "pool_3 holds the same features 20 times"),
        ({"pool_3": FEATURES * 1e200}, "the covariance of pool_3 is beyond the largest number"),
        ({"mu": MEAN.astype(object), "sigma": COVARIANCE}, "it would run code when it is read"),
        ({"pool_3": FEATURES.astype(np.int64)}, "type int64, not .* of floats"),
        ({"pool_3": FEATURES[:1]}, r"pool_3 has shape \(1, 6\)"),
        ({"pool_3": FEATURES.astype(complex)}, "type complex128"),
        ({}, "it holds nothing, neither mu and sigma nor pool_3"),
        ({"sigma": COVARIANCE}, "it holds sigma, neither mu and sigma nor pool_3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_statistics_that_cannot_be_are_refused_with_file_and_numbers(
    tmp_path, capsys, arrays, told
):
    path = npz(tmp_path / "s.npz", **arrays)
    assert main(["reference", "import", str(path), "--store", str(tmp_path / "store")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: no reference statistics: ")
    assert re.search(told, said), said
    assert said.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'shape': 5}"]
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, capsys, content):
    (tmp_path / "s.npz").write_bytes(content)
    for path in (tmp_path / "s.npz", tmp_path, tmp_path / "none.npz"):
        assert main(["reference", "import", str(path), "--store", str(tmp_path / "store")]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"{path}: ")
        assert said.count("\n") == 1


def test_file_of_another_kind_is_refused_by_the_true_reason(tmp_path, capsys):
    for content, told in (
        (b'{"mu": [1]}', "it is no .npz file"),
        (b"\x80\x04}.", "it would run code when it is read"),
    ):
        (tmp_path / "s.npz").write_bytes(content)
        assert (
            main(
                ["reference", "import", str(tmp_path / "s.npz"), "--store", str(tmp_path / "store")]
            )
            == 1
        )
        assert capsys.readouterr().err == f"{tmp_path / 's.npz'}: no reference statistics: {told}\n"


def member(header, values=b""):
    content = header.ljust(118)[:117] + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content + values


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (member(b"{'shape': 5}"), "mu has a header without shape and type"),
        (
            member(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 6)}"),
            "480,000,000,000 bytes, and 0",
        ),
        (
            member(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
            "it would run code when it is read",
        ),
        (member(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "claims shape"),
        (b"no header", "mu has no header of an array"),
    ],
    ids=["no shape", "480 GB", "objects", "negative", "none"],
)
def test_headers_that_claim_what_is_not_there_are_one_line(tmp_path, capsys, content, told):
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("mu.npy", content)
    assert (
        main(["reference", "import", str(tmp_path / "s.npz"), "--store", str(tmp_path / "store")])
        == 1
    )
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 's.npz'}: no reference statistics: ")
    assert told in said
    assert said.count("\n") == 1


def test_import_says_how_many_images_the_statistics_are_of(tmp_path, capsys):
    few = np.random.default_rng(1).normal(size=(4, 6))
    files = {"known": {**GOOD, "count": 200}, "unknown": GOOD, "few": {"pool_3": few}}
    for name, arrays in files.items():
        path = npz(tmp_path / f"{name}.npz", **arrays)
        assert main(["reference", "import", str(path), "--store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr().out
    assert "known.npz: of 200 images, 6 dimensions\n" in said
    assert "unknown.npz: of an unknown number of images, 6 dimensions\n" in said
    assert (
        "few.npz: of 4 images, 6 dimensions; fewer images than dimensions: "
        "the covariance is singular\n" in said
    )


def test_statistics_of_another_extractor_are_refused_by_their_file_when_they_are_used(tmp_path):
    store = Store(tmp_path / "store")
    sha256 = import_statistics(store, npz(tmp_path / "paper.npz", **GOOD))
    data, request = load_images("digits"), ("fd", FrechetParams(statistics=sha256))
    with pytest.raises(ValueError, match=r"\(paper\.npz\) have 6 dimensions, the extractor has 24"):
        score([data.test], [request], data, references=References(store))


def test_what_is_imported_is_what_the_file_holds(tmp_path):
    store = Store(tmp_path / "store")
    sha256 = import_statistics(
        store, npz(tmp_path / "s.npz", mu=MEAN, sigma=COVARIANCE + 1e-9j, count=200)
    )
    found = References(store).imported(sha256, {"moments"}, 6).moments
    assert found.count == 200
    assert np.array_equal(found.statistics()[0], MEAN)
    assert np.array_equal(found.statistics()[1], COVARIANCE)


def test_single_array_is_no_file_of_statistics(tmp_path):
    content = io.BytesIO()
    np.save(content, FEATURES)
    (tmp_path / "s.npz").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"s\.npz: no reference statistics: it is a single array"):
        read_statistics(tmp_path / "s.npz")
