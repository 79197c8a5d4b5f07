"""The words of the report, each in a sentence or two: what a row is, what a metric measures, when a
difference is established.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.data.registry import data_card
from bench.metrics.extractor_cards import EXTRACTORS
from bench.report.columns import BITS, BITS_TITLE
from bench.report.formats import FRONT, MARKS, TIED, arrow
from bench.report.headline import STATUS
from bench.report.identity import hashes_of
from bench.report.results import Results
from bench.report.standing import ESTABLISHED, HINT
from bench.report.standing import TIED as NOT_APART
from bench.report.statistics import LEAST_VALUES
from bench.suite.claims import LEAST_PAIRS, LEAST_SEEDS, LEAST_TRAININGS


def terms(results: Results) -> dict[str, str]:
    """Returns what the words and marks of a report mean, by word, in the order of their first
    appearance.
    """
    return {**_numbers(results), **dict(_metrics(results)), **_statuses(results), **_marks(results)}


def _numbers(results: Results) -> dict[str, str]:
    return {
        "row": "a line of the leaderboard: one model with one sampler and its settings at one "
        "budget. Its numbers are means over its points.",
        "point": "one set of images that was sampled and scored: a row with one training seed and "
        f"one sample seed. {_design(results)}Each training counts once in a mean.",
        "NFE": "network evaluations per image, counted at the network call.",
        "budget": "the NFE that the suite allows. A sampler takes the most whole steps that fit: "
        "it may spend less. Rows are ranked among those of one budget, by the first metric, and of "
        "one identity of it, if all of their points are done.",
    }


def _design(results: Results) -> str:
    board = results.board[results.board["sampler"].notna()]
    pairs = sorted(set(zip(board["train_seeds"], board["sample_seeds"], strict=True)))
    if not pairs:
        return ""
    texts = [f"{trainings} × {seeds}" for trainings, seeds in pairs]
    return f"A row here has {' or '.join(texts)} points (trainings × sample seeds). "


def _metrics(results: Results) -> Iterator[tuple[str, str]]:
    """Yields what each metric measures and of how many images, and whose features it compares."""
    extractors: dict[str, str] = {}
    for name, card in results.metrics.items():
        known = [results.identities.get(short, {}) for short in hashes_of(results.board, name)]
        identity = next(iter(known), {})
        better = "higher" if card.higher_is_better else "lower"
        parts = [f"{card.summary}; {better} is better.", _sets(identity)]
        yield f"{name} {arrow(card.higher_is_better)}", " ".join(filter(None, parts))
        if label := str(identity.get("extractor") or ""):
            extractors[label] = _features(label)
    yield from ((label, text) for label, text in extractors.items() if text)


def _features(label: str) -> str:
    """Returns what an extractor is, and what the number in its name is; empty if it is not known.

    Args:
        label: Its name, as columns show it.
    """
    family, _, size = label.partition("@")
    if (card := EXTRACTORS.get(family)) is None:
        return ""
    text = f"whose features are compared: {card.summary}"
    if not size:
        return f"{text}."
    what = "axes" if card.projection else f"× {size} pixels of each image that it sees"
    return f"{text}. @{size}: {size} {what}."


def _sets(identity: Mapping[str, Any]) -> str:
    """Returns how many samples are compared with how many images of which split."""
    count, reference = identity.get("count"), identity.get("reference")
    if not count:
        return ""
    if not isinstance(reference, Mapping) or not {"images", "split"} <= set(reference):
        return f"{count:,} samples."
    split = {"train": "training", "test": "held-out"}.get(reference["split"], reference["split"])
    return f"{count:,} samples against {reference['images']:,} {split} images."


def _statuses(results: Results) -> dict[str, str]:
    claims = "none is stated in the suite: no difference was named before the run."
    if len(results.claims):
        claims = "differences that were named before the run, with verdicts of their own."
    established, hint, not_apart = (STATUS[status] for status in (ESTABLISHED, HINT, NOT_APART))
    return {
        established: "the difference is significant at 5 % for other trainings and other sample "
        "seeds. Its p is the largest of a t test with the error of the interval, a permutation of "
        "the trainings (signs of the pairs, where both rows share theirs) and a t test over the "
        "sample seeds, after Holm's correction: over the budgets for the leads above, over all "
        f"rows for the others. A test takes {LEAST_TRAININGS} trainings of each row "
        f"({LEAST_PAIRS} if shared) and {LEAST_SEEDS} sample seeds; of exact scores, {LEAST_PAIRS} "
        f"sample seeds.",
        hint: "a difference was measured, but trainings, sample seeds or images are too few for "
        "that test, or the test does not find it: it may be chance.",
        not_apart: f"the 95 % interval of the difference holds 0 ({TIED} in tables): either may be "
        "the better one. It does not say that they are equal.",
        "claims": claims,
    }


def _marks(results: Results) -> dict[str, str]:
    known = {
        "± and [ ]": "±: half the width of the 95 % interval of a mean; [ ]: the interval of a "
        f"difference; both for other trainings and other sample seeds. {MARKS['sample seeds']}: "
        f"for other sample seeds of these trainings only; {MARKS['trainings']}: for other "
        f"trainings with this one sample seed only. ( ): the values of fewer than {LEAST_VALUES} "
        "trainings and sample seeds, which have no interval. Intervals of metrics with bounds are "
        "taken in logarithms (one bound) or logits (two).",
        FRONT: "on the Pareto front: no row is at least as good for as little NFE, or for as few "
        "GFLOPs.",
        "ms/image": "of warm batches only, on the device that is named; it depends on the machine. "
        "Compute: operations of one call of the network times the calls.",
    }
    if results.board[BITS].notna().any():
        known[BITS_TITLE] = (
            "negative log-likelihood of held-out images, per dimension; ±: standard error over "
            "the images scored, which every training shares. Processes have unlike floors "
            "(identities), and a bound is not an exact value."
        )
        if _is_real(results.dataset):
            known[BITS_TITLE] += (
                " Real values are not dequantised: it is that of their density in [0, 1], which "
                "may be below 0."
            )
    return known


def _is_real(dataset: str) -> bool:
    try:
        return data_card(dataset).kind == "real"
    except (KeyError, ValueError):
        return False
