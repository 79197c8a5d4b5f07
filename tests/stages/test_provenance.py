"""The code that a record names as its origin."""

import subprocess

import pytest

from bench.stages import context as stage_context


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Returns a repository with one commit, which the stages take for the project's, and its
    commit.
    """
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setattr(stage_context, "checkout", lambda: folder)
    (folder / "code.py").write_text("1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    head = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    return folder, head.stdout.strip()


def environment():
    return stage_context._environment.__wrapped__()


def test_commit_is_that_of_the_code_and_dirty_says_whether_it_was_changed(checkout):
    folder, head = checkout
    assert (environment()["commit"], environment()["dirty"]) == (head, False)
    (folder / "code.py").write_text("2\n")
    assert (environment()["commit"], environment()["dirty"]) == (head, True)


def test_results_do_not_make_the_code_dirty_but_a_new_file_does(checkout):
    folder, _ = checkout
    (folder / "results").mkdir()
    (folder / "results" / "table.csv").write_text("1\n")
    assert environment()["dirty"] is False
    (folder / "new.py").write_text("1\n")
    assert environment()["dirty"] is True


def test_code_outside_a_repository_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(stage_context, "checkout", lambda: tmp_path)
    assert (environment()["commit"], environment()["dirty"]) == (None, None)


def test_code_installed_inside_another_repository_has_no_commit(checkout, monkeypatch):
    installed = checkout[0] / "venv" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.setattr(stage_context, "checkout", lambda: installed)
    assert (environment()["commit"], environment()["dirty"]) == (None, None)
