"""Fixtures of several files."""

import pytest
from checkpoint_files import RGB, VE

from bench.schema import build
from methods.sde.adapter import ScoreSDE
from methods.sde.card import Params


@pytest.fixture(scope="module")
def method():
    return ScoreSDE(build(Params, VE), RGB)
