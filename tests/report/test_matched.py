"""Ranks at equal compute, and what a quality costs."""

import numpy as np
import pytest
from made_results import FD, group, made

from bench.report.columns import GFLOPS
from bench.report.matched import (
    Curve,
    cost_to_reach,
    curves,
    levels,
    ranked_at,
    ranked_to_reach,
    targets,
    value_at,
)
from bench.report.notices import notices
from bench.report.ranking import at_equal_compute, to_reach

POWER = Curve("m", np.array([10.0, 40.0, 160.0]), np.array([8.0, 2.0, 0.5]))
"""80 / cost: a straight line in logarithms."""


def test_between_two_measured_points_a_power_law_is_met_exactly():
    found = value_at(POWER, 20.0)
    assert found.number == pytest.approx(4.0)
    assert not found.exact
    assert value_at(POWER, 40.0) == ("m", 2.0, True)


def test_nothing_is_extended_beyond_what_was_measured():
    assert value_at(POWER, 5.0) is None
    assert value_at(POWER, 200.0) is None
    assert cost_to_reach(POWER, 0.4, higher=False) is None


def test_the_cost_of_a_quality_is_where_the_curve_first_reaches_it():
    found = cost_to_reach(POWER, 4.0, higher=False)
    assert (found.number, found.exact) == (pytest.approx(20.0), False)
    assert cost_to_reach(POWER, 9.0, higher=False) == ("m", 10.0, True)
    rising = Curve("m", np.array([10.0, 40.0]), np.array([2.0, 8.0]))
    assert cost_to_reach(rising, 4.0, higher=True).number == pytest.approx(20.0)


def unlike():
    """CLD spends 37 GFLOPs where VP spends 22; at equal NFE it is ahead by a little."""
    return made(
        *(group("vp", "heun", n, [[80.0 / n]], gflops=22.0) for n in (10, 40, 160)),
        *(group("cld", "sscs", n, [[72.0 / n]], gflops=37.0) for n in (10, 40, 160)),
        metrics=(FD,),
    )


def test_ranks_at_equal_evaluations_and_at_equal_flops_may_differ():
    results = unlike()
    by_nfe = ranked_at(curves(results, "nfe"), 40.0, higher=False)
    assert [at.model for at in by_nfe] == ["cld", "vp"]
    by_flops = ranked_at(curves(results, GFLOPS), 40.0 * 37, higher=False)
    assert [at.model for at in by_flops] == ["vp", "cld"]
    vp, cld = by_flops
    assert (vp.number, cld.number) == (pytest.approx(80 * 22 / (40 * 37)), pytest.approx(1.8))
    assert (vp.exact, cld.exact) == (False, True)


def test_the_report_says_that_equal_evaluations_are_not_equal_compute():
    results = unlike()
    assert "Equal NFE is not equal compute: GFLOPs of one evaluation are vp 22, cld 37." in notices(
        results
    )
    table = {(line[0].text, line[1].text): line[2].text for line in at_equal_compute(results).cells}
    assert table["NFE", "40"] == "1. cld 1.80; 2. vp 2.00"
    assert table["GFLOPs per image", "1,480"] == "1. vp ~1.19; 2. cld 1.80"


def test_equal_networks_have_no_ranks_by_flops_of_their_own():
    results = made(
        *(group("vp", "heun", n, [[80.0 / n]]) for n in (10, 40)),
        *(group("ve", "heun", n, [[90.0 / n]]) for n in (10, 40)),
    )
    part = at_equal_compute(results)
    assert "One evaluation costs the same in every model" in " ".join(part.text)
    assert {line[0].text for line in part.cells} == {
        "NFE",
        "seconds per image",
        "training FLOPs",
    }


def test_adaptive_samplers_join_by_what_they_measured():
    results = made(
        *(group("vp", "heun", n, [[80.0 / n]]) for n in (10, 40)),
        group("ve", "adaptive", None, [[4.0]], nfe=15, tolerance=1e-2),
        group("ve", "adaptive", None, [[1.0]], nfe=60, tolerance=1e-3),
        group("cld", "heun", 40, [[3.0]]),
    )
    at = ranked_at(curves(results, "nfe"), levels(results, "nfe")[0], higher=False)
    assert [(one.model, one.exact) for one in at] == [("ve", False), ("vp", True), ("cld", True)]
    part = np.log(40 / 15) / np.log(60 / 15)
    assert at[0].number == pytest.approx(4 ** (1 - part))


def test_targets_are_those_of_the_leaders_and_say_who_never_reaches_them():
    results = unlike()
    assert targets(results) == [0.45, 1.8, 7.2][::-1] or targets(results) == [0.45, 1.8, 7.2]
    rows = {line[0].text: [cell.text for cell in line[1:]] for line in to_reach(results).cells}
    nfe, _, never = rows["0.450"]
    assert nfe == "1. cld 160"
    assert never == "vp"
    reached = ranked_to_reach(curves(results, "nfe"), 1.8, higher=False)
    assert [(one.model, round(one.number, 6)) for one in reached] == [
        ("cld", 40.0),
        ("vp", pytest.approx(80 / 1.8)),
    ]
