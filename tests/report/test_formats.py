"""Numbers as text."""

import math

import pytest

from bench.report.formats import number, with_deviation, with_error


def test_estimate_shows_two_digits_of_the_error():
    assert with_error(2.15812, 0.0302) == "2.158 ± 0.030"
    assert with_error(2.15812, math.nan) == with_error(2.15812, 0.0) == "2.16"
    assert with_error(0.387, 0.19) == "0.39 ± 0.19"
    assert with_error(math.nan, 0.1) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (12.3456, "12.3"),
        (1234.5, "1,234"),
        (0.0, "0"),
        (math.nan, ""),
        (None, ""),
        (1e-9, "1.00e-09"),
    ],
)
def test_numbers_show_three_significant_digits(value, text):
    assert number(value) == text


def test_spread_shows_as_many_decimals_as_the_mean():
    assert with_deviation(0.1234, 0.00678) == "0.123 ± 0.007"
    assert with_deviation(0.1234, math.nan) == "0.123"
    assert with_deviation(math.nan, math.nan) == ""
