"""Every fast solver has its order on every linear process, and costs what it should."""

import pandas as pd
import pytest
from solver_order import FOLDER, HALVINGS, PATH, STEPS, cases, measure

TRACKED = pd.read_csv(FOLDER / "orders.csv")


def case(process, solver):
    """The coefficients of these come from code that others run through as well."""
    like_others = process in ("sub-VP", "straight", "mask")
    marks = [pytest.mark.slow] if like_others else []
    return pytest.param(process, solver, marks=marks, id=f"{process} {solver}")


@pytest.mark.parametrize(("process", "solver"), [case(*names) for names in cases()])
def test_mean_and_covariance_of_a_gaussian_converge_at_the_order(process, solver):
    found = measure(process, solver)
    last = found.iloc[-1]
    assert last["order"] == pytest.approx(last["nominal"], abs=0.1)
    intervals = found["steps"] + HALVINGS
    two = solver in ("flow_heun", "edm_stochastic")
    whole = two and process in ("straight", "blur", "mask")  # which end with Heun's step
    assert (found["evaluations"] == (1 + two) * intervals - (two and not whole)).all()
    rows = (TRACKED["process"] == process) & (TRACKED["solver"] == solver)
    tracked = TRACKED[rows & TRACKED["steps"].isin(STEPS)]
    assert found["error"].tolist() == pytest.approx(tracked["error"].tolist(), rel=0.02)


def test_the_table_holds_every_solver_on_every_process():
    rows = TRACKED[["process", "solver", "steps"]].itertuples(index=False)
    assert list(map(tuple, rows)) == [(*names, steps) for names in cases() for steps in PATH]
