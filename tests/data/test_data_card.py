"""What a card of a user's own data set needs to say, and which files it is read from."""

import numpy as np
import pytest

from bench.data.card import DataCard
from bench.data.content import content
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.data.root import data_root

OWN = """
from bench.data.card import DataCard
from bench.data.root import data_root


def load(split):
    import numpy as np

    return np.load(data_root() / "faces.npz")[split]  # uint8, shape (N, 3, 64, 64)


FACES = DataCard(
    shape=(3, 64, 64), splits={"train": 4, "test": 2}, load=load, files={("faces.npz",): "ask us"}
)
"""


@pytest.fixture
def faces(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    names = {}
    exec(OWN, names)
    monkeypatch.setitem(DATASETS, "faces", names["FACES"])
    return tmp_path / "faces.npz"


def write(path, seed):
    draw = np.random.default_rng(seed)
    splits = {"train": 4, "test": 2}
    images = {name: draw.integers(0, 256, (n, 3, 64, 64), np.uint8) for name, n in splits.items()}
    np.savez(path, **images)
    return images


def test_a_data_set_of_ones_own_is_fifteen_lines_and_is_read_like_any_other(faces):
    assert len(OWN.strip().splitlines()) <= 15
    images = write(faces, seed=0)
    data = load_images("faces")
    np.testing.assert_array_equal(data.train, images["train"])
    assert data.batch(seed=0, k=0, size=3).shape == (3, 3, 64, 64)


def test_another_file_of_a_data_set_of_ones_own_is_another_content(faces):
    assert content("faces") is None  # nothing is there yet
    write(faces, seed=0)
    first = content("faces")
    write(faces, seed=1)
    assert first is not None
    assert content("faces") not in (None, first)


def test_files_of_a_card_without_sources_are_the_first_of_each_that_is_there(tmp_path):
    files = {("a.bin", "b.bin"): "get a", ("folder",): "get it"}
    card = DataCard(shape=(1, 2, 2), splits={"train": 1}, load=lambda split: None, files=files)
    (tmp_path / "b.bin").touch()
    with pytest.raises(FileNotFoundError, match=r"holds none of folder: get it"):
        card.source_files(tmp_path)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "1.bin").touch()
    assert card.source_files(tmp_path) == [
        tmp_path / "b.bin",
        tmp_path / "folder" / "inner" / "1.bin",
    ]


def test_data_lie_below_one_root(faces):
    assert data_root() == faces.parent
