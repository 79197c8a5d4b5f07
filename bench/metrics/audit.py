"""Do the metrics say what they should? Known damage in a known order, and the same features through
other libraries.

The sanity suite compares a data set's held-out images, damaged more and more, with its training
images: distances must rise along each ladder (noise, blur, JPEG, mode collapse), by more than real
images scatter; precision must be lower with noise and recall with collapse; equal sets must be at
distance 0; images without colour and one constant image must be far off; NaN, a single image and
values out of range must be refused.

The audit computes the same numbers from the same features by this project's code, torch-fidelity
and clean-fid.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from bench.data.images import Images
from bench.metrics.card import MetricCard
from bench.metrics.extractor_cards import extractor_card
from bench.metrics.extractors import load_extractor
from bench.metrics.floor import real_floor
from bench.metrics.frechet import frechet_of_moments
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


@dataclass(frozen=True)
class Finding:
    """One fact that was checked: what was found, and whether it is as it should be (None: shown,
    not judged).
    """

    what: str
    found: str
    right: bool | None


Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def noise(part: float, levels: int) -> Damage:
    """Returns what adds Gaussian noise of a deviation of ``part`` of the range."""
    return lambda images, draws: _levels(
        images + draws.normal(0, part * (levels - 1), images.shape), levels
    )


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
        Image.fromarray(pixels[0] if grey else pixels.transpose(1, 2, 0)).save(
            buffer, "JPEG", quality=quality
        )
        back = np.asarray(Image.open(buffer), np.float64) * ((levels - 1) / 255)
        return back[None] if grey else back.transpose(2, 0, 1)

    return lambda images, draws: _levels(np.stack([one(image) for image in images]), levels)


def collapse(kept: int) -> Damage:
    """Returns what repeats the first ``kept`` images."""
    return lambda images, draws: images[np.arange(len(images)) % kept]


def colourless(levels: int) -> Damage:
    """Returns what takes an image's colours away."""
    return lambda images, draws: _levels(
        np.repeat(images.mean(1, keepdims=True), images.shape[1], 1), levels
    )


def constant(levels: int) -> Damage:
    """Returns what puts mid-grey in every image's place."""
    return lambda images, draws: np.full_like(images, (levels - 1) // 2)


def _levels(images: np.ndarray, levels: int) -> np.ndarray:
    return np.clip(np.rint(images), 0, levels - 1).astype(np.uint8)


def ladders(data: Images, count: int) -> dict[str, list[tuple[str, Damage]]]:
    """Returns damages by kind, each from little to much."""
    levels = data.levels
    return {
        "noise": [(f"{part:g}", noise(part, levels)) for part in (1 / 16, 1 / 8, 1 / 4, 1 / 2)],
        "blur": [(f"{part:g}", blur(part, levels)) for part in (1 / 16, 1 / 11, 1 / 8, 1 / 4)],
        "JPEG": [(f"q{quality}", jpeg(quality, levels)) for quality in (75, 30, 10, 3)],
        "collapse": [
            (f"{kept} images", collapse(kept)) for kept in (count // 4, count // 16, 5, 1)
        ],
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
    def __init__(
        self,
        data: Images,
        extractor: str,
        count: int,
        device: str,
        references: References,
        seed: int,
    ) -> None:
        self.data, self.extractor, self.device, self.references = (
            data,
            extractor,
            device,
            references,
        )
        self.real = data.drawn("test", slice(count))
        self.seed = seed
        card = extractor_card(extractor)
        names = ["fd", "kd", "precision", "recall"] + (["is"] if card.classes else [])
        self.requests = {name: (name, self._params(METRICS[name])) for name in names}
        self.columns = {
            name: METRICS[name].column(params) for name, params in self.requests.values()
        }
        self.at_real = self.values(self.real)
        half = max(2, count // 2)
        self.slack = {name: 2 * self._deviation(name, half) for name in names if name != "is"}

    def _params(self, card: MetricCard) -> Any:
        params = card.params(extractor=self.extractor)
        return replace(params, allow_few=True) if hasattr(params, "allow_few") else params

    def _deviation(self, name: str, half: int) -> float:
        _, params = self.requests[name]
        options = {
            "split": "test",
            "draws": 5,
            "device": self.device,
            "references": self.references,
        }
        return real_floor(name, params, self.data, half, **options).std

    def values(self, images: np.ndarray) -> dict[str, float]:
        found = score(
            [images],
            list(self.requests.values()),
            self.data,
            device=self.device,
            references=self.references,
        )
        return {name: one.value for name, one in zip(self.requests, found, strict=True)}

    def damaged(self, damage: Damage) -> dict[str, float]:
        return self.values(damage(self.real, np.random.default_rng(self.seed)))

    def equal_sets(self) -> Iterator[Finding]:
        found = self.values(np.ascontiguousarray(self.data.train))
        spread = 2 * np.trace(self._reference("moments").moments.statistics()[1])
        near = abs(found["fd"]) <= AGREEMENT * spread
        yield Finding(f"{self.columns['fd']} of equal sets is 0", f"{found['fd']:.3g}", near)
        yield Finding(
            f"{self.columns['precision']} of equal sets is 1",
            f"{found['precision']:.3g}",
            found["precision"] == 1,
        )
        yield Finding(
            f"{self.columns['recall']} of equal sets is 1",
            f"{found['recall']:.3g}",
            found["recall"] == 1,
        )
        for name, value in self.at_real.items():
            slack = f" ± {self.slack[name] / 2:.2g}" if name in self.slack else ""
            yield Finding(f"{self.columns[name]} of real images", f"{value:.4g}{slack}", None)

    def ladders(self) -> Iterator[Finding]:
        for kind, rungs in ladders(self.data, len(self.real)).items():
            found = [self.at_real] + [self.damaged(damage) for _, damage in rungs]
            steps = ", ".join(["real", *(name for name, _ in rungs)])
            for name in ("fd", "kd"):
                values = [one[name] for one in found]
                right = ordered(values, self.slack[name])
                yield Finding(
                    f"{self.columns[name]} rises with {kind} ({steps})", _listed(values), right
                )
            if (name := {"noise": "precision", "collapse": "recall"}.get(kind)) is not None:
                real, *values = (one[name] for one in found)
                right = max(values) < real - self.slack[name]
                what = f"{self.columns[name]} is lower with {kind} ({steps})"
                yield Finding(what, _listed([real, *values]), right)

    def far_off(self) -> Iterator[Finding]:
        kinds = {"one constant image": constant(self.data.levels)}
        if self.data.shape[0] == 3:
            kinds["images without colour"] = colourless(self.data.levels)
        for kind, damage in kinds.items():
            found = self.damaged(damage)
            for name in ("fd", "kd"):
                right = found[name] > self.at_real[name] + self.slack[name]
                yield Finding(
                    f"{self.columns[name]} of {kind} is beyond that of real ones",
                    f"{found[name]:.4g}",
                    right,
                )
            if kind == "one constant image" and "is" in found:
                yield Finding(
                    f"{self.columns['is']} of {kind} is 1",
                    f"{found['is']:.6g}",
                    abs(found["is"] - 1) < 1e-6,
                )

    def refusals(self) -> Iterator[Finding]:
        few = (self.requests["fd"][0], replace(self.requests["fd"][1], allow_few=False))
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
                score([images], [few], self.data, device=self.device, references=self.references)
            except ValueError as error:
                yield Finding(f"{kind}: refused", str(error)[:90], True)
            else:
                yield Finding(f"{kind}: refused", "a number was given", False)

    def backends(self) -> Iterator[Finding]:
        extractor = load_extractor(self.extractor, self.device, self.data)
        uses = (
            ("moments", "features", "log_probs")
            if extractor.card.classes
            else ("moments", "features")
        )
        reference = self._reference("moments", "features")
        blurred = blur(1 / 8, self.data.levels)(self.real, np.random.default_rng(self.seed))
        for kind, images in (("real", self.real), ("blurred", blurred)):
            samples = Summary(uses, len(images))
            samples.add(extractor(images))
            yield from self._compared(kind, samples, reference)

    def _compared(self, kind: str, samples: Summary, reference: Summary) -> Iterator[Finding]:
        sides = (*samples.moments.statistics(), *reference.moments.statistics())
        spread = np.trace(sides[1]) + np.trace(sides[3])
        own, column = frechet_of_moments(samples.moments, reference.moments), self.columns["fd"]
        theirs = fid_of_torch_fidelity(*sides)
        apart = abs(own - theirs) / spread
        text = f"{own:.10g} and {theirs:.10g}: {apart:.1e} of tr(S1 + S2)"
        yield Finding(
            f"{column} of {kind} images: own and torch-fidelity", text, apart <= AGREEMENT
        )
        try:
            theirs = fid_of_clean_fid(*sides)
        except ValueError as error:
            yield Finding(f"{column} of {kind} images: own and clean-fid", str(error), None)
        else:
            apart = abs(own - theirs) / spread
            full = min(samples.count, reference.moments.count) > len(sides[0])
            text = f"{own:.10g} and {theirs:.10g}: {apart:.1e} of tr(S1 + S2)"
            text += (
                "" if full else "; fewer images than dimensions: its square root is not sound there"
            )
            yield Finding(
                f"{column} of {kind} images: own and clean-fid",
                text,
                apart <= AGREEMENT if full else None,
            )
        size = min(1000, samples.count, len(reference.features))
        pair = [
            compute(samples.features, reference.features, 100, size)
            for compute in (kid_of_torch_fidelity, kid_of_clean_fid)
        ]
        text = f"{pair[0]:.6g} and {pair[1]:.6g}, each over 100 random subsets of {size}"
        yield Finding(
            f"{self.columns['kd']} of {kind} images: torch-fidelity and clean-fid", text, None
        )
        if "is" in self.requests:
            own = self.values_of_classes(samples)
            theirs = is_of_torch_fidelity(samples.log_probs, 1)
            text = f"{own:.10g} and {theirs:.10g}: {abs(own - theirs) / theirs:.1e} apart"
            right = abs(own - theirs) <= AGREEMENT * theirs
            yield Finding(
                f"{self.columns['is']} of {kind} images: own and torch-fidelity", text, right
            )

    @staticmethod
    def values_of_classes(samples: Summary) -> float:
        from bench.metrics.inception import Classes

        classes = Classes(1)
        classes.add(samples.log_probs)
        return classes.score()

    def _reference(self, *uses: str) -> Summary:
        extractor = load_extractor(self.extractor, self.device, self.data)
        return self.references.get(self.data, "train", extractor, uses)


def ordered(values: Sequence[float], slack: float) -> bool:
    """Whether values rise, none by less than minus the slack, and by more than the slack in all."""
    steps = all(after > before - slack for before, after in pairwise(values))
    return steps and values[-1] > values[0] + slack


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
