"""CelebA's images against those of the authors' pipeline on one photograph."""

import numpy as np
from PIL import Image

from bench.data import celeba, pictures


def check_celeba(path, entry, manifest):
    """A made photograph of 178x218 pixels: the central 140 of them, by Pillow's bilinear filter to
    each size.
    """
    with np.load(path) as arrays:
        photograph = Image.fromarray(arrays["in/img"])
        sizes = [
            int(name.removeprefix("out/celeba_"))
            for name in arrays
            if name.startswith("out/celeba_")
        ]
        assert sizes
        for size in sizes:
            image = pictures.shape(photograph, celeba.SHAPINGS[size])
            pixels = np.asarray(image).transpose(2, 0, 1)
            np.testing.assert_array_equal(
                np.float32(pixels) / np.float32(255), arrays[f"out/celeba_{size}"]
            )


CHECKS = {"sde/preprocess_celeba": check_celeba}
