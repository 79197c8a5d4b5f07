"""Weights of published checkpoints."""

import json

import pytest

from bench.data.assets import describe
from bench.data.digest import digest_checkpoint
from bench.data.root import data_root
from bench.plan import Job, expand
from bench.spec import key
from bench.store import Store
from bench.suite.requirements import of_suite

IMPORTED = """name: small
dataset: digits
metrics: [fd]
samples: {count: 240, batch: 240}
train: {vp: {method: sde, preset: wide, checkpoint: there.pth}}
points: [{train: vp, sampler: heun, grid: {nfe: [5]}}]
"""


def test_checkpoint_is_in_the_key_by_its_content_and_by_which_of_its_weights_are_taken(
    read, tmp_path
):
    (tmp_path / "there.pth").write_bytes(b"weights")
    suite = read(IMPORTED)
    (spec,) = suite.train["vp"]
    assert spec.checkpoint == digest_checkpoint(tmp_path / "there.pth")
    assert spec.weights == "ema"
    assert suite.sources == {"vp": tmp_path / "there.pth"}
    entry = suite.resolved["train"]["vp"]
    assert (entry["sha256"], entry["weights"]) == (spec.checkpoint, "ema")
    assert "seeds" not in entry
    keys = {
        key(spec),
        key(read(IMPORTED.replace("there.pth", "there.pth, weights: raw")).train["vp"][0]),
    }
    (tmp_path / "there.pth").rename(tmp_path / "moved.pth")
    assert key(read(IMPORTED.replace("there.pth", "moved.pth")).train["vp"][0]) in keys
    (tmp_path / "there.pth").write_bytes(b"other weights")
    trained = read(IMPORTED.replace(", checkpoint: there.pth", ""))
    keys |= {key(read(IMPORTED).train["vp"][0]), key(trained.train["vp"][0])}
    assert len(keys) == 4


def test_job_of_a_checkpoint_knows_where_it_lies(read, tmp_path):
    (tmp_path / "there.pth").write_bytes(b"weights")
    job = next(job for job in expand(read(IMPORTED)) if job.stage == "train")
    assert job.path == str(tmp_path / "there.pth")
    assert Job.from_plain(json.loads(json.dumps(job.plain()))) == job


def test_trial_run_of_a_checkpoint_is_of_the_same_weights(read, tmp_path):
    (tmp_path / "there.pth").write_bytes(b"weights")
    assert key(read(IMPORTED, smoke=True).train["vp"][0]) == key(read(IMPORTED).train["vp"][0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, "train.vp.checkpoint: nothing lies at "),
        ({"there.pth": "3"}, "train.vp.checkpoint: should be a text"),
        ({"there.pth": "empty"}, "train.vp.checkpoint: "),
        (
            {"method: sde, preset: wide": "method: plain"},
            "train.vp.checkpoint: plain imports no published checkpoints",
        ),
        ({"there.pth": "here.pth, weights: best"}, "train.vp.weights: unknown kind of weights"),
        ({"there.pth": "here.pth, seeds: [0, 1]"}, "train.vp.seeds: belongs to a training"),
        ({"there.pth": "here.pth, snapshots: [10]"}, "train.vp.snapshots: belongs to a training"),
        ({"there.pth": "here.pth, ema: [0.1]"}, "train.vp.ema: belongs to a training"),
        (
            {"checkpoint: there.pth": "weights: raw"},
            "train.vp.weights: says which weights of a checkpoint",
        ),
        ({"checkpoint: there.pth": "if_missing: train"}, "train.vp.if_missing: says what else"),
        ({"there.pth": "here.pth, if_missing: trian"}, "if_missing: unknown choice; did you mean"),
        ({"there.pth": "none.pth, if_missing: stop"}, "train.vp.checkpoint: nothing lies at "),
    ],
)
def test_checkpoint_that_cannot_be_is_a_problem(wrong, tmp_path, change, found):
    (tmp_path / "here.pth").write_bytes(b"weights")
    (tmp_path / "empty").mkdir()
    text = IMPORTED
    for old, new in change.items():
        text = text.replace(old, new)
    if "plain" in text:
        text = text.replace("there.pth", "here.pth").replace("heun", "jump")
    (problem,) = wrong(text)
    assert found in problem


OPTIONAL = IMPORTED.replace("there.pth", "there.pth, weights: raw, if_missing: train")


def test_optional_checkpoint_is_taken_where_it_lies_and_else_the_model_is_trained(read, tmp_path):
    trained = read(IMPORTED.replace(", checkpoint: there.pth", ""))
    without = read(OPTIONAL)
    assert without.train == trained.train
    assert (without.sources, without.wanted) == ({}, {"vp": data_root() / "there.pth"})
    assert f"train.vp: trained, since nothing lies at {data_root() / 'there.pth'}" in without.notes
    assert "checkpoint" not in without.resolved["train"]["vp"]
    (tmp_path / "there.pth").write_bytes(b"weights")
    found = read(OPTIONAL)
    (spec,) = found.train["vp"]
    assert (spec.checkpoint, spec.weights) == (digest_checkpoint(tmp_path / "there.pth"), "raw")
    assert (found.sources, found.wanted) == ({"vp": tmp_path / "there.pth"}, {})
    assert not [note for note in found.notes if "trained" in note]


def test_assets_say_of_an_optional_checkpoint_where_it_comes_from_and_what_happens_else(
    read, tmp_path
):
    suite = read(OPTIONAL.replace("metrics: [fd]", "metrics: []"))
    (asset,) = (a for a in of_suite(suite, Store(tmp_path)) if "train.vp" in a.what)
    lines, right = describe(asset)
    assert right
    assert lines[0] == "checkpoint of train.vp: not there, and the model is trained instead"
    assert f"    {data_root() / 'there.pth'}" in lines
    assert lines[-1] == "  how: put it there: the shelf has it"


def test_null_takes_a_key_of_a_train_entry_out(read):
    taken_out = IMPORTED.replace("there.pth", "null, weights: null, if_missing: null")
    assert read(taken_out).train == read(IMPORTED.replace(", checkpoint: there.pth", "")).train


def test_preset_for_another_shape_is_refused_with_both(wrong):
    problems = wrong(IMPORTED.replace(", checkpoint: there.pth", "").replace("digits", "faces"))
    expected = (
        "train.vp.preset: is for images of 1 x 8 x 8 (channels x height x width), not 3 x 8 x 8"
    )
    assert any(expected in problem for problem in problems)


def test_digest_of_a_checkpoint_folder_is_of_all_its_files(tmp_path):
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.bin").write_bytes(b"1")
    first = digest_checkpoint(folder, cache)
    assert digest_checkpoint(folder, cache) == digest_checkpoint(folder) == first
    (folder / "config.json").write_text('{"a": 1}')
    assert digest_checkpoint(folder, cache) != first
