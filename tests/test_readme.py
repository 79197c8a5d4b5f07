"""What the README says is so."""

import re
from pathlib import Path

import pytest

from bench.cli.parser import main
from bench.suite.reader import read_suite

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_suite_in_the_readme_is_a_valid_suite(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL).group(1)
    path = tmp_path / "my_study.yaml"
    path.write_text(example)
    suite = read_suite(path)
    assert suite.name == "my_study"
    assert len({point.group for point in suite.points}) == 2 * 3 + 2 * 3 + 2
    assert len(read_suite(path, profile="quick").points) == len(suite.points)


def test_the_commands_and_options_in_the_readme_exist(capsys):
    commands = README.split("## Commands")[1].split("## What it leaves")[0]
    named = re.findall(r"^\| `([a-z][a-z-]*)[ `]", commands, re.MULTILINE)
    assert len(named) == 11
    for verb in [*named, "show"]:
        assert _help(verb, capsys)
    options = re.findall(r"^\| `(--[a-z]+)", README, re.MULTILINE)
    assert len(options) == 8
    text = _help("run", capsys)
    assert [
        option for option in options if f"{option} " not in text and f"{option}\n" not in text
    ] == []


def _help(verb: str, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out
