"""What the numbers are of: data, images, device, commit, date, compute. The head of the report."""

import pandas as pd

from bench.data.registry import data_card
from bench.report.columns import SECONDS, joined
from bench.report.formats import number
from bench.report.results import Results

HOUR = 3600


def facts(results: Results) -> dict[str, str]:
    """Returns what stands below the verdict, by what it is; what is not known is left out."""
    rows = results.rows
    done = int((rows["state"] == "done").sum())
    known = {
        "data set": _dataset(results),
        "images": _images(rows),
        "rows": f"{len(results.board)}, of {len(rows)} points, {done} of them done",
        "seeds": _seeds(results.board),
        "device": joined(rows["device"].dropna()),
        "commit": _commit(rows),
        "date": max((text for text in rows["ended"].dropna() if text), default="")[:10],
        "device time": _hours(rows),
    }
    return {name: text for name, text in known.items() if text}


def _dataset(results: Results) -> str:
    if not results.dataset:
        return ""
    shape = " × ".join(map(str, data_card(results.dataset).shape))
    return f"{results.dataset} ({shape})"


def _images(rows: pd.DataFrame) -> str:
    counts = sorted(set(rows["count"].dropna().astype(int)))
    return " or ".join(f"{count:,}" for count in counts) + " a sample set" if counts else ""


def _seeds(board: pd.DataFrame) -> str:
    sampled = board[board["sampler"].notna()]
    pairs = zip(sampled["train_seeds"], sampled["sample_seeds"], strict=True)
    designs = [f"{trainings} × {seeds}" for trainings, seeds in sorted(set(pairs))]
    return f"{' or '.join(designs)} (trainings × sample seeds)" if designs else ""


def _commit(rows: pd.DataFrame) -> str:
    commits = joined(commit for commits in rows["commit"].dropna() for commit in commits)
    dirty = " with uncommitted changes" if rows["dirty"].fillna(False).any() else ""
    return f"{commits}{dirty}" if commits else ""


def _hours(rows: pd.DataFrame) -> str:
    """Returns the time that trainings and sampling took, of models and samples counted once."""
    training = rows.drop_duplicates("train_key")["training_seconds"].sum() / HOUR
    sets = rows.drop_duplicates("key")
    sampling = (sets[SECONDS] * sets["count"]).sum() / HOUR
    if not training + sampling:
        return ""
    return f"{number(training, 2)} h training, {number(sampling, 2)} h sampling"
