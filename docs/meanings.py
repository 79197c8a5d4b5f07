"""Meanings of keys whose dataclass has no docstring entry for them, by generated part and key."""

from collections.abc import Mapping

_SPLIT = "A split of the data set: `test`, `train` or, where there is one, `validation`."
_DRAW = "Seed of the random draws."
_STAGE = "What the jobs of this stage ask for instead: keys of `resources`."
_SHAPING = {
    "path": "Where it lies, below the data root or else the working folder.",
    "size": "Height and width of the images in pixels.",
    "crop": (
        "Central square of a picture that is kept: a side in pixels, `center` for the largest one, "
        "`none` for pictures that are square already."
    ),
    "resize": "Pillow's filter that makes the square an image.",
    "channels": "3 for RGB, 1 for grey.",
}

MEANINGS: Mapping[str, Mapping[str, str]] = {
    "samples": {
        "count": "Images per point.",
        "batch": "Images that are made at a time; part of the key, since the noise depends on it.",
        "seeds": "Sample seeds: every training is sampled with each of them.",
        "quantise": (
            "How pixels become levels: to the nearest one, or cut off as some published code does; "
            "`none` for data sets of real values, and for them only."
        ),
        "precision": "Of the network's products and convolutions in sampling.",
    },
    "likelihood": {
        "images": "Held-out images whose bits/dim are computed, drawn at random by their content.",
        "batch": "Images at a time.",
        "split": _SPLIT,
        "seed": _DRAW,
    },
    "inspect": {
        "images": "Held-out images on which every model is inspected, drawn at random.",
        "split": _SPLIT,
        "seed": _DRAW,
    },
    "pictures image_folder": _SHAPING,
    "pictures lsun": {name: _SHAPING[name] for name in ("size", "crop", "resize")},
    "local executor": {"device": "Where networks run; `auto`: on a GPU if there is one."},
    "slurm executor": {
        "cluster": "What makes this the file of a SLURM cluster.",
        **dict.fromkeys(("train", "samples", "likelihood", "inspect", "scores"), _STAGE),
        "device": "Where networks run; `auto`: on a GPU if the job has one.",
        "tf32": "Let GPUs round the factors of float32 products and convolutions to TF32.",
        "compile": "Put networks through torch.compile, in training and sampling.",
        "checkpoint_seconds": "How often a training writes what it would resume from.",
    },
    "slurm resources": {
        "account": "Of sbatch; null: the cluster's default.",
        "qos": "Of sbatch; null: the cluster's default.",
    },
    "metric parameters": {
        "extractor": "Whose features (or class probabilities); the table of extractors below.",
        "splits": (
            "Contiguous parts that the images are cut into before averaging; 10 with the reference "
            "Inception."
        ),
        "backend": "Whose code computes the number from the features.",
        "reference": "The split of the data set that the samples are compared with.",
        "statistics": (
            "The sha256 of a file of statistics that `reference import` has read; it takes the "
            "place of the split."
        ),
        "subsets": "Random subsets over which the estimate is averaged.",
        "subset_size": "Images of each; of fewer images, all.",
        "neighbours": "The neighbour whose distance is the radius of an image's ball.",
        "sizes": "Subsets, of a tenth to all of the images, through which the line is laid.",
        "fraction": (
            "A near copy is nearer to one training image than this part of the distance to the "
            "second nearest."
        ),
    },
}
