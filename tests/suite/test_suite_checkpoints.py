"""Weights of published checkpoints."""

import json

import pytest

from bench.data.digest import digest_checkpoint
from bench.plan import Job, expand
from bench.spec import key

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
