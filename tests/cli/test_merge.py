"""Results of several machines: merged once each, never last-wins; archives that are verified."""

import csv
import io
import shutil
import zipfile

import numpy as np
import pytest
from command_line import GOOD, Bench

from bench.spec import part_name
from bench.store import STAGES, UnitId


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("merge")).suite(GOOD)
    assert bench.here()[0] == 0
    return bench


@pytest.fixture
def one(finished, tmp_path):
    return finished.copy(tmp_path / "one")


def score_of(bench):
    (path,) = bench.store.root.glob("scores/*/fd-*.json")
    return UnitId("scores", path.parent.name, path.stem)


def merge(bench, *sources):
    return bench.here_without_suite("merge", *map(str, sources))


def elsewhere(tmp_path):
    (tmp_path / "other").mkdir()
    return Bench(tmp_path / "other")


def records(bench):
    paths = (path for stage in STAGES for path in bench.store.root.glob(f"{stage}/*/*.json"))
    return {path.name: path.read_bytes() for path in paths}


def test_an_archive_brings_a_study_to_another_machine(one, tmp_path):
    archive = tmp_path / "study.zip"
    code, out, _ = one.here("export", "-o", str(archive))
    assert (code, "files" in out) == (0, True)
    other = elsewhere(tmp_path)
    code, out, err = merge(other, archive)
    assert (code, err) == (0, "")
    assert out.startswith(f"{archive}: 5 new\n")
    assert records(other) == records(one)
    assert other.rows() == one.rows()
    shutil.copy(other.results / "small" / "suite" / "small.yaml", other.folder)
    code, out, _ = other.here("run")
    assert (code, "4 of 4 are done" in out) == (0, True)
    assert merge(other, archive, one.results)[1].count("5 there with equal values") == 2


def test_an_archive_that_was_changed_is_refused_whole(one, tmp_path):
    archive, spoilt = tmp_path / "study.zip", tmp_path / "spoilt.zip"
    one.here("export", "-o", str(archive))
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(spoilt, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b"value", b"valve", 1))
    other = elsewhere(tmp_path)
    code, _, err = merge(other, spoilt)
    assert code == 1
    assert err.endswith("the content is not what was packed (sha256); nothing of it was merged\n")
    assert not other.store.root.exists()
    assert [path.name for path in other.results.iterdir()] == []


def test_one_key_with_two_values_is_evidence_and_the_first_stays(one, finished, tmp_path):
    unit = score_of(one)
    record = one.store.record(*unit)
    value = record["value"]
    one.store.finish(unit, record | {"value": value + 0.5, "provenance": {"host": "far"}})
    mine = finished.copy(tmp_path / "mine")
    for _ in range(2):  # the second time adds no row
        code, out, _ = merge(mine, one.results)
        assert (code, "1 there with another value" in out) == (0, True)
        assert mine.store.record(*unit)["value"] == value
        with open(mine.results / "reproducibility.csv") as file:
            (row,) = csv.DictReader(file)
        assert (row["what"], float(row["kept"]), float(row["other"])) == (
            "value",
            value,
            value + 0.5,
        )
        assert float(row["difference"]) == pytest.approx(0.5)
        assert row["other_made"] == "far"


def test_unlike_images_of_one_key_show_their_largest_difference(one, finished, tmp_path):
    (path,) = one.store.root.glob("samples/*/00000.json")
    unit = UnitId("samples", path.parent.name, part_name(0))
    record = one.store.record(*unit)
    name = next(iter(record["files"]))
    other = finished.copy(tmp_path / "mine")
    content = changed(path.with_name(name))
    one.store.finish(unit, record, {".npz": content})
    merge(other, one.results)
    with open(other.results / "reproducibility.csv") as file:
        rows = {row["what"]: row for row in csv.DictReader(file)}
    assert float(rows[name]["difference"]) == 3


def changed(path):
    arrays = dict(np.load(path))
    arrays["images"] = arrays["images"].copy()
    arrays["images"].flat[0] = arrays["images"].flat[0] + 3
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_what_is_damaged_there_is_left_out_and_named(one, tmp_path):
    next(one.store.root.glob("samples/*/00001.npz")).write_bytes(b"short")
    other = elsewhere(tmp_path)
    code, out, err = merge(other, one.results)
    assert code == 1
    assert "1 damaged or in work, left out" in out
    assert err.count("damaged, left out") == 1
    assert len(records(other)) == len(records(one)) - 1


def test_a_source_that_is_none_is_one_line(tmp_path):
    code, _, err = merge(Bench(tmp_path), tmp_path / "nothing")
    assert (code, err.count("\n")) == (1, 1)
    assert "is not there" in err
