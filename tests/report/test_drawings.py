"""Figures are drawn again only if what they are drawn from has changed."""

import json
from functools import partial

import pytest

from bench.report.figures.drawings import NOTES, Drawings, source_of
from bench.report.figures.figure import Figure, LazyFigure

FILES = {"png": b"picture", "svg": b"<svg/>"}


def drawing(values, label):
    raise AssertionError("not called here")


def lazy(values=(1.0, 2.0), label="a"):
    return LazyFigure(Figure("lines", "Lines", ""), partial(drawing, list(values), label=label))


@pytest.fixture
def drawn(tmp_path):
    """A folder with one figure, as a report leaves it."""
    drawings = Drawings(tmp_path)
    assert drawings.kept(lazy()) is None
    drawings.add(lazy(), FILES)
    drawings.write_notes()
    return tmp_path


def test_what_has_not_changed_is_kept_and_noted_again(drawn):
    again = Drawings(drawn)
    assert again.kept(lazy()) == b"picture"
    before = (drawn / NOTES).read_bytes()
    again.write_notes()
    assert (drawn / NOTES).read_bytes() == before


@pytest.mark.parametrize("changed", [lazy(values=(1.0, 2.5)), lazy(label="b")])
def test_other_data_are_drawn(drawn, changed):
    assert Drawings(drawn).kept(changed) is None


@pytest.mark.parametrize("kind", FILES)
def test_a_figure_that_lacks_a_file_is_drawn(drawn, kind):
    (drawn / f"lines.{kind}").unlink()
    assert Drawings(drawn).kept(lazy()) is None


def test_a_picture_that_somebody_changed_is_drawn(drawn):
    (drawn / "lines.png").write_bytes(b"another")
    assert Drawings(drawn).kept(lazy()) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"lines": 3}'])
def test_damaged_notes_are_as_good_as_none(drawn, damage):
    (drawn / NOTES).write_bytes(damage)
    assert Drawings(drawn).kept(lazy()) is None


def test_what_cannot_be_hashed_is_drawn_each_time(tmp_path):
    odd = LazyFigure(Figure("lines", "Lines", ""), partial(drawing, [lambda: 1], label="a"))
    assert source_of(odd) == ""
    drawings = Drawings(tmp_path)
    drawings.add(odd, FILES)
    drawings.write_notes()
    assert json.loads((tmp_path / NOTES).read_text())["lines"][0] == ""
    assert Drawings(tmp_path).kept(odd) is None
