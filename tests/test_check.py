"""The command ``check``: what is right passes, what is wrong is told by the check that finds it."""

import pytest
from test_plugins import DATA, METHOD, METRIC, SAMPLER, written

from bench.cli.parser import main
from bench.plugins import loaded, unload


@pytest.fixture(autouse=True)
def nothing_stays_loaded():
    yield
    for plugin in loaded():
        unload(plugin.path)


EXTRACTOR = """
from bench.metrics.extractor_card import ExtractorCard


def make(inputs):
    from bench.metrics.view import View

    class Means(View):
        preprocess = "mean and standard deviation"

        def forward(self, levels):
            x = levels.double().flatten(1)
            return x.mean(1, keepdim=True), None

    return Means()


EXTRACTORS = {"means": ExtractorCard(name="means", summary="the mean", make=make, dimension=1)}
"""


@pytest.fixture
def check(tmp_path, capsys):
    """Returns exit status and lines of ``check`` by what they check."""

    def run(text):
        code = main(["check", str(written(tmp_path, {"mine.py": text}) / "mine.py")])
        lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
        lines = [line for line in lines if line[0] in ("ok", "FAILED", "-")]
        return code, {rest.partition(":")[0]: (verdict, rest) for verdict, rest in lines}

    return run


def failed(lines):
    return {what for what, (verdict, _) in lines.items() if verdict == "FAILED"}


@pytest.mark.parametrize("text", [SAMPLER, METRIC, DATA, METHOD, EXTRACTOR])
def test_what_keeps_to_the_contract_passes(check, text):
    code, lines = check(text)
    assert failed(lines) == set()
    assert code == 0
    assert len(lines) >= 3
    if text == SAMPLER:  # Euler's method
        assert float(lines["order"][1].split()[1]) == pytest.approx(1, abs=0.2)


WRONG = {
    "effort and limit": (
        SAMPLER.replace("Grid)}", "Grid, per_step=2)}").replace("0.5 * g2", "0.6 * g2"),
        {"evaluations", "a Gaussian in 256 steps"},
    ),
    "noise of its own": (
        SAMPLER.replace("    return x\n", "    return x + __import__('torch').randn_like(x)\n"),
        {"equal noise"},
    ),
    "one grid for all": (
        SAMPLER.replace(
            "    f, g2", "    times = (times[0] + 0).lerp(times[-1], EVEN)\n    f, g2"
        ).replace("EVEN", "__import__('torch').linspace(0, 1, len(times)).to(times)"),
        {"times quadratic"},
    ),
    "state that is not all": (
        METHOD.replace(
            "        def network_loss",
            "        def load_state(self, state):\n            pass\n\n        def network_loss",
        ),
        {"state"},
    ),
    "direction": (METRIC.replace("better=False", "better=True"), {"direction", "equal sets"}),
    "raises": (METRIC.replace("import numpy as np", "1 / 0"), {"metric"}),
    "count": (DATA.replace('"test": 898', '"test": 899'), {"data set"}),
    "dtype": (DATA.replace('astype("uint8")', 'astype("int64")'), {"train", "test"}),
    "chunks": (EXTRACTOR.replace("flatten(1)", "flatten(1) - levels[0].sum()"), {"one image at a"}),
    "dimension": (EXTRACTOR.replace("dimension=1", "dimension=2"), {"features"}),
    "draws of its own": (
        METHOD.replace(".mean(1)\n", ".mean(1) * __import__('random').random()\n"),
        {"loss and noise"},
    ),
}


@pytest.mark.parametrize(("text", "found"), WRONG.values(), ids=WRONG)
def test_what_does_not_is_found(check, text, found):
    code, lines = check(text)
    assert code == 1
    assert {what[:14] for what in found} <= {what[:14] for what in failed(lines)}


def test_a_line_of_the_file_is_named_where_it_raises(check):
    _, lines = check(METRIC.replace("import numpy as np", "raise LookupError('oh')"))
    assert lines["metric"] == ("FAILED", "metric: LookupError: oh (line 7 of the file)")


def test_a_file_that_cannot_be_loaded_is_wrong_use(check, tmp_path, capsys):
    assert check("x = 1")[0] == 2
    assert main(["check", str(tmp_path / "absent.py")]) == 2
    assert "no such file" in capsys.readouterr().err
