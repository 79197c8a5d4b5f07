"""What trackers are sent of metrics."""

from types import SimpleNamespace

import pytest
from synthetic_results import FD, SMALL, complete, results_of, suite_of

from bench.cli.track import numbers
from bench.store import Store


def test_a_metric_is_sent_as_the_mean_over_sample_seeds_once_all_of_them_are_done(tmp_path):
    suite, store = suite_of(SMALL, tmp_path), Store(tmp_path / "store")

    def sent():
        study = SimpleNamespace(suite=suite, store=store)
        found = dict(numbers(results_of(suite, store), study))
        return {
            (run, value.series, value.images): value.value
            for run, values in found.items()
            for value in values
            if value.series not in ("loss", "heldout_loss")
        }

    first = suite.points[0]
    group = [point for point in suite.points if point.group == first.group]
    own = [point for point in group if point.sample.model == first.sample.model]
    assert len(own) > 1
    complete(store, suite, own[:-1])
    assert sent() == {}
    complete(store, suite, own)
    rows = results_of(suite, store).rows
    seed = first.sample.model.seed
    rows = rows.loc[(rows["group"] == first.group) & (rows["train_seed"] == seed)]
    run = f"{first.train} seed {seed}"
    series = f"{FD}/{first.group.partition(' · ')[2]}"
    images = int(rows["training_images"].iloc[0])
    assert sent()[run, series, images] == pytest.approx(rows[FD].mean())
