"""Images made elsewhere."""

import zipfile

import numpy as np
import pytest

from bench.data.external import count_images, digest_images
from bench.spec import ImagesSpec

ELSEWHERE = """\
name: study
dataset: digits
metrics: [fd]
samples: {count: 5}
train: {mine: {samples_from: mine.npz}}
"""


def test_images_made_elsewhere_are_a_point_without_a_sampler(read, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    suite = read(ELSEWHERE)
    (point,) = suite.points
    assert point.label == point.group == point.train == "mine"
    assert isinstance(point.sample, ImagesSpec)
    assert point.likelihood is None
    assert point.scores[0].source == point.sample
    assert suite.sources == {"mine": tmp_path / "mine.npz"}
    assert read(ELSEWHERE + "points: [{train: mine}]\n").points == suite.points


def test_images_made_elsewhere_lie_below_the_data_root_first(read, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    np.savez(tmp_path / "data" / "mine.npz", images=np.ones((5, 1, 8, 8), np.uint8))
    assert read(ELSEWHERE).sources == {"mine": tmp_path / "data" / "mine.npz"}


def test_images_that_are_missing_or_too_few_are_problems(wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (found,) = wrong(ELSEWHERE)
    places = f"{tmp_path / 'data' / 'mine.npz'} or at {tmp_path / 'mine.npz'}"
    assert (
        found
        == f'suite.yaml:5: train.mine.samples_from: nothing lies at {places} (value: "mine.npz")'
    )
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 1, 8, 8), np.uint8))
    (found,) = wrong(ELSEWHERE)
    assert "holds 4 images, and samples.count asks for 5" in found
    (tmp_path / "mine.npz").write_bytes(b"not a zip")
    (found,) = wrong(ELSEWHERE)
    assert "is not an .npz file that can be read" in found


def test_images_made_elsewhere_take_no_sampler(wrong, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((5, 1, 8, 8), np.uint8))
    (found,) = wrong(ELSEWHERE + "points: [{train: mine, sampler: heun}]\n")
    assert found.startswith(
        "suite.yaml:6: points.0.sampler: mine holds images made elsewhere, nothing to set"
    )


def test_images_are_counted_from_the_header_alone(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, labels=np.zeros(3), arr_0=np.zeros((7, 1, 2, 2)))
    assert count_images(path) == 7
    np.savez(path, a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(
        ValueError, match=r"should hold an array called images; .* \(arrays: a, b\)"
    ):
        count_images(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"cut")
    with pytest.raises(ValueError, match=r"is not an \.npz file that can be read"):
        count_images(path)


def test_digest_is_of_the_content_and_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    folder, cache = tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(name.encode())
    first = digest_images(folder, cache)
    assert digest_images(folder) == first
    with monkeypatch.context() as patch:
        patch.setattr("bench.data.digest._digest", lambda file: pytest.fail("was read again"))
        assert digest_images(folder, cache) == first
    (folder / "a.png").write_bytes(b"another")
    assert digest_images(folder, cache) != first
    (folder / "a.png").write_bytes(b"a.png")
    assert digest_images(folder, cache) == first


def test_cut_short_cache_is_read_over(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.digest.RECENT_SECONDS", -60)
    path, cache = tmp_path / "a.npz", tmp_path / "cache"
    np.savez(path, images=np.zeros((1, 1, 2, 2)))
    first = digest_images(path, cache)
    (known,) = cache.iterdir()
    known.write_text('{"path": ')
    assert digest_images(path, cache) == first
