"""The metrics of a suite: counts that they need, columns, shorthands."""

import pytest
from synthetic_suite import GOOD, with_line

from bench.metrics.registry import METRICS as ALL_METRICS


@pytest.mark.parametrize(
    ("metric", "count", "message"),
    [
        (
            "{metric: fd, allow_few: true}",
            1,
            "fd(digits-cnn@8) needs 2 images, and samples.count asks for 1 "
            '(value: {"metric": "fd", "allow_few": true})',
        ),
        (
            "fd",
            23,
            "fd(digits-cnn@8) needs 24 images, and samples.count asks for 23: its covariance has "
            "24 dimensions, "
            "and fewer images leave it singular; ask for more, take an extractor of fewer "
            "dimensions (digits-cnn, "
            'pca@K), use kd, or say allow_few: true (value: "fd")',
        ),
        (
            "{metric: is, splits: 10}",
            9,
            "is(digits-cnn@8, 10 splits) needs 10 images, and samples.count asks for 9 "
            '(value: {"metric": "is", "splits": 10})',
        ),
    ],
)
def test_metric_that_so_few_images_do_not_have_is_refused(wrong, metric, count, message):
    text = with_line(3, f"metrics: [{metric}]").replace(
        "count: 256, batch: 128", f"count: {count}, batch: 1"
    )
    assert wrong(text, metrics=ALL_METRICS) == [f"suite.yaml:3: metrics.0: {message}"]


def test_trial_run_leaves_out_a_metric_that_its_few_images_do_not_have(read):
    text = with_line(3, "metrics: [fd, {metric: is, splits: 10}]")
    suite = read(text, metrics=ALL_METRICS, smoke=True)
    assert [metric.column for metric in suite.metrics] == ["fd(digits-cnn@8)"]
    assert (
        "is(digits-cnn@8, 10 splits): left out of the trial run, whose 4 images are not the 10"
        in suite.notes
    )
    assert len(read(text, metrics=ALL_METRICS).metrics) == 2


def test_metrics_with_parameters_have_columns_of_their_own(read):
    suite = read(with_line(3, "metrics: [fd, {metric: fd, reference: test}]"))
    assert [metric.column for metric in suite.metrics] == ["fd(train)", "fd(test)"]
    assert [score.params for score in suite.points[0].scores] == [{}, {"reference": "test"}]
    assert suite.points[0].scores[0].source is suite.points[0].sample


def test_suite_may_have_no_metrics_and_then_has_no_scores(read):
    suite = read(with_line(3, "metrics: []"))
    assert suite.metrics == ()
    assert all(point.scores == () for point in suite.points)


def test_count_below_what_a_metric_asks_for_is_noted(read):
    notes = read(with_line(4, "samples: {count: 100, batch: 100}")).notes
    assert notes == ("fd(train): 100 images are few, 240 are asked for evidence",)


def test_trial_run_takes_too_few_images_for_a_distance_where_they_are_its_own_few(read):
    """A trial run exercises the path; its few images are no reason to leave the metric out."""
    suite = read(GOOD.replace("[fd]", "[fd, kd]"), metrics=ALL_METRICS, smoke=True)
    (fd, kd) = suite.metrics
    assert (fd.column, fd.params) == ("fd(digits-cnn@8)", {"allow_few": True})
    assert kd.params == {}


def test_shorthands_stand_for_metrics_of_the_reference_inception(read):
    text = GOOD.replace("dataset: digits", "dataset: faces").replace(
        "likelihood: {images: 64}\n", ""
    )
    text = text.replace(
        "[fd]", "[{metric: fid, allow_few: true}, is, kid, prc, {metric: prc, neighbours: 5}]"
    )
    suite = read(text, metrics=ALL_METRICS)
    assert [metric.column for metric in suite.metrics] == [
        *("FID", "IS", "KID", "precision", "recall", "precision(k=5)", "recall(k=5)"),
    ]
    assert suite.metrics[1].params == {"extractor": "inception", "splits": 10}


def test_extractor_that_is_none_is_a_problem_with_a_near_miss(wrong):
    (line,) = wrong(
        GOOD.replace("[fd]", "[{metric: fd, extractor: efnet-lite0@32}]"), metrics=ALL_METRICS
    )
    assert "there is no extractor 'efnet-lite0@32'; did you mean effnet-lite0?" in line
