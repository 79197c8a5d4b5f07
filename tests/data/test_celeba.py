"""CelebA, on small files in the layout of its makers."""

import io
from dataclasses import replace

import numpy as np
import pytest
from made_pictures import encoded, picture, unpacked, zipped
from PIL import Image

from bench.data import celeba, pictures
from bench.data.images import Images, load_images
from bench.data.registry import DATASETS

SPLITS = {"train": 4, "validation": 2, "test": 3}


FACES = {f"{k:06}.jpg": encoded(picture(k)) for k in range(1, 10)}
PARTITION = "".join(
    f"{name} {part}\r\n" for name, part in zip(FACES, (0, 2, 0, 1, 0, 2, 0, 2, 1), strict=True)
)


@pytest.fixture
def faces(root, monkeypatch):
    """CelebA of nine photographs: the folder that its files lie in."""
    monkeypatch.setattr(celeba, "SPLITS", SPLITS)
    folder = root / "celeba"
    folder.mkdir()
    (folder / "list_eval_partition.txt").write_bytes(PARTITION.encode())
    return folder


def small_celeba(name="celeba64"):
    return Images(name, replace(DATASETS[name], splits=SPLITS))


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_faces_are_the_central_pixels_in_the_partitions_order(faces, form, size):
    if form == "zip":
        names = {f"img_align_celeba/{name}": content for name, content in reversed(FACES.items())}
        zipped(
            faces / "img_align_celeba.zip",
            {"img_align_celeba/": b"", **names, "img_align_celeba/readme.txt": b""},
        )
    else:
        unpacked(faces / "img_align_celeba", FACES)
    images = small_celeba(f"celeba{size}")
    assert [len(images.split(split)) for split in SPLITS] == [4, 2, 3]
    for row, number in enumerate((1, 3, 5, 7)):
        photograph = Image.open(io.BytesIO(FACES[f"{number:06}.jpg"]))
        small = photograph.crop((19, 39, 159, 179)).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(images.train[row].transpose(1, 2, 0), np.asarray(small))


def test_faces_are_converted_once_and_read_without_the_photographs_decoder(faces, monkeypatch):
    zipped(faces / "img_align_celeba.zip", FACES)
    first = small_celeba().train.copy()
    monkeypatch.setattr(pictures, "_image", lambda *arguments: pytest.fail("decoded again"))
    np.testing.assert_array_equal(small_celeba().train, first)


def test_the_exact_filter_is_part_of_what_the_faces_are():
    assert celeba.SHAPINGS[64].rule == "pictures 2: crop 140, bilinear to 64, 3 channels"
    assert celeba.SHAPINGS[32].rule == "pictures 2: crop 140, bilinear to 32, 3 channels"


def test_missing_and_damaged_faces_are_told_by_name_with_what_to_do(faces):
    how = r"get img_align_celeba\.zip .*md5 00d2c5bc6d35e252742224ab0c1e8fcb"
    with pytest.raises(
        FileNotFoundError, match=rf"holds none of celeba/img_align_celeba\.zip, .*{how}"
    ):
        small_celeba().train  # noqa: B018
    path = zipped(faces / "img_align_celeba.zip", {name: FACES[name] for name in list(FACES)[:4]})
    with pytest.raises(
        FileNotFoundError, match=rf"img_align_celeba\.zip: 000005\.jpg is missing.*{how}"
    ):
        small_celeba().train  # noqa: B018
    zipped(path, {**FACES, "000003.jpg": FACES["000003.jpg"][:2000]})
    with pytest.raises(
        ValueError,
        match=r"img_align_celeba\.zip: 000003\.jpg: cannot be decoded \(image file is trunc",
    ):
        small_celeba().train  # noqa: B018
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=r"img_align_celeba\.zip: is no zip archive that can be read"
    ):
        small_celeba().train  # noqa: B018
    (faces / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 3\n")
    with pytest.raises(
        ValueError, match=r"list_eval_partition\.txt:2: should be a name and 0, 1 or 2"
    ):
        small_celeba().train  # noqa: B018
    assert not list(faces.parent.glob("converted/*.npy"))


def test_face_missing_from_the_folder_is_told_by_name(faces):
    unpacked(
        faces / "img_align_celeba",
        {name: content for name, content in FACES.items() if name != "000007.jpg"},
    )
    with pytest.raises(FileNotFoundError, match=r"000007\.jpg.*get img_align_celeba\.zip"):
        small_celeba().train  # noqa: B018


def test_archive_of_other_counts_than_celebas_is_refused(faces):
    zipped(faces / "img_align_celeba.zip", FACES)
    with pytest.raises(
        ValueError,
        match=r"celeba64: split train has shape \(4, 3, 64, 64\), expected \(162770, 3, 64",
    ):
        load_images("celeba64").train  # noqa: B018
