"""The README's first figure, and the results that it is drawn from."""

import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import first_figure  # noqa: E402


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(first_figure.RESULTS, low_memory=False)


@pytest.mark.parametrize("name", first_figure.LINES)
def test_every_line_has_stored_results_and_shows_their_means(rows, name):
    train, sampler = first_figure.LINES[name]
    line = first_figure.series(rows, train, sampler)
    assert len(line) >= 3
    assert (line["min"] <= line["mean"]).all()
    stored = rows[(rows["train"] == train) & (rows["sampler"] == sampler)]
    at_most = stored[(stored["nfe"] == line["nfe"].max()) & stored["settings"].isna()]
    assert line["mean"].iloc[-1] == pytest.approx(at_most["exact_fd"].mean())


def test_a_group_that_lacks_a_sample_set_is_left_out(rows):
    some = rows.copy()
    first = some[(some["train"] == "vp") & (some["sampler"] == "flow_heun")].index[0]
    nfe = some.loc[first, "nfe"]
    some.loc[first, "state"] = "failed"
    line = first_figure.series(some, "vp", "flow_heun")
    assert nfe in first_figure.series(rows, "vp", "flow_heun")["nfe"].tolist()
    assert nfe not in line["nfe"].tolist()


def test_the_floor_is_that_of_true_points_by_the_closed_form():
    """Of n points of one Gaussian with covariance v I the error is tr S (d + 5) / (4 n) on average;
    of this mixture the mean's part, tr S / n, is a lower bound.
    """
    mixture = first_figure.DATASETS[first_figure.DATA].mixture()
    trace = mixture.moments()[1].trace()
    assert trace / first_figure.COUNT < first_figure.floor() < 10 * trace / first_figure.COUNT
