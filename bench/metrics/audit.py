"""Checks of the metrics: known damage in a known order, the same features in other libraries.

The sanity suite compares a data set's held-out images, damaged more and more, with its training
images: distances must rise along each ladder (noise, blur, JPEG, mode collapse), by more than real
images scatter; likewise precision must fall with noise and recall with collapse; equal sets must be
at distance 0; images without colour and one constant image must be far off; NaN, a single image and
values out of range must be refused.

The audit computes the same numbers from the same features by this project's code, torch-fidelity
and clean-fid.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from bench.data.images import Images
from bench.frozen import dataclass
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.extractors import load_extractor
from bench.metrics.floor import real_floor
from bench.metrics.frechet import frechet_of_moments
from bench.metrics.inception import Classes
from bench.metrics.libraries import (
    fid_of_clean_fid,
    fid_of_torch_fidelity,
    is_of_torch_fidelity,
    kid_of_clean_fid,
    kid_of_torch_fidelity,
)
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.metrics.scoring import IN_MEMORY, score
from bench.metrics.summary import Summary

AGREEMENT = 1e-6
"""Largest difference between own distance and torch-fidelity's, in units of tr(S1 + S2)."""

FALLS_WITH = {"noise": ("precision",), "collapse": ("recall",)}
"""What falls along which ladder."""

UNSOUND = "; fewer images than dimensions: its square root is not sound there"


@dataclass(frozen=True)
class Finding:
    """One fact: what was found, and whether it is as it should be (None: reported only)."""

    what: str
    found: str
    right: bool | None


Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(part: float, levels: int) -> Damage:
    """Returns what adds Gaussian noise of a deviation of ``part`` of the range."""
    std = part * (levels - 1)
    return lambda images, draws: _levels(images + draws.normal(0, std, images.shape), levels)


def blur(part: float, levels: int) -> Damage:
    """Returns what blurs by a Gaussian of ``part`` of the width."""

    def damage(images: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        width = part * images.shape[-1]
        return _levels(gaussian_filter(images.astype(np.float64), (0, 0, width, width)), levels)

    return damage


def jpeg(quality: int, levels: int) -> Damage:
    """Returns what writes and reads JPEG."""
    from PIL import Image

    def one(image: np.ndarray) -> np.ndarray:
        grey = len(image) == 1
        pixels = np.rint(image * (255 / (levels - 1))).astype(np.uint8)
        buffer = io.BytesIO()
        picture = Image.fromarray(pixels[0] if grey else pixels.transpose(1, 2, 0))
        picture.save(buffer, "JPEG", quality=quality)
        back = np.asarray(Image.open(buffer), np.float64) * ((levels - 1) / 255)
        return back[None] if grey else back.transpose(2, 0, 1)

    return lambda images, draws: _levels(np.stack([one(image) for image in images]), levels)


def collapse(kept: int) -> Damage:
    """Returns what repeats the first ``kept`` images."""
    return lambda images, draws: images[np.arange(len(images)) % kept]


def colourless(levels: int) -> Damage:
    """Returns what removes an image's colours."""

    def damage(images: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        return _levels(np.repeat(images.mean(1, keepdims=True), images.shape[1], 1), levels)

    return damage


def constant(levels: int) -> Damage:
    """Returns what puts mid-grey in every image's place."""
    return lambda images, draws: np.full_like(images, (levels - 1) // 2)


def _levels(images: np.ndarray, levels: int) -> np.ndarray:
    return np.clip(np.rint(images), 0, levels - 1).astype(np.uint8)


def ladders(data: Images, count: int) -> dict[str, list[tuple[str, Damage]]]:
    """Returns damages by kind, each from little to much."""
    levels, kept = data.levels, (count // 4, count // 16, 5, 1)
    return {
        "noise": [(f"{part:g}", noise(part, levels)) for part in (1 / 16, 1 / 8, 1 / 4, 1 / 2)],
        "blur": [(f"{part:g}", blur(part, levels)) for part in (1 / 16, 1 / 11, 1 / 8, 1 / 4)],
        "JPEG": [(f"q{quality}", jpeg(quality, levels)) for quality in (75, 30, 10, 3)],
        "collapse": [(f"{number} images", collapse(number)) for number in kept],
    }


def check(
    data: Images,
    extractor: str,
    *,
    count: int = 500,
    device: str = "cpu",
    references: References = IN_MEMORY,
    seed: int = 0,
) -> Iterator[Finding]:
    """Yields the findings of the sanity suite and of the audit, as they are made.

    Args:
        data: The data set; held-out images are damaged, training images are the reference.
        extractor: In whose features.
        count: Held-out images at most.
        device: Where the extractor runs.
        references: Where statistics of real images are kept.
        seed: Of the noise.
    """
    suite = _Suite(data, extractor, min(count, len(data.test)), device, references, seed)
    yield from suite.equal_sets()
    yield from suite.ladders()
    yield from suite.far_off()
    yield from suite.refusals()
    yield from suite.backends()


class _Suite:
    """The checks of :func:`check`, one method each."""

    def __init__(
        self,
        data: Images,
        extractor: str,
        count: int,
        device: str,
        references: References,
        seed: int,
    ) -> None:
        self.data, self.extractor, self.seed = data, extractor, seed
        self.where: dict[str, Any] = {"device": device, "references": references}
        self.real = data.drawn("test", slice(count))
        card = extractor_card(extractor)
        names = ["fd", "kd", "precision", "recall"] + (["is"] if card.classes else [])
        self.params = {name: METRICS[name].params(extractor=extractor) for name in names}
        self.refusing_few = self.params["fd"]
        self.params["fd"] = replace(self.refusing_few, allow_few=True)
        self.columns = {name: METRICS[name].column(self.params[name]) for name in names}
        self.at_real = self.values(self.real)
        half = max(2, count // 2)
        self.slack = {name: 2 * self._deviation(name, half) for name in names if name != "is"}

    def _deviation(self, name: str, half: int) -> float:
        options = {"split": "test", "draws": 5, **self.where}
        return real_floor(name, self.params[name], self.data, half, **options).std

    def values(self, images: np.ndarray) -> dict[str, float]:
        """Returns the value of every metric."""
        measured = score([images], list(self.params.items()), self.data, **self.where)
        return {name: one.value for name, one in zip(self.params, measured, strict=True)}

    def damaged(self, damage: Damage) -> dict[str, float]:
        """Returns the value of every metric of damaged held-out images."""
        return self.values(damage(self.real, np.random.default_rng(self.seed)))

    def equal_sets(self) -> Iterator[Finding]:
        values = self.values(np.ascontiguousarray(self.data.train))
        spread = 2 * np.trace(self._reference("moments").moments.statistics()[1])
        near = abs(values["fd"]) <= AGREEMENT * spread
        yield Finding(f"{self.columns['fd']} of equal sets is 0", f"{values['fd']:.3g}", near)
        for name in ("precision", "recall"):
            what, value = f"{self.columns[name]} of equal sets is 1", values[name]
            yield Finding(what, f"{value:.3g}", value == 1)
        for name, value in self.at_real.items():
            slack = f" ± {self.slack[name] / 2:.2g}" if name in self.slack else ""
            yield Finding(f"{self.columns[name]} of real images", f"{value:.4g}{slack}", None)

    def ladders(self) -> Iterator[Finding]:
        for kind, rungs in ladders(self.data, len(self.real)).items():
            found = [self.at_real] + [self.damaged(damage) for _, damage in rungs]
            steps = ", ".join(["real", *(name for name, _ in rungs)])
            for name in ("fd", "kd"):
                values = [one[name] for one in found]
                what = f"{self.columns[name]} rises with {kind} ({steps})"
                yield Finding(what, _listed(values), ordered(values, self.slack[name]))
            for name in FALLS_WITH.get(kind, ()):
                values = [one[name] for one in found]
                what = f"{self.columns[name]} falls with {kind} ({steps})"
                right = ordered([-value for value in values], self.slack[name])
                yield Finding(what, _listed(values), right)

    def far_off(self) -> Iterator[Finding]:
        kinds = {"one constant image": constant(self.data.levels)}
        if self.data.shape[0] == 3:
            kinds["images without colour"] = colourless(self.data.levels)
        for kind, damage in kinds.items():
            values = self.damaged(damage)
            for name in ("fd", "kd"):
                what = f"{self.columns[name]} of {kind} is beyond that of real ones"
                right = values[name] > self.at_real[name] + self.slack[name]
                yield Finding(what, f"{values[name]:.4g}", right)
            if kind == "one constant image" and "is" in values:
                what, value = f"{self.columns['is']} of {kind} is 1", values["is"]
                yield Finding(what, f"{value:.6g}", abs(value - 1) < 1e-6)

    def refusals(self) -> Iterator[Finding]:
        bad = {
            "NaN": self.real.astype(np.float32) * np.nan,
            "real values": self.real / 7.0,
            "a single image": self.real[:1],
            "another number of channels": np.repeat(self.real, 2, axis=1),
            "no images": self.real[:0],
        }
        if self.data.levels < 256:
            bad["levels out of range"] = np.full_like(self.real, self.data.levels)
        for kind, images in bad.items():
            try:
                score([images], [("fd", self.refusing_few)], self.data, **self.where)
            except ValueError as error:
                yield Finding(f"{kind}: refused", str(error)[:90], True)
            else:
                yield Finding(f"{kind}: refused", "a number was given", False)

    def backends(self) -> Iterator[Finding]:
        extractor = load_extractor(self.extractor, self.where["device"], self.data)
        uses = ("moments", "features", *(("log_probs",) if extractor.card.classes else ()))
        reference = self._reference("moments", "features")
        blurred = blur(1 / 8, self.data.levels)(self.real, np.random.default_rng(self.seed))
        for kind, images in (("real", self.real), ("blurred", blurred)):
            samples = Summary(uses, len(images))
            samples.add(extractor(images))
            yield from self._compared(kind, samples, reference)

    def _compared(self, kind: str, samples: Summary, reference: Summary) -> Iterator[Finding]:
        sides = (*samples.moments.statistics(), *reference.moments.statistics())
        spread = np.trace(sides[1]) + np.trace(sides[3])
        own = frechet_of_moments(samples.moments, reference.moments)
        full = min(samples.count, reference.moments.count) > len(sides[0])
        of = {name: f"{column} of {kind} images" for name, column in self.columns.items()}
        for library, compute, sound, why in (
            ("torch-fidelity", fid_of_torch_fidelity, True, ""),
            ("clean-fid", fid_of_clean_fid, full, UNSOUND),
        ):
            what = f"{of['fd']}: own and {library}"
            try:
                theirs = compute(*sides)
            except ValueError as error:
                yield Finding(what, str(error), None if why else False)
                continue
            apart = abs(own - theirs) / spread
            text = f"{own:.10g} and {theirs:.10g}: {apart:.1e} of tr(S1 + S2)"
            text += "" if sound else why
            yield Finding(what, text, apart <= AGREEMENT if sound else None)
        size = min(1000, samples.count, len(reference.features))
        pair = [
            compute(samples.features, reference.features, 100, size)
            for compute in (kid_of_torch_fidelity, kid_of_clean_fid)
        ]
        text = f"{pair[0]:.6g} and {pair[1]:.6g}, each over 100 random subsets of {size}"
        yield Finding(f"{of['kd']}: torch-fidelity and clean-fid", text, None)
        if "is" in self.params:
            classes = Classes(1)
            classes.add(samples.log_probs)
            own, theirs = classes.score(), is_of_torch_fidelity(samples.log_probs, 1)
            text = f"{own:.10g} and {theirs:.10g}: {abs(own - theirs) / theirs:.1e} apart"
            right = abs(own - theirs) <= AGREEMENT * theirs
            yield Finding(f"{of['is']}: own and torch-fidelity", text, right)

    def _reference(self, *uses: str) -> Summary:
        extractor = load_extractor(self.extractor, self.where["device"], self.data)
        return self.where["references"].get(self.data, "train", extractor, uses)


def ordered(values: Sequence[float], slack: float) -> bool:
    """Returns whether values rise: no step down by the slack, and by more than that in all."""
    steps = all(after > before - slack for before, after in pairwise(values))
    return steps and values[-1] > values[0] + slack


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
