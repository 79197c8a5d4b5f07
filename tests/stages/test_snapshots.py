"""Snapshots: weights at chosen training images, and longer trainings that go on from shorter
ones.
"""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import yaml
from command_line import Bench

from bench.card import cards
from bench.execute.executor import Executor, read_executor
from bench.execute.stop import Stop
from bench.files import hash_file
from bench.plan import Job, expand
from bench.prefix import training_prefix
from bench.spec import (
    LikelihoodSpec,
    SampleSpec,
    SnapshotSpec,
    TrainSpec,
    canonical,
    from_plain,
    key,
    place,
)
from bench.stages import jobs
from bench.stages.context import Context, Unwatched
from bench.store import Store, UnitId
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 8, batch: 8}
figures: ["*-vs-training"]
likelihood: {images: 2, batch: 2, tolerance: 1.0, eps: 1.0e-2}
train:
  vp:
    method: sde
    snapshots: SNAPSHOTS
    params:
      network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4], init_scale: 1.0}
      training: {steps: STEPS, batch: 8, warmup_steps: 2, heldout_images: 16, schedule: SCHEDULE}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [2]}}
"""


def text(snapshots="[16, 30]", steps=6, schedule="constant"):
    lines = SUITE if snapshots else SUITE.replace("    snapshots: SNAPSHOTS\n", "")
    return (
        lines.replace("SNAPSHOTS", str(snapshots))
        .replace("STEPS", str(steps))
        .replace("SCHEDULE", schedule)
    )


def suite_of(folder, **values):
    path = folder / "suite.yaml"
    path.write_text(text(**values))
    return read_suite(path)


def train(store, folder, **values):
    """Trains what a suite asks for and the store lacks, as a worker would; returns the spec of the
    end.
    """
    suite = suite_of(folder, **values)
    settings = {"device": "cpu", "checkpoint_seconds": 1e9}
    for job in expand(suite):
        if job.stage == "train" and store.record(*job.units[0]) is None:
            context = Context(store, settings, Unwatched(), Stop(), start="", attempts=1)
            jobs.make(job, job.units[0], context)
    return suite.train["vp"][0]


def weights(store, spec):
    return (store.root.joinpath(*place(spec)[:2]) / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A run with snapshots after 16 and 30 of 48 images."""
    bench = Bench(tmp_path_factory.mktemp("taken"))
    code, out, err = bench.suite(text()).here()
    assert code == 0, out + err
    return bench


@pytest.fixture(scope="module")
def trainings(taken):
    """The specs of that run: two snapshots and the end."""
    (end,) = read_suite(taken.folder / "small.yaml").train["vp"]
    return [SnapshotSpec(train=end, images=16), SnapshotSpec(train=end, images=30), end]


def test_a_snapshot_is_in_the_key_and_its_absence_is_not():
    train = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)
    sample = SampleSpec(
        train=train, sampler="heun", sampler_version=1, times="", params={}, batch=8
    )
    likelihood = LikelihoodSpec(train=train, version=1, images=8, batch=8)
    for spec in (sample, likelihood):
        assert "snapshot" not in canonical(spec)
        assert spec.model is train
        taken = replace(spec, snapshot=100)
        assert taken.model == SnapshotSpec(train=train, images=100)
        assert taken.model is taken.model
        assert len({key(spec), key(taken), key(replace(spec, snapshot=200))}) == 3
        assert from_plain(type(spec), json.loads(json.dumps(canonical(taken)))) == taken
    snapshot = SnapshotSpec(train=train, images=100)
    assert place(snapshot)[0::2] == ("train", "weights")
    assert place(snapshot) != place(train)
    assert from_plain(SnapshotSpec, canonical(snapshot)) == snapshot


def test_each_snapshot_and_the_end_are_points_of_their_own(tmp_path):
    suite = suite_of(tmp_path)
    assert [point.sample.snapshot for point in suite.points] == [16, 30, None]
    assert [point.likelihood.snapshot for point in suite.points] == [16, 30, None]
    afters = (" · after 16 images", " · after 30 images", "")
    assert [point.group for point in suite.points] == [
        f"vp · euler_maruyama · nfe 2{after}" for after in afters
    ]
    assert suite.resolved["train"]["vp"]["snapshots"] == [16, 30]
    assert suite_of(tmp_path, snapshots="[30, 16]").snapshots == {"vp": (16, 30)}


@pytest.mark.parametrize(
    ("snapshots", "message"),
    [
        ("[16, 48]", "snapshots.1: should lie inside the training, which sees 48 images"),
        ("[0]", "snapshots.0: should lie inside the training"),
        ("[16, 16]", "snapshots.1: stands in this list twice"),
        ("[1.5]", "snapshots.0: should be a whole number"),
        ("16", "snapshots: should be a list"),
        ("[]", "snapshots: should not be empty"),
    ],
)
def test_snapshots_that_cannot_be_are_refused_when_the_suite_is_read(tmp_path, snapshots, message):
    with pytest.raises(SuiteError) as caught:
        suite_of(tmp_path, snapshots=snapshots)
    assert message in str(caught.value)


def test_a_method_that_keeps_no_snapshots_says_so(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(text())
    mute = {"sde": replace(cards()["sde"], training=None)}
    with pytest.raises(SuiteError, match="sde keeps no snapshots of its training"):
        read_suite(path, cards=mute)


def test_a_trial_run_has_one_snapshot_in_the_middle_of_its_short_training(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(text(steps=1000, snapshots="[100, 4000]"))
    assert read_suite(path, smoke=True).snapshots == {"vp": (12,)}


def test_every_training_of_a_course_needs_the_next_shorter_one(tmp_path):
    path = tmp_path / "suite.yaml"
    values = yaml.safe_load(text())
    longer = yaml.safe_load(text(steps=12, snapshots="[40, 80]"))
    values["train"]["long"] = longer["train"]["vp"]
    path.write_text(yaml.safe_dump(values))
    jobs = [job for job in expand(read_suite(path)) if job.stage == "train"]
    by_length = sorted(jobs, key=lambda job: training_prefix(job.specs[0]).images)
    assert [training_prefix(job.specs[0]).images for job in by_length] == [16, 30, 40, 48, 80, 96]
    for shorter, job in zip([None, *by_length], by_length, strict=False):
        assert job.needs == (() if shorter is None else shorter.units)
    assert len({training_prefix(job.specs[0]).family for job in jobs}) == 1


def test_a_training_whose_rate_falls_shares_its_course_with_its_snapshots_alone(tmp_path):
    falling, longer = (
        suite_of(tmp_path, schedule="cosine", steps=steps).train["vp"][0] for steps in (6, 12)
    )
    courses = [
        training_prefix(spec).family
        for spec in (falling, SnapshotSpec(train=falling, images=16), longer)
    ]
    assert courses[0] == courses[1] != courses[2]
    assert not training_prefix(falling).open
    assert training_prefix(SnapshotSpec(train=falling, images=16)).open


def test_weights_of_a_snapshot_are_those_of_a_training_that_ends_there(taken, trainings, tmp_path):
    alone = Store(tmp_path)
    end = train(alone, tmp_path, steps=2, snapshots="[8]")
    assert weights(alone, end) == weights(taken.store, trainings[0])
    assert len({weights(taken.store, spec) for spec in trainings}) == 3


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_snapshots_change_no_byte_of_the_training_they_are_of(tmp_path, schedule):
    found = set()
    for snapshots in (None, "[16, 30]", "[47]"):
        store = Store(tmp_path / str(snapshots))
        end = train(store, tmp_path, schedule=schedule, snapshots=snapshots)
        found.add(weights(store, end))
    assert len(found) == 1


def test_a_record_says_what_the_snapshot_saw_and_cost(taken, trainings):
    records = [taken.store.record(*place(spec)) for spec in trainings]
    assert [record["images"] for record in records] == [
        16,
        32,
        48,
    ]  # a snapshot is taken after a whole update
    assert [record["steps"] for record in records] == [2, 4, 6]
    flops = [record["flops"] for record in records]
    assert flops == [flops[2] / 3, flops[2] * 2 / 3, flops[2]]
    assert records[0]["seconds"] < records[1]["seconds"] < records[2]["seconds"]
    keys = [key(spec) for spec in trainings]
    assert [record["went_on_from"] for record in records] == [None, keys[0], keys[1]]


def test_rows_of_snapshots_have_their_own_training_and_their_own_weights(taken):
    with open(taken.results / "small" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["snapshot"] for row in rows] == ["16", "30", ""]
    assert [row["training_images"] for row in rows] == ["16", "32", "48"]
    assert [row["state"] for row in rows] == ["done"] * 3
    for column in (
        "training_flops",
        "training_seconds",
        "train_key",
        "key",
        "bits_per_dim",
        "fd(digits-cnn@8)",
    ):
        assert len({row[column] for row in rows}) == 3, column
    assert (taken.results / "small" / "figures" / "fd-digits-cnn-8-vs-training.png").exists()


def test_a_longer_training_goes_on_from_a_shorter_one_to_the_bytes_of_one_that_did_not(
    taken, tmp_path
):
    copy, fresh = Store(tmp_path / "copy"), Store(tmp_path / "fresh")
    shutil.copytree(taken.store.root, copy.root)
    for store in (copy, fresh):
        end = train(store, tmp_path, steps=9, snapshots="[60]")
    snapshot = SnapshotSpec(train=end, images=60)
    assert copy.record(*place(snapshot))["went_on_from"] is not None
    assert fresh.record(*place(snapshot))["went_on_from"] is None
    for spec in (snapshot, end):
        assert weights(copy, spec) == weights(fresh, spec)


def test_a_damaged_state_is_not_gone_on_from(taken, trainings, tmp_path):
    copy = Store(tmp_path / "copy")
    shutil.copytree(taken.store.root, copy.root)
    for spec in trainings[:2]:
        path = copy.folder(*place(spec)[:2]) / "resume.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    shutil.rmtree(copy.folder(*place(trainings[2])[:2]))
    train(copy, tmp_path)
    assert copy.record(*place(trainings[2]))["went_on_from"] is None
    assert weights(copy, trainings[2]) == weights(taken.store, trainings[2])


def test_a_training_whose_end_is_stored_under_another_name_takes_no_step(
    taken, trainings, tmp_path
):
    """Four updates of a training of six are the whole of a training of four."""
    copy = Store(tmp_path / "copy")
    shutil.copytree(taken.store.root, copy.root)
    end = train(copy, tmp_path, steps=4, snapshots="[8]")
    assert copy.record(*place(end))["steps"] == 4
    assert copy.record(*place(end))["images"] == 32
    assert weights(copy, end) == weights(taken.store, trainings[1])
    state = copy.folder(*place(end)[:2]) / "resume.safetensors"
    assert hash_file(state) == copy.record(*place(end))["state"]


def test_the_state_of_a_training_that_cannot_be_lengthened_is_not_kept(tmp_path):
    store = Store(tmp_path)
    end = train(store, tmp_path, schedule="cosine", snapshots="[16]")
    kept = {path.parent.name for path in store.root.glob("train/*/resume.safetensors")}
    assert kept == {key(SnapshotSpec(train=end, images=16))}
    assert store.record(*place(end))["state"] is None


def test_sampling_in_bfloat16_rounds_the_network_and_counts_the_same(taken, trainings, tmp_path):
    copy = Store(tmp_path / "copy")
    shutil.copytree(taken.store.root, copy.root)
    point = suite_of(tmp_path).points[0]
    images = []
    for precision in ("float32", "bfloat16"):
        sample = replace(point.sample, precision=precision, params={"steps": 50})
        unit = UnitId(*place(sample)[:2], "00000")
        job = Job(stage="samples", key=unit.key, label="", specs=(sample,), parts=(unit.part,))
        jobs.make(
            job,
            unit,
            Context(copy, {"device": "cpu"}, Unwatched(), Stop(), start="", attempts=1),
        )
        record = copy.record(*unit)
        assert record["nfe"] == 50
        images.append(copy.images(unit.key, 8).astype(int))
    assert (images[0] != images[1]).any()
    assert abs(images[0] - images[1]).mean() < 0.5
    assert (
        len(
            {
                copy.record("samples", name, "00000")["flops_per_row"]
                for name, _ in copy.specs("samples")
            }
        )
        == 1
    )


def test_an_executor_may_allow_tf32_and_compile(tmp_path):
    path = tmp_path / "fast.yaml"
    path.write_text("tf32: true\ncompile: true\n")
    fast = read_executor(str(path))
    assert (fast.tf32, fast.compile) == (True, True)
    assert (Executor().tf32, Executor().compile) == (False, False)
