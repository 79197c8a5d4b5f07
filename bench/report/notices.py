"""What a reader has to know before the tables: warnings, parts of sets, missing provenance."""

from bench.data.gallery_files import equal_pictures
from bench.data.registry import data_card
from bench.report.identity import used
from bench.report.results import Results


def notices(results: Results) -> list[str]:
    """Returns the lines above the tables, most important first."""
    return [
        *([f"Warning: {results.uncontrolled}."] if results.uncontrolled else []),
        *_one_seed(results),
        *in_both_splits(results.dataset),
        *_few_images(results),
        *results.drawn,
        *_unproven(results),
    ]


def in_both_splits(dataset: str) -> list[str]:
    """Returns a line if held-out pictures of a data set equal ones for training."""
    try:
        count = equal_pictures(dataset)
    except (OSError, ValueError) as error:
        return [f"Whether held-out pictures equal ones for training is not known: {error}."]
    if not count:
        return []
    held_out = data_card(dataset).splits["test"]
    return [
        f"Warning: {count:,} of {held_out:,} held-out pictures equal a training picture, pixel by "
        "pixel as they are used: held-out numbers are too good by them."
    ]


def _one_seed(results: Results) -> list[str]:
    """Returns a line that counts the groups of a model that were sampled with one seed."""
    sampled = results.board[results.board["train_keys"] != ""]
    one = int((sampled["sample_seeds"] == 1).sum())
    text = f"{one} of {len(sampled)} groups say nothing of what other sample seeds would give."
    return [f"One sample seed: {text}"] if one else []


def _few_images(results: Results) -> list[str]:
    """Returns a line for each metric whose value means nothing for so few images."""
    lines = []
    for name, short in used(results.rows):
        identity = results.identities[short]
        least = identity.get("least_count", 0)
        if least > identity.get("count", least):
            count = identity["count"]
            lines.append(
                f"Too few images: {name} on {count} is a smoke test, not evidence; it needs "
                f"{least}."
            )
    return lines


def _unproven(results: Results) -> list[str]:
    """Returns a line that counts the rows whose numbers are of unknown code, by what lacks it."""
    lacking = [unproven for unproven in results.rows["unproven"] if unproven]
    if not lacking:
        return []
    causes = dict.fromkeys(stage for unproven in lacking for stage in unproven)
    return [
        f"Without provenance: {len(lacking)} of {len(results.rows)} rows hold results that name no "
        f"commit ({', '.join(causes)}); see column unproven of results.csv."
    ]
