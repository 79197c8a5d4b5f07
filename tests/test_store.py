import json
import os

import numpy as np
import pytest

from bench.files import sweep, write
from bench.spec import TrainSpec
from bench.store import DamagedError, Store, UnitId, pruned

UNIT = UnitId("samples", "abc", "00000")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def finish(store, unit=UNIT, content=b"0123456789"):
    store.finish(unit, {"images": 3}, {".npz": content})


def test_unit_is_unfinished_until_its_record_is_there(store):
    assert store.check(UNIT) is None
    write(store.path(UNIT, ".npz"), b"half of the work")
    assert store.check(UNIT) is None
    finish(store)
    assert store.check(UNIT)["images"] == 3
    assert store.read(UNIT, ".npz") == b"0123456789"


def test_write_leaves_the_old_file_when_it_is_interrupted(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, b"old")

    def fail(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_truncated_file_is_found_by_its_size(store):
    finish(store)
    store.path(UNIT, ".npz").write_bytes(b"0123")
    with pytest.raises(DamagedError, match=r"00000\.npz: has 4 bytes, 10 were written"):
        store.check(UNIT)


def test_altered_file_of_equal_size_is_found_without_reading_untouched_ones(store):
    finish(store)
    store.path(UNIT, ".npz").write_bytes(b"0123456780")
    with pytest.raises(DamagedError, match="sha256"):
        store.check(UNIT)


def test_altered_file_with_its_old_time_is_found_by_rehash_and_by_every_reader(store):
    finish(store)
    path = store.path(UNIT, ".npz")
    stat = path.stat()
    path.write_bytes(b"0123456780")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.check(UNIT) is not None
    with pytest.raises(DamagedError, match="sha256"):
        store.check(UNIT, rehash=True)
    with pytest.raises(DamagedError, match="sha256"):
        store.read(UNIT, ".npz")


def test_file_copied_elsewhere_with_a_new_time_is_still_good(store):
    finish(store)
    os.utime(store.path(UNIT, ".npz"), (1, 1))
    assert store.check(UNIT) is not None


def test_altered_record_is_found(store):
    finish(store)
    path = store.path(UNIT, ".json")
    path.write_text(path.read_text().replace('"images": 3', '"images": 4'))
    with pytest.raises(DamagedError, match="checksum"):
        store.check(UNIT)
    assert store.record(*UNIT) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"{}", b"\xff\xfe"])
def test_broken_record_is_damaged_not_a_traceback(store, content):
    finish(store)
    store.path(UNIT, ".json").write_bytes(content)
    with pytest.raises(DamagedError):
        store.check(UNIT)


def test_discarded_unit_is_to_do_again(store):
    finish(store)
    store.discard(UNIT)
    assert store.check(UNIT) is None


def test_images_join_batches_and_stop_at_the_count(store):
    batches = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(2, 2, 1, 2, 2)
    for k, batch in enumerate(batches):
        import io

        buffer = io.BytesIO()
        np.savez(buffer, images=batch)
        finish(store, UnitId("samples", "abc", f"{k:05d}"), buffer.getvalue())
    assert np.array_equal(store.images("abc", 3), batches.reshape(4, 1, 2, 2)[:3])
    assert len(store.images("abc", 100)) == 4


def test_pruned_unit_stays_finished_without_its_files(store):
    finish(store)
    assert store.prune(UNIT) == 10
    assert not store.path(UNIT, ".npz").exists()
    assert pruned(store.check(UNIT))
    with pytest.raises(FileNotFoundError):
        store.read(UNIT, ".npz")


def test_attempts_merge_their_lines_and_survive_a_half_written_one(store):
    store.note_attempt(UNIT, attempt="a", run="r", start="1")
    store.note_attempt(UNIT, attempt="b", run="r", start="2")
    store.note_attempt(UNIT, attempt="a", state="failed", cause="bad")
    with open(store.path(UNIT, ".attempts.jsonl"), "a") as file:
        file.write('{"attempt": "c", "ru')
    first, second = store.attempts(*UNIT)
    assert (first["state"], first["cause"], second["state"]) == ("failed", "bad", "running")


@pytest.mark.parametrize(
    "stump", [b'{"attempt": "zzz", "ru', b"{}\n", b"[]\n", b"\xff\xfe", b'{"attempt": "q"}\n']
)
def test_attempts_after_a_damaged_line_are_read(store, stump):
    store.note_attempt(UNIT, attempt="a", run="r", start="1")
    with open(store.path(UNIT, ".attempts.jsonl"), "ab") as file:
        file.write(stump)
    store.note_attempt(UNIT, attempt="b", run="r", start="2")
    assert [attempt["attempt"] for attempt in store.attempts(*UNIT)] == ["a", "b"]


@pytest.mark.parametrize("content", ["[]", "{", '{"spec": 1}'])
def test_damaged_spec_is_no_neighbour_and_is_written_again(store, content):
    spec = TrainSpec(method="m", method_version=1, dataset="d", dataset_version=1)
    path = store.folder("train", "abc") / "spec.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert list(store.specs("train")) == []
    store.write_spec("train", "abc", spec, {})
    assert [values["method"] for _, values in store.specs("train")] == ["m"]


def test_sweep_deletes_what_dead_processes_left_half_written(tmp_path):
    host = os.uname().nodename
    dead = tmp_path / f".00000.npz.{host}.999999999.abcdef01"
    ours = tmp_path / f".00000.npz.{host}.{os.getpid()}.abcdef01"
    for path in (dead, ours, tmp_path / "00000.npz"):
        path.write_bytes(b"x")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([ours.name, "00000.npz"])


def test_data_files_of_equal_content_are_byte_equal(tmp_path):
    one, two = Store(tmp_path / "1"), Store(tmp_path / "2")
    for store in (one, two):
        finish(store)
    assert one.path(UNIT, ".npz").read_bytes() == two.path(UNIT, ".npz").read_bytes()
    first = json.loads(one.path(UNIT, ".json").read_text())["files"]["00000.npz"]
    second = json.loads(two.path(UNIT, ".json").read_text())["files"]["00000.npz"]
    assert first["sha256"] == second["sha256"]
