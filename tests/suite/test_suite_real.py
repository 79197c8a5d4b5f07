"""Data sets of real values."""

from dataclasses import replace

import pytest
from synthetic_suite import CARDS, GOOD

from bench.data.registry import DATASETS as ALL_DATASETS
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

REAL = """
name: points
dataset: two_modes
metrics: [%s]
samples: {count: 1000, batch: 500}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: heun, grid: {nfe: [5]}}
"""


def real(tmp_path, text, **values):
    needs = replace(CARDS["sde"], needs_levels=lambda params: params.process == "ve")
    (tmp_path / "suite.yaml").write_text(text)
    return read_suite(
        tmp_path / "suite.yaml", cards={"sde": needs}, datasets=ALL_DATASETS, **values
    )


def test_samples_of_real_values_are_stored_as_they_are(tmp_path):
    suite = real(tmp_path, REAL % "mode_weight_error, energy_distance")
    assert {point.sample.quantise for point in suite.points} == {"none"}
    assert suite.resolved["samples"]["quantise"] == "none"
    assert real(tmp_path, REAL % "energy_distance", smoke=True).points[0].count == 4
    likelihood = (REAL % "energy_distance").replace("samples:", "likelihood: {images: 8}\nsamples:")
    assert real(tmp_path, likelihood).points[0].likelihood.images == 8


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("[mode_weight_error]", "[fd]"), "reads images of 17 pixel levels, not real values"),
        (("[mode_weight_error]", "[known_rmse]"), "only images are restored, not real values"),
        (
            ("method: sde", "method: sde, params: {process: ve}"),
            "dequantisation is of discrete levels",
        ),
        (
            ("batch: 500", "batch: 500, quantise: truncate"),
            "the values of the data set are real: they are stored",
        ),
        (("two_modes", "swiss_rolls"), "the data set declares no mixture"),
        (("two_modes", "digits"), "it compares values themselves"),
    ],
)
def test_what_is_asked_of_real_values_and_cannot_be_is_a_problem_with_its_reason(
    tmp_path, change, found
):
    with pytest.raises(SuiteError) as caught:
        real(tmp_path, (REAL % "mode_weight_error").replace(*change))
    assert found in str(caught.value.problems[0])


def test_pixels_have_levels_to_take(wrong):
    message = (
        "suite.yaml:4: samples.quantise: pixels have levels to take; allowed: round, "
        'truncate (value: "none")'
    )
    assert wrong(GOOD.replace("batch: 128}", "batch: 128, quantise: none}")) == [message]
