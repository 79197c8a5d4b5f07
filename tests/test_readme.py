"""What the README and the page of commands say is so."""

import re
from pathlib import Path

import pytest

from bench.cli.parser import main
from bench.suite.reader import read_suite

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
MOST_LINES = 140


def example_of(text, folder):
    """Writes the first suite in a page to a file, and returns its path."""
    path = folder / "my_study.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1))
    return path


def test_the_suite_in_the_readme_is_a_valid_suite(tmp_path):
    suite = read_suite(example_of(README, tmp_path))
    assert suite.name == "my_study"
    assert len({point.group for point in suite.points}) == 2 * 3


def test_the_suite_in_the_page_of_suites_is_a_valid_suite(tmp_path):
    path = example_of((ROOT / "docs" / "suites.md").read_text(), tmp_path)
    suite = read_suite(path)
    assert suite.name == "my_study"
    assert len({point.group for point in suite.points}) == 2 * 3 + 2 * 3 + 2
    assert len(read_suite(path, profile="quick").points) == len(suite.points)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MOST_LINES


def test_the_page_of_commands_has_every_command_and_every_option(capsys):
    named = re.findall(r"^\| `([a-z][a-z-]*)[ `]", COMMANDS, re.MULTILINE)
    general = _help(None, capsys).split("examples:")[0]
    commands = re.findall(r"^ {4}([a-z][a-z-]*)(?: |$)", general, re.MULTILINE)
    assert sorted(named) == sorted(commands)
    options = set()
    for verb in named:
        options |= set(re.findall(r"--[a-z]+(?:-[a-z]+)*", _help(verb, capsys)))
    listed = re.findall(r"^\| `(--[a-z-]+)", COMMANDS, re.MULTILINE)
    assert sorted(listed) == sorted(options - {"--help", "--executor:"})


def _help(verb: str | None, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*([verb] if verb else []), "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out
