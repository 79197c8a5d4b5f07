from dataclasses import replace

import pytest

from bench.plan import Job, expand
from bench.progress import examine, to_prune
from bench.spec import SampleSpec, TrainSpec, canonical, place
from bench.store import Store, UnitId
from bench.suite.reader import read_suite

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
likelihood: {images: 4, batch: 2, tolerance: 1.0e-2, sweep: {tolerance: [1.0e-1]}}
train:
  vp: {method: sde, seeds: [0, 1]}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [5, 10]}}
  - {train: vp, sampler: flow_heun, grid: {nfe: [5]}}
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def jobs(tmp_path):
    def expand_(text=SUITE):
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return expand(read_suite(path))

    return expand_


def finish(store, jobs):
    """Makes every result of the jobs, as a run would."""
    for job in jobs:
        for spec in job.specs[:1]:
            if job.stage != "scores":
                store.write_spec(job.stage, job.key, spec, {})
        for unit in job.results:
            store.finish(
                unit, {"images": 1}, {".npz": b"images"} if job.stage == "samples" else None
            )


def to_do(jobs, store):
    return [progress for progress in examine(jobs, store).values() if not progress.finished]


def test_every_key_is_made_once_and_trainings_come_first(jobs):
    found = jobs()
    assert len({(job.stage, job.key) for job in found}) == len(found)
    stages = [job.stage for job in found]
    assert stages[:2] == ["train", "train"]
    assert {stage: stages.count(stage) for stage in set(stages)} == {
        "train": 2,
        "samples": 6,
        "likelihood": 4,
        "inspect": 2,
        "scores": 6,
    }


def test_every_need_is_made_by_an_earlier_job(jobs):
    made = set()
    for job in jobs():
        assert set(job.needs) <= made
        made |= set(job.results)


def test_every_model_is_inspected_once_its_snapshots_and_averages_included(jobs):
    training = (
        "params: {training: {averages_every_images: 40000000}}, snapshots: [80000000], ema: [0.1]"
    )
    found = jobs(SUITE.replace("{method: sde,", f"{{method: sde, {training},"))
    inspections = [job for job in found if job.stage == "inspect"]
    models = {result for job in found if job.stage == "train" for result in job.results}
    assert [job.parts for job in inspections] == [
        ("inspection",)
    ] * 8  # 2 seeds x (end, snapshot) x (own, 0.1)
    assert {need for job in inspections for need in job.needs} == models
    assert len(models) == 8


def test_job_survives_its_plain_form(jobs):
    for job in jobs():
        again = Job.from_plain(job.plain())
        assert again == job
        assert [place(spec)[:2] for spec in again.specs] == [(job.stage, job.key)] * len(job.specs)


def test_finished_suite_has_nothing_to_do(jobs, store):
    finish(store, jobs())
    assert to_do(jobs(), store) == []


def test_new_value_is_named_with_the_stored_one(jobs, store):
    finish(store, jobs())
    open_jobs = examine(
        jobs(SUITE.replace("seeds: [0, 1]}", "params: {beta_max: 15}, seeds: [0, 1]}")), store
    )
    trains = [progress for progress in open_jobs.values() if progress.job.stage == "train"]
    assert [progress.why for progress in trains] == [
        "new value: params.beta_max = 15.0 (stored: the default)"
    ] * 2


def test_changed_and_removed_values_are_named(jobs, store):
    finish(store, jobs(SUITE.replace("seeds: [0, 1]}", "params: {beta_max: 15}, seeds: [0]}")))
    changed = jobs(SUITE.replace("seeds: [0, 1]}", "params: {beta_max: 10}, seeds: [0]}"))
    why = next(
        progress.why
        for progress in examine(changed, store).values()
        if progress.job.stage == "train"
    )
    assert why == "new value: params.beta_max = 10.0 (stored: 15.0)"
    removed = jobs(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    why = next(
        progress.why
        for progress in examine(removed, store).values()
        if progress.job.stage == "train"
    )
    assert why == "new value: params.beta_max is the default (stored: 15.0)"


def test_new_seed_says_so(jobs, store):
    finish(store, jobs())
    found = to_do(jobs(SUITE.replace("[0, 1]", "[0, 1, 2]")), store)
    assert (
        next(progress for progress in found if progress.job.stage == "train").why
        == "new value: seed = 2 (stored: 1)"
    )


def test_new_sampler_leaves_trainings_and_other_samples(jobs, store):
    finish(store, jobs())
    more = SUITE + "  - {train: vp, sampler: reverse_diffusion, grid: {nfe: [5]}}\n"
    found = to_do(jobs(more), store)
    assert {progress.job.stage for progress in found} == {"samples", "scores"}
    assert all("reverse_diffusion" in progress.job.label for progress in found)


def test_new_metric_only_scores(jobs, store):
    finish(store, jobs())
    stages = {
        progress.job.stage: progress
        for progress in to_do(jobs(SUITE.replace("true}]", "true}, is]")), store)
    }
    assert set(stages) == {"scores"}
    assert stages["scores"].why.startswith("not there yet: is-")


def test_raised_count_asks_for_the_new_batches_alone(jobs, store):
    finish(store, jobs())
    found = examine(jobs(SUITE.replace("count: 6", "count: 9")), store)
    samples = [progress for progress in found.values() if progress.job.stage == "samples"]
    assert [progress.done for progress in samples] == [{"00000", "00001"}] * 6
    assert {progress.why for progress in samples} == {"not there yet: 00002"}
    assert all(
        progress.finished
        for progress in found.values()
        if progress.job.stage in ("train", "likelihood")
    )


def test_damaged_file_is_the_reason(jobs, store):
    found = jobs()
    finish(store, found)
    unit = next(job for job in found if job.stage == "samples").units[1]
    store.path(unit, ".npz").write_bytes(b"im")
    (progress,) = to_do(jobs(), store)
    assert progress.done == {"00000"}
    assert f"damaged: {store.path(unit, '.npz')}: has 2 bytes, 6 were written" in progress.why


def test_pruned_images_are_needed_again_only_for_new_metrics(jobs, store):
    found = jobs()
    finish(store, found)
    progress = examine(found, store)
    units = to_prune(found, progress, keep=3)
    assert {unit.part for unit in units} == {"00001"}
    assert len(units) == 6
    for unit in units:
        store.prune(unit)
    assert to_do(jobs(), store) == []
    again = to_do(jobs(SUITE.replace("true}]", "true}, is]")), store)
    assert {p.job.stage for p in again} == {"samples", "scores"}
    assert all("pruned" in p.why for p in again if p.job.stage == "samples")


def test_unscored_images_are_never_pruned(jobs, store):
    found = jobs()
    finish(store, [job for job in found if job.stage != "scores"])
    assert to_prune(found, examine(found, store), keep=0) == []


def test_specs_of_old_results_are_read_back_as_they_were():
    train = TrainSpec(
        method="sde",
        method_version=1,
        dataset="digits",
        dataset_version=1,
        params={"beta_max": 15.0},
    )
    sample = SampleSpec(
        train=train,
        sampler="walk",
        sampler_version=1,
        times="",
        params={"steps": 3},
        batch=2,
        seed=4,
        quantise="truncate",
    )
    job = Job(stage="samples", key=place(sample)[1], label="x", specs=(sample,), parts=("00000",))
    (again,) = Job.from_plain(job.plain()).specs
    assert canonical(again) == canonical(sample)
    assert place(replace(again, seed=5))[1] != job.key
    assert UnitId("samples", job.key, "00000") == job.units[0]
