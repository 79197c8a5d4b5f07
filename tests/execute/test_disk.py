"""A place that takes nothing more ends a run with one line and exit status 1, and nothing that was
finished is lost.
"""

import errno
import os
import resource

import numpy as np
import pytest
from command_line import Bench
from test_damaged_store import SUITE, call, values

from bench import files
from bench.cli.parser import main
from bench.data.mapped import converted
from bench.files import append, probe, write
from bench.stages import model, score
from bench.store import Store, UnitId

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class Disk:
    """A disk that takes ``left`` writes more, and then gives an error."""

    def __init__(self, monkeypatch, number=errno.ENOSPC):
        self.left, self.number, fsync = 10**9, number, os.fsync

        def sync(descriptor):
            self.left -= 1
            if self.left < 0:
                raise OSError(self.number, os.strerror(self.number))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", sync)


@pytest.mark.parametrize("number", FULL)
def test_error_of_a_write_names_the_file_and_leaves_nothing_behind(tmp_path, monkeypatch, number):
    disk = Disk(monkeypatch, number)
    disk.left = 0
    for fail in (lambda: write(tmp_path / "a", b"x"), lambda: probe(tmp_path)):
        with pytest.raises(OSError, match=str(tmp_path)) as raised:
            fail()
        assert raised.value.errno == number
    with pytest.raises(OSError, match=r"rows-.*npy"):
        converted(tmp_path, "rows", "rule", [], (2, 2), lambda: [np.zeros((2, 2), np.uint8)])
    assert [
        path.name
        for path in tmp_path.rglob("*")
        if path.is_file() and path.parent.name != "digests"
    ] == ["rows.lock"]


def test_line_that_was_written_in_part_is_an_error(tmp_path, monkeypatch):
    class Half:
        def __init__(self, *arguments, **options):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731
        write = lambda self, line: len(line) // 2  # noqa: E731

    monkeypatch.setattr(files, "open", Half, raising=False)
    with pytest.raises(OSError, match=r"No space left on device.*lines\.jsonl"):
        append(tmp_path / "lines.jsonl", {"a": 1})


@pytest.mark.parametrize(
    ("number", "writes"), [(errno.ENOSPC, 6), (errno.EROFS, 12), (errno.EDQUOT, 2)]
)
def test_disk_that_fills_up_is_one_line_and_the_next_run_goes_on(
    tmp_path, monkeypatch, capsys, number, writes
):
    monkeypatch.setattr(model, "_MODELS", {})
    score._stored_references.cache_clear()
    (tmp_path / "small.yaml").write_text(SUITE)
    disk = Disk(monkeypatch, number)
    disk.left = writes
    assert call("run", tmp_path, "--executor", "inline") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if os.strerror(number) in line]
    assert said[-1].startswith(str(tmp_path / "results"))
    assert said[-1].endswith(f"{os.strerror(number)}; nothing that was finished is lost")
    disk.left = 10**9
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "results" / "store").glob("*/*/weights.json")
    }
    assert call("run", tmp_path, "--executor", "inline") == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in before}.items()
    assert values(tmp_path)[0]["state"] == "done"


def test_store_that_is_only_read_can_be_looked_at(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SUITE)
    Store(tmp_path / "results" / "store").finish(UnitId("train", "abc", "weights"), {})
    Disk(monkeypatch, errno.EROFS).left = 0
    assert call("plan", tmp_path) == 0
    assert call("status", tmp_path) == 0
    capsys.readouterr()
    assert main(["run", str(tmp_path / "small.yaml"), "--results", str(tmp_path / "results")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_workers_that_cannot_write_end_the_run_with_one_line(tmp_path):
    bench = Bench(tmp_path).suite(SUITE)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    driver = bench.start("--jobs", "1", preexec_fn=limit)
    out, err = driver.communicate(timeout=200)
    assert driver.returncode == 1, out + err
    (line,) = err.splitlines()
    assert "File too large; nothing that was finished is lost" in line
    assert line.startswith(str(bench.store.root / "train"))
    code, out, _ = bench("status")
    assert code == 1
    assert "File too large" in out
