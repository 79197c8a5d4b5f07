"""Converted arrays: made once, noticed when their sources change, mapped and not loaded."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bench.data import mapped
from bench.data.mapped import converted

ROWS = np.arange(24, dtype=np.uint8).reshape(6, 4)


def make(root, source, calls, rule="rule 1", chunks=(ROWS[:4], ROWS[4:])):
    def yielded():
        calls.append(rule)
        yield from chunks

    return converted(root, "rows", rule, [source], ROWS.shape, yielded)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(b"rows")
    return path


def test_array_is_made_once_and_again_when_source_or_rule_changes(tmp_path, source):
    calls = []
    for _ in range(2):
        np.testing.assert_array_equal(make(tmp_path, source, calls), ROWS)
    assert len(calls) == 1
    source.write_bytes(b"other rows")
    make(tmp_path, source, calls)
    assert len(calls) == 2
    make(tmp_path, source, calls, rule="rule 2")
    assert len(calls) == 3
    assert (
        len(list((tmp_path / "converted").glob("rows-*.npy"))) == 1
    )  # what was replaced is not kept


def test_what_is_written_to_it_never_reaches_the_file(tmp_path, source):
    calls = []
    array = make(tmp_path, source, calls)
    array[:] = 7
    np.testing.assert_array_equal(make(tmp_path, source, calls), ROWS)
    assert len(calls) == 1


def test_file_that_is_cut_short_is_made_again(tmp_path, source):
    calls = []
    make(tmp_path, source, calls)
    (path,) = (tmp_path / "converted").glob("*.npy")
    for content in (path.read_bytes()[:-1], b""):
        path.write_bytes(content)
        np.testing.assert_array_equal(make(tmp_path, source, calls), ROWS)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "chunks", [[ROWS[:4]], [ROWS, ROWS[:1]], [ROWS[:, :3]]], ids=["few", "many", "narrow"]
)
def test_other_rows_than_declared_leave_nothing_behind(tmp_path, source, chunks):
    with pytest.raises(ValueError, match=r"rows-.*npy: "):
        make(tmp_path, source, [], chunks=chunks)
    assert [path.suffix for path in (tmp_path / "converted").iterdir()] == [".lock"]


def test_data_that_cannot_be_written_beside_are_converted_in_the_users_cache(
    tmp_path, source, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: str(tmp_path / "cache") in str(path))
    make(tmp_path, source, [])
    assert len(list((tmp_path / "cache" / "score-bench" / "converted").glob("rows-*.npy"))) == 1
    assert mapped.folder(tmp_path) == tmp_path / "cache" / "score-bench" / "converted"


CONVERT = """
import sys, time
from pathlib import Path
import numpy as np
from bench.data.mapped import converted
root = Path(sys.argv[1])
def chunks():
    with (root / "made").open("a") as file:
        file.write("x")
    time.sleep(0.5)
    yield np.ones((3, 2), np.uint8)
print(converted(root, "rows", "rule", [root / "source.bin"], (3, 2), chunks).sum())
"""


def run(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_converts_and_the_other_waits(tmp_path, source):
    both = [run(CONVERT, tmp_path) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["6", "6"]
    assert (tmp_path / "made").read_text() == "x"


STREAM = """
import sys
from pathlib import Path
import numpy as np, torch
from bench.data.card import DataCard
from bench.data.images import Images
from bench.data.mapped import converted
root, count = Path(sys.argv[1]), 20_000

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

def chunks():
    draw = np.random.default_rng(0)
    for _ in range(count // 500):
        yield draw.integers(0, 256, (500, 3, 64, 64), dtype=np.uint8)

shape = (3, 64, 64)
source = root / "source.bin"
load = lambda split: converted(root, "faces", "rule", [source], (count, *shape), chunks)
facts = {"version": 1, "summary": "", "split_rule": "", "levels": 256, "flips": True}
card = DataCard(shape=shape, splits={"train": count}, load=load, **facts)
data = Images("faces", card)
np.random.default_rng(0).permutation(count), torch.zeros(3).add_(1)
before = anonymous()
for k in range(count // 100):
    data.batch(0, k, 100)
data.digest("train")
print(anonymous() - before, count * 3 * 64 * 64 / 2**20)
"""


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="memory is read from Linux's /proc"
)
def test_conversion_an_epoch_and_a_digest_hold_a_fraction_of_the_images(tmp_path, source):
    grown, whole = map(float, run(STREAM, tmp_path).communicate(timeout=120)[0].split())
    assert whole > 230
    assert (
        grown < 70
    )  # a chunk that is made (6 MB of bytes from 48 MB of draws), a batch of floats, a chunk hashed
