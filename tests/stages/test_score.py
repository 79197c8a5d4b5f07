import io
from types import SimpleNamespace

import numpy as np
import pytest

from bench.data.images import load_images
from bench.metrics.registry import METRICS
from bench.metrics.scoring import score
from bench.plan import Job
from bench.spec import SampleSpec, ScoreSpec, TrainSpec, part_name, place
from bench.stages import score as score_stage
from bench.stages.score import scores
from bench.store import DamagedError, Store, UnitId


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def value(images, name, params, data):
    return score([images], [(name, params)], data)[0].value


@pytest.fixture
def stage(tmp_path, digits):
    """A store with samples of three batches, and what a job of scores is given."""
    store = Store(tmp_path / "store")
    train = TrainSpec(method="sde", method_version=1, dataset="digits", dataset_version=1)
    source = SampleSpec(
        train=train,
        sampler="euler_maruyama",
        sampler_version=1,
        times="quadratic",
        params={"steps": 3},
        batch=20,
    )
    for index in range(3):
        content = io.BytesIO()
        np.savez(content, images=16 - digits.test[20 * index : 20 * index + 20])
        unit = UnitId("samples", place(source)[1], part_name(index))
        store.finish(unit, {"images": 20}, {".npz": content.getvalue()})
    specs = tuple(
        ScoreSpec(
            source=source,
            count=50,
            metric=name,
            metric_version=METRICS[name].version,
            params=params,
        )
        for name, params in (("fd", {}), ("is", {"splits": 2}), ("kd", {"subsets": 2}))
    )
    parts = tuple(place(spec)[2] for spec in specs)
    job = Job(stage="scores", key=place(specs[0])[1], label="row", specs=specs, parts=parts)
    context = SimpleNamespace(store=store, device="cpu", provenance=lambda: {"commit": "c"})
    return job, context, source


def test_a_job_scores_the_first_images_of_the_shards_and_keeps_the_floor_but_no_features(
    stage, digits, monkeypatch
):
    job, context, _ = stage
    scores(job, UnitId("scores", job.key, "metrics"), context)
    records = [context.store.record("scores", job.key, part) for part in job.parts]
    requests = [(spec.metric, METRICS[spec.metric].params(**spec.params)) for spec in job.specs]
    expected = score([16 - digits.test[:50]], requests, digits)
    assert [record["value"] for record in records] == [
        pytest.approx(one.value, rel=1e-9) for one in expected
    ]
    assert all(record["identity"]["uint8"] == "round" for record in records)
    assert records[0]["floor"]["draws"] == METRICS["fd"].floor
    assert "floor" not in records[1]
    assert not list((context.store.root / "scores").rglob("*.np*"))
    # A second sample set of the same size draws no real images again.
    monkeypatch.setattr(score_stage, "real_floor", None)
    for part in job.parts:
        context.store.discard(UnitId("scores", job.key, part))
    scores(job, UnitId("scores", job.key, "metrics"), context)
    assert context.store.record("scores", job.key, job.parts[0])["floor"] == records[0]["floor"]


def test_samples_that_were_pruned_are_named(stage):
    job, context, source = stage
    unit = UnitId("samples", place(source)[1], part_name(1))
    context.store.path(unit, ".npz").unlink()
    with pytest.raises(DamagedError, match=r"00001\.npz"):
        scores(job, UnitId("scores", job.key, "metrics"), context)
