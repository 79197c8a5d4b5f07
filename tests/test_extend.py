"""The worked examples of docs/extend.md: each is as short as it says and passes ``check``."""

import re
from pathlib import Path

import pytest
import yaml

from bench.cli.parser import main
from bench.plugins import loaded, unload

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "extend.md").read_text()
FOUND = re.findall(
    r"<!-- example: (\w+\.py), at most (\d+) lines -->\n```python\n(.*?)```", TEXT, re.DOTALL
)
EXAMPLES = {name: (int(most), code) for name, most, code in FOUND}


@pytest.fixture(autouse=True)
def nothing_stays_loaded():
    yield
    for plugin in loaded():
        unload(plugin.path)


def test_every_block_of_python_is_an_example():
    assert len(EXAMPLES) == TEXT.count("```python") == 5


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_keeps_to_the_contract(name, tmp_path, capsys):
    most, code = EXAMPLES[name]
    assert len(code.splitlines()) <= most
    (tmp_path / name).write_text(code)
    assert main(["check", str(tmp_path / name)]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert "not measured" not in out
    orders = re.findall(r"^sampler (\S+)$.*?order: (\S+)", out, re.DOTALL | re.MULTILINE)
    assert {sampler: round(float(order)) for sampler, order in orders} == {
        "stochastic_heun.py": {"sde.stochastic_heun": 2},
        "rectified_flow.py": {"rectified_flow.euler": 1, "rectified_flow.heun": 2},
    }.get(name, {})


def test_the_suite_of_the_page_is_planned_with_its_examples(tmp_path, capsys):
    (suite,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(suite)
    for name in yaml.safe_load(suite)["plugins"]:
        (tmp_path / name).write_text(EXAMPLES[name][1])
    words = ["plan", str(tmp_path / "mine.yaml"), "--results", str(tmp_path)]
    assert main(words) == 0, capsys.readouterr().err
    assert "3 points; 0 done, 8 to do" in capsys.readouterr().out
