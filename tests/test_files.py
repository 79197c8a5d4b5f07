"""Files as others see them: whole or not at all, whatever happens to the one who writes."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from bench import files
from bench.files import (
    NO_LOCKS,
    append,
    hash_file,
    locked,
    probe,
    put_aside,
    read_json,
    read_lines,
    sha256,
    stamp,
    sweep,
    try_lock,
    whole,
    write,
)


def refuse(monkeypatch, name, number=errno.ENOSPC):
    def raising(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, raising)


# Written whole


def test_reader_sees_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "new folder" / "file"
    with whole(path) as file:
        file.write(b"old")
        file.flush()
        assert not path.exists()
    with whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


def test_readers_never_see_a_part_while_a_file_is_written_again_and_again(tmp_path):
    path, contents = tmp_path / "file", [bytes([k]) * 50_000 for k in range(2)]
    write(path, contents[0])
    over = threading.Event()

    def rewrite():
        for k in range(60):
            write(path, contents[k % 2])
        over.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    read = 0
    while not over.is_set() or not read:
        assert path.read_bytes() in contents
        read += 1
    writer.join()


@pytest.mark.parametrize("raised", [ValueError("rows are missing"), KeyboardInterrupt()])
def test_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path, raised):
    path = tmp_path / "file"
    write(path, b"old")

    def interrupted():
        with whole(path) as file:
            file.write(b"half of the new")
            raise raised

    with pytest.raises(type(raised)):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_content_and_name_are_on_disk_in_that_order(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace

    def flushed(descriptor):
        steps.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split(".host.")[0])
        fsync(descriptor)

    def renamed(one, other):
        steps.append("renamed")
        replace(one, other)

    monkeypatch.setattr(files, "_owner", lambda: ".host.1")
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    write(tmp_path / "file", b"x")
    assert steps == [".file", "renamed", tmp_path.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.files import whole
with whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_is_swept_and_the_file_is_as_it_was(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path)], timeout=60)
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    with whole(tmp_path / "other") as file:
        sweep(tmp_path)  # what a living process writes stays
        file.write(b"x")
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_disk_that_is_full_is_an_error_that_names_the_file(tmp_path, monkeypatch, step, number):
    path = tmp_path / "file"
    write(path, b"old")
    refuse(monkeypatch, step, number)
    with pytest.raises(OSError, match=r"/file'$") as raised:
        write(path, b"new")
    assert raised.value.errno == number
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_error_of_another_file_in_the_block_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), whole(tmp_path / "file") as file:
        file.write((tmp_path / "source").read_bytes())


def test_folder_in_place_of_a_file_is_put_aside(tmp_path):
    (tmp_path / "file").mkdir()
    write(tmp_path / "file", b"x")
    append(tmp_path / "lines", {"a": 1})
    assert sorted(os.listdir(tmp_path)) == ["file", "file.damaged", "lines"]
    assert put_aside(tmp_path / "nothing") is None


def test_folder_that_takes_no_file_is_found_before_work_begins(tmp_path, monkeypatch):
    probe(tmp_path / "new")
    refuse(monkeypatch, "fsync")
    with pytest.raises(OSError, match=r"/new'$"):
        probe(tmp_path / "new")
    assert os.listdir(tmp_path / "new") == []


# Lines


def test_lines_of_several_writers_are_all_read(tmp_path):
    path = tmp_path / "lines"
    writers = [
        threading.Thread(target=lambda k=k: [append(path, {"k": k, "n": n}) for n in range(50)])
        for k in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = read_lines(path)
    assert sorted((line["k"], line["n"]) for line in lines) == [
        (k, n) for k in range(4) for n in range(50)
    ]


def test_line_cut_short_costs_itself_only(tmp_path):
    path = tmp_path / "lines"
    append(path, {"a": 1})
    with open(path, "ab") as file:
        file.write(b'{"a": 2, "tex')
    append(path, {"a": 3})
    assert read_lines(path) == [{"a": 1}, {"a": 3}]
    assert read_lines(tmp_path / "nothing") == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_reads_as_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert read_json(tmp_path / "file") is None
    assert read_json(tmp_path / "nothing") is None


# Hashes and stamps


def test_hash_of_a_file_is_that_of_its_content(tmp_path):
    content = "μ and σ".encode()
    write(tmp_path / "file", content)
    expected = hashlib.sha256(content).hexdigest()
    assert hash_file(tmp_path / "file") == sha256(content) == sha256("μ and σ") == expected
    assert hash_file(tmp_path / "file", "md5") == hashlib.md5(content).hexdigest()


def test_stamp_changes_with_every_change_even_when_times_are_set_back(tmp_path):
    path = tmp_path / "file"
    write(path, b"0123")
    seen = [stamp(path)]
    assert stamp(path) == seen[0]
    times = path.stat()
    for change in (
        lambda: path.write_bytes(b"01234"),
        lambda: path.write_bytes(b"43210"),
        lambda: write(path, b"43210"),
        lambda: os.rename(path, tmp_path / "x") or os.rename(tmp_path / "x", path),
    ):
        time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
        change()
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        seen.append(stamp(path))
    assert len(set(seen)) == len(seen)


# Locks

HOLDER = """
import sys, time
from pathlib import Path
from bench.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_lock_is_waited_for_and_ends_with_its_process(tmp_path):
    path = tmp_path / "folder" / ".lock"
    code = textwrap.dedent(HOLDER)
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    descriptor = os.open(path, os.O_RDWR)
    assert not try_lock(descriptor, path)
    assert not try_lock(descriptor, path, shared=True)
    entered = threading.Event()

    def wait():
        with locked(path):
            entered.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not entered.wait(0.2)
    holder.kill()
    holder.communicate()
    assert entered.wait(60)
    waiter.join()
    assert try_lock(descriptor, path)
    os.close(descriptor)


def test_shared_locks_agree_with_each_other_and_not_with_an_exclusive_one(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    one, two = (os.open(path, os.O_RDWR) for _ in range(2))
    assert try_lock(one, path, shared=True)
    assert try_lock(two, path, shared=True)
    assert not try_lock(two, path)
    os.close(one)
    assert try_lock(two, path)
    os.close(two)


@pytest.mark.parametrize("number", sorted(NO_LOCKS))
def test_without_locks_a_lease_is_refused_with_the_way_out_and_a_wait_goes_on(
    tmp_path, monkeypatch, number
):
    def none(descriptor, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    path = tmp_path / "lock"
    with locked(path):
        write(tmp_path / "made", json.dumps(1).encode())
    assert read_json(tmp_path / "made") == 1
    with open(path, "rb") as file, pytest.raises(OSError, match=r"no locks.*--store.*lock'$"):
        try_lock(file.fileno(), path)
