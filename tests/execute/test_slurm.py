"""Executor files of clusters, and what is made of files and queue, without any SLURM."""

import json
import time
from dataclasses import replace

import pytest

from bench.cli.parser import main
from bench.execute.attempt import close_attempts, seconds
from bench.execute.compute import compute
from bench.execute.executor import read_executor
from bench.execute.lease import Lease, LostError, hold, noted
from bench.execute.outcome import outcome, trained_steps
from bench.execute.slurm import driver as campaigns
from bench.execute.slurm import queue
from bench.execute.slurm.arrays import pack, split
from bench.execute.slurm.driver import ClusterRefusesError, SlurmDriver
from bench.execute.slurm.ending import endings, shared_cause
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.options import SBATCH
from bench.execute.slurm.overview import overview
from bench.execute.slurm.queue import Entry, Limits
from bench.execute.slurm.reconcile import entries_of, reconcile
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order, Submission, prepare, submissions
from bench.execute.slurm.submit import RefusedError, add_line, parameters
from bench.plan import Job, expand
from bench.store import Store, UnitId
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

# Executor files


def problems(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as error:
        read_executor(str(path))
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cluster: slrum", "cluster: is no cluster; did you mean slurm?"),
        (
            "cluster: slurm\nresources: {partion: gpu}",
            "resources.partion: unknown key; did you mean partition?",
        ),
        ("cluster: slurm\nsample: {gpus: 1}", "sample: unknown key; did you mean samples?"),
        (
            "cluster: slurm\ntrain: {gpus: one}",
            'train.gpus: should be a whole number, or a type and a number: write gpus: "one:1"',
        ),
        ("cluster: slurm\nresources: {cpus: 0}", "cpus should be at least 1"),
        (
            "cluster: slurm\nresources: {sbatch: {contraint: a}}",
            "contraint: unknown key; did you mean constraint?",
        ),
        (
            "cluster: slurm\nresources: {sbatch: {time: 3}}",
            "resources.sbatch.time: is said by minutes, outside sbatch",
        ),
        (
            "cluster: slurm\nresources: {sbatch: {array: 1-3}}",
            "resources.sbatch.array: is set by the harness itself",
        ),
        (
            "cluster: slurm\ntrain: {minutes: 3}",
            "train.minutes: is not more than signal_seconds (120)",
        ),
        ("cluster: slurm\nscores: {nodes: 2}", "scores: nodes and tasks share a training"),
        (
            "cluster: slurm\ntrain: {tasks: 4, gpus: 2}",
            "train.gpus: should be tasks (4), a GPU each",
        ),
        ("cluster: slurm\npoll_seconds: 0", "poll_seconds should be more than 0"),
        (
            "cluster: slurm\nresources: {memory_gb: 4, sbatch: {mem-per-cpu: 2G}}",
            "stands beside a mem option",
        ),
    ],
)
def test_mistakes_in_an_executor_file_are_named_with_the_near_miss(tmp_path, text, told):
    assert told in problems(tmp_path, text)


def test_what_a_stage_asks_for_lies_over_what_all_ask_for(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "cluster: slurm\nresources: {partition: gpu, gpus: 1, sbatch: {constraint: a100}}\n"
        "scores: {partition: cpu, gpus: 0, sbatch: {nice: 10}}\n"
    )
    executor = read_executor(str(path), jobs=7)
    assert (executor.train.partition, executor.train.gpus, executor.train.at_once) == ("gpu", 1, 7)
    assert (executor.scores.partition, executor.scores.gpus) == ("cpu", 0)
    assert executor.scores.sbatch == {"constraint": "a100", "nice": 10}


@pytest.mark.parametrize("name", ["slurm", "slurm_ddp"])
def test_executor_files_that_come_along_are_right(name):
    assert isinstance(read_executor(name), Slurm)


def test_options_of_sbatch_and_ours_never_say_the_same_twice():
    assert not set(SBATCH) & {
        "partition",
        "account",
        "qos",
        "time",
        "array",
        "nodes",
        "dependency",
        "cpus-per-task",
    }


def test_what_sbatch_is_told():
    resources = Resources(
        partition="gpu",
        gpus=2,
        memory_gb=10,
        minutes=90,
        setup=("module load x",),
        sbatch={"nice": 5},
    )
    order = Order(
        stage="train",
        elements=((UnitId("train", "k", "w"),),),
        resources=resources,
        memory=1.5,
        after=("3", "4"),
    )
    told = parameters("name", order, {"threads": 2})
    assert (told["mem"], told["time"], told["gpus_per_node"]) == ("15360MB", 90, 2)
    assert told["dependency"] == "afterany:3:4"
    assert told["additional_parameters"] == {"requeue": True, "nice": 5}
    assert told["setup"][0] == "export OMP_NUM_THREADS=2"
    assert told["setup"][-1] == "module load x"
    assert "gpus_per_node" not in parameters(
        "name", replace(order, resources=Resources()), {"threads": 1}
    )


def test_nothing_can_be_left_in_the_queue_of_this_machine(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SUITE)
    assert main(["run", str(tmp_path / "small.yaml"), "--results", str(tmp_path), "--detach"]) == 2
    assert (
        "--detach leaves jobs in the queue of a cluster; this executor has none"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "small").exists()


# Cutting work into jobs


def units(count, stage="samples"):
    return [UnitId(stage, f"k{k}", "00000") for k in range(count)]


def test_small_units_are_packed_in_order_until_a_job_is_long_enough():
    six = units(6)
    assert pack(six, 0, [10.0] * 6, 35.0) == [tuple(six[:3]), tuple(six[3:])]
    assert pack(six, 0, [100.0] * 6, 35.0) == [(unit,) for unit in six]
    assert pack(six, 4, [1.0] * 6, 1e9) == [tuple(six[:4]), tuple(six[4:])]
    assert pack([], 0, [], 1.0) == []


def test_arrays_are_split_at_what_the_site_takes():
    assert [len(part) for part in split([(unit,) for unit in units(7)], 3)] == [3, 3, 1]


# Files and queue

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 4, batch: 2}
train:
  vp: {method: sde, seeds: [0, 1], params: {network: {width: 8, multipliers: [1, 2], blocks: 1, attention: [4]}}}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [3, 5]}}
"""
EXECUTOR = Slurm(
    **{
        stage: Resources(minutes=10, memory_gb=2.0, array_size=3)
        for stage in ("train", "samples", "likelihood", "inspect", "scores")
    },
    grace_seconds=0.0,
)


class FakeCluster:
    """A queue that holds what the test puts there, and an sbatch that numbers what it is given."""

    def __init__(self, monkeypatch):
        self.entries = {}
        self.cancelled = []
        self.refuse = ""
        self.taken = []
        monkeypatch.setattr(queue, "queue", lambda names=None: dict(self.entries))
        monkeypatch.setattr(queue, "account", lambda ids: {})
        monkeypatch.setattr(queue, "limits", lambda: Limits(1000, None))
        monkeypatch.setattr(queue, "cancel", lambda ids: self.cancelled.extend(ids))
        monkeypatch.setattr(queue, "refusals", lambda resources: [])
        monkeypatch.setattr(campaigns, "submit", self.submit)

    def submit(self, submission, order):
        if self.refuse:
            raise RefusedError(self.refuse)
        submission.note_job(str(100 + len(self.taken)))
        self.taken.append(submission)
        self.set(submission, "PENDING")

    def set(self, submission, state):
        for element in range(len(submission.elements)):
            id_ = submission.id(element)
            self.entries[id_] = Entry(id_, submission.name, state)


@pytest.fixture
def fake(monkeypatch):
    return FakeCluster(monkeypatch)


@pytest.fixture
def study(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(SUITE)
    suite = read_suite(tmp_path / "small.yaml")
    return expand(suite), Store(tmp_path / "store"), tmp_path / "small"


def begun(study):
    """A campaign that has taken stock and submitted what is ready."""
    found = SlurmDriver(*study, EXECUTOR)
    found._look(found._take_stock())
    found._submit_ready()
    return found


def look(campaign, fake):
    campaign._look(dict(fake.entries))
    campaign._submit_ready()
    return campaign


def note(study, submission, unit, **facts):
    study[1].note_attempt(
        unit, attempt="a", run=submission.run, start="2026-01-01T00:00:00+00:00", **facts
    )
    study[1].note_attempt(unit, attempt="a", submission=submission.name)


def test_unit_is_never_submitted_again_while_the_queue_has_its_job(study, fake):
    campaign = begun(study)
    (first,) = fake.taken
    assert len(first.elements) == 2
    for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "A_STATE_OF_NEXT_YEAR"):
        fake.set(first, state)
        look(campaign, fake)
        assert fake.taken == [first]
    fake.set(
        first, "NODE_FAIL"
    )  # SLURM will start it again: for a while it is not believed to be gone
    look(campaign, fake)
    assert fake.taken == [first]
    fake.set(first, "FAILED")
    look(look(campaign, fake), fake)
    assert len(fake.taken) > 1


def test_queue_that_does_not_answer_changes_nothing(study, fake):
    campaign = begun(study)
    campaign._look(None)
    campaign._submit_ready()
    assert len(fake.taken) == 1
    assert "failed" not in campaign.over.values()


def test_id_that_belongs_to_a_job_of_another_name_is_not_ours(study, fake):
    campaign = begun(study)
    (first,) = fake.taken
    for id_, entry in list(fake.entries.items()):
        fake.entries[id_] = replace(entry, name="somebody-else", state="RUNNING")
    assert entries_of(first, fake.entries) == [None, None]
    look(look(campaign, fake), fake)
    assert len(fake.taken) > 1


def test_next_driver_adopts_what_is_alive_and_forgets_the_rest(study, fake):
    begun(study)
    (first,) = fake.taken
    again = begun(study)
    assert fake.taken == [first]
    assert [submission.name for submission in again.submitted] == [first.name]
    fake.set(first, "NODE_FAIL")
    begun(study)
    assert fake.taken == [first], "SLURM starts it again"
    fake.entries.clear()
    begun(study)
    assert len(fake.taken) == 2
    assert submissions(study[2])[0].over


def test_intent_without_an_id_is_found_by_its_name_or_given_up(study, fake):
    campaign = begun(study)
    (first,) = fake.taken
    (first.folder / "job.json").unlink()
    assert reconcile(submissions(study[2]), fake.entries)[first.elements[0][0]].alive
    begun(study)
    assert submissions(study[2])[0].job == first.job
    assert (first.folder / "jobs" / first.id(1) / f"{first.id(1)}_submitted.pkl").exists(), (
        "what its job waits for"
    )
    order = Order(stage="train", elements=first.elements, resources=EXECUTOR.train)
    lost = prepare(order, study[2], study[1], "r", campaign.jobs, EXECUTOR.settings)
    begun(study)
    assert lost.name in {
        submission.name for submission in submissions(study[2]) if submission.abandoned
    }
    assert len(fake.taken) == 1


@pytest.mark.parametrize(
    ("state", "kind", "tries"),
    [
        *(
            ("NODE_FAIL", "node", 3),
            ("CANCELLED", "cancelled", 3),
            ("TIMEOUT", "time", 3),
            ("FAILED", "died", 3),
        ),
        ("OUT_OF_MEMORY", "memory", 2),
    ],
)
def test_unit_whose_job_dies_is_tried_as_often_as_its_kind_allows(
    study, fake, monkeypatch, state, kind, tries
):
    monkeypatch.setattr(campaigns, "NODE_SECONDS", 0.0)
    campaign = begun(study)
    for _ in range(6):
        for submission in fake.taken:
            if not submission.over:
                for unit in [unit for units in submission.elements for unit in units]:
                    note(study, submission, unit)
                fake.set(submission, state)
        look(campaign, fake)
        look(campaign, fake)
    failed = [job.units[0] for job in study[0] if job.stage == "train"]
    for unit in failed:
        (attempt,) = study[1].attempts(*unit)
        assert (attempt["state"], attempt["kind"]) == ("failed", kind)
        assert outcome(study[1], unit).state == "failed"
        of_unit = [s for s in fake.taken if any(unit in units for units in s.elements)]
        assert len(of_unit) == tries
    assert {state for unit, state in campaign.over.items() if unit.stage == "scores"} == {"blocked"}
    if kind == "memory":
        assert [s.intent["memory"] for s in fake.taken] == [1.0, 1.5]
        assert "it had 3 GB" in study[1].attempts(*failed[0])[-1]["cause"]


def test_units_whose_job_ran_out_of_memory_before_their_turn_get_more_as_well(study, fake):
    campaign = SlurmDriver(*study, replace(EXECUTOR, train=replace(EXECUTOR.train, units=2)))
    campaign._look(campaign._take_stock())
    campaign._submit_ready()
    (first,) = fake.taken
    ((one, other),) = first.elements
    note(study, first, one)
    fake.set(first, "OUT_OF_MEMORY")
    look(look(campaign, fake), fake)
    later = fake.taken[1:]
    assert {unit for submission in later for units in submission.elements for unit in units} == {
        one,
        other,
    }
    assert {submission.intent["memory"] for submission in later} == {1.5}
    for submission in later:
        for units in submission.elements:
            for unit in units:
                note(study, submission, unit)
        fake.set(submission, "OUT_OF_MEMORY")
    look(look(campaign, fake), fake)
    assert {campaign.over[one], campaign.over[other]} == {"failed"}, "each has had what there is"
    assert fake.taken[1:] == later


def test_expected_time_of_a_unit_is_learned_from_those_that_finish(study, fake):
    campaign = begun(study)
    one, other = (job.units[0] for job in study[0] if job.stage == "train")
    scores = [job for job in study[0] if job.stage == "scores"]
    assert campaign.sizes.source(other) == "assumed"
    here = {"accelerator": "cpu", "threads": EXECUTOR.threads}
    study[1].finish(one, {"seconds": 7.0, "provenance": {**here, "attempt_seconds": 9.0}})
    for result in scores[0].results:
        study[1].finish(result, {"provenance": {**here, "attempt_seconds": 0.25}})
    look(campaign, fake)
    assert (campaign.sizes.of(other), campaign.sizes.source(other)) == (
        pytest.approx(7.0),
        "finished alike",
    )
    assert campaign.sizes.of(scores[1].units[0]) == pytest.approx(0.25)


def test_training_that_gets_on_between_deaths_is_tried_on_and_on(study, fake):
    campaign = begun(study)
    for step in range(1, 8):
        for submission in [s for s in fake.taken if not s.over]:
            for unit in [unit for units in submission.elements for unit in units]:
                note(study, submission, unit)
                header = json.dumps({"__metadata__": {"step": str(step)}}).encode()
                path = study[1].folder("train", unit.key) / "resume.safetensors"
                path.write_bytes(len(header).to_bytes(8, "little") + header)
                assert trained_steps(study[1], unit.key) == step
            fake.set(submission, "TIMEOUT")
        look(look(campaign, fake), fake)
    assert "failed" not in campaign.over.values()
    assert len(fake.taken) >= 7


def test_exception_is_not_tried_again_and_keeps_its_last_words(study, fake):
    campaign = begun(study)
    (first,) = fake.taken
    unit = first.elements[0][0]
    note(study, first, unit)
    study[1].note_attempt(
        unit,
        attempt="a",
        state="failed",
        cause="ValueError: no",
        traceback="Traceback\nValueError: no",
    )
    fake.set(first, "FAILED")
    look(look(campaign, fake), fake)
    assert campaign.over[unit] == "failed"
    assert outcome(study[1], unit).tail == ("Traceback", "ValueError: no")


def test_stage_whose_first_jobs_all_fail_alike_is_stopped(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(
        SUITE.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4, 5]")
    )
    suite = read_suite(tmp_path / "small.yaml")
    study = expand(suite), Store(tmp_path / "store"), tmp_path / "small"
    campaign = begun(study)
    first, second = fake.taken
    for element, (unit,) in enumerate(first.elements):
        note(study, first, unit)
        study[1].note_attempt(
            unit,
            attempt="a",
            state="failed",
            cause=f"RuntimeError: no GPU {element} on node {element}",
        )
    fake.set(first, "FAILED")
    look(look(campaign, fake), fake)
    assert fake.taken == [first, second]
    assert set(fake.cancelled) == {second.id(element) for element in range(3)}
    for (unit,) in second.elements:
        seen = outcome(study[1], unit)
        assert seen.state == "failed"
        assert seen.cause.startswith(
            "not tried: the first jobs all failed alike (3): RuntimeError: no GPU"
        )


def test_stopped_stage_leaves_alone_what_runs_already(tmp_path, fake):
    (tmp_path / "small.yaml").write_text(
        SUITE.replace("seeds: [0, 1]", "seeds: [0, 1, 2, 3, 4, 5]")
    )
    study = (
        expand(read_suite(tmp_path / "small.yaml")),
        Store(tmp_path / "store"),
        tmp_path / "small",
    )
    campaign = begun(study)
    first, second = fake.taken
    for (unit,) in first.elements:
        note(study, first, unit)
        study[1].note_attempt(unit, attempt="a", state="failed", cause="RuntimeError: no GPU")
    fake.set(first, "FAILED")
    fake.set(second, "RUNNING")
    look(look(campaign, fake), fake)
    assert fake.cancelled == []
    assert not {unit for units in second.elements for unit in units} & campaign.over.keys()


def test_array_that_the_queue_has_no_room_for_is_made_smaller(study, fake):
    fake.refuse = "sbatch: error: AssocMaxSubmitJobLimit"
    campaign = begun(study)
    assert campaign.most_elements("train") == 1
    fake.refuse = ""
    look(campaign, fake)
    assert [len(submission.elements) for submission in fake.taken] == [1, 1]


def test_failures_are_alike_up_to_numbers():
    assert shared_cause(["a 1 x", "a 2 x", "a 33 x"])
    assert not shared_cause(["a 1 x", "a 2 x"])
    assert not shared_cause(["a", "b", "a"])


def test_refusals_of_sbatch_are_waited_out_and_then_told(study, fake):
    fake.refuse = "sbatch: error: invalid partition specified: nope"
    campaign = begun(study)
    for _ in range(2):
        assert campaign.not_before > time.monotonic()
        campaign.not_before = 0.0
        look(campaign, fake)
    campaign.not_before = 0.0
    with pytest.raises(ClusterRefusesError, match=r"refused 4 times: .*invalid partition"):
        look(campaign, fake)
    assert all(submission.abandoned for submission in submissions(study[2]))


def test_full_queue_is_waited_for_without_end(study, fake):
    campaign = begun(study)
    fake.refuse = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    campaign.over[fake.taken[0].elements[0][0]] = "done"  # so that a stage becomes ready
    for _ in range(8):
        look(campaign, fake)
    assert campaign.refused == 0


def test_detached_everything_is_submitted_after_what_it_needs(study, fake):
    with hold(study[2]) as lease:
        made, left_out = SlurmDriver(*study, EXECUTOR).detach(lease)
    assert left_out == 0
    by_stage = {}
    for submission in made:
        by_stage.setdefault(submission.stage, []).append(submission)
    (train,) = by_stage["train"]
    assert train.intent["after"] == []
    assert {tuple(s.intent["after"]) for s in by_stage["samples"]} == {(train.job,)}
    assert {tuple(s.intent["after"]) for s in by_stage["scores"]} == {
        tuple(s.job for s in by_stage["samples"])
    }
    with hold(study[2]) as lease:
        assert SlurmDriver(*study, EXECUTOR).detach(lease) == ([], 0), "all of it is in the queue"


def test_detached_units_are_left_out_where_the_queue_takes_no_more(study, fake):
    with hold(study[2]) as lease:
        made, left_out = SlurmDriver(*study, replace(EXECUTOR, submit_limit=2)).detach(lease)
    assert [submission.stage for submission in made] == ["train"]
    assert left_out == sum(len(job.units) for job in study[0]) - 2


def test_units_that_do_not_fill_a_job_wait_for_more_of_their_stage_but_not_for_ever(
    study, fake, monkeypatch
):
    campaign = begun(study)
    (train,) = fake.taken
    done = train.elements[0][0]
    study[1].finish(done, {"seconds": 1.0})
    look(campaign, fake)
    assert fake.taken == [train], "the other model's samples may join"
    monkeypatch.setattr(campaigns, "HOLD_SECONDS", 0.0)
    look(campaign, fake)
    ready = [
        unit
        for job in study[0]
        if job.stage == "samples" and done in job.needs
        for unit in job.units
    ]
    assert {submission.stage for submission in fake.taken[1:]} == {"samples", "inspect"}
    given = [s.elements for s in fake.taken if s.stage == "samples"]
    assert [unit for elements in given for units in elements for unit in units] == ready


def test_looks_become_rarer_as_a_run_ages(study):
    campaign = SlurmDriver(*study, EXECUTOR)
    pauses = []
    for hours in (0, 1, 5, 100):
        campaign.begin = time.time() - 3600 * hours
        pauses.append(round(campaign.pause()))
    assert pauses == [10, 20, 60, 60]


def test_status_says_what_waits_in_the_queue_and_what_all_of_it_cost(study, fake):
    begun(study)
    (first,) = fake.taken
    unit = first.elements[0][0]
    seen = overview(*study)
    assert seen.judge(unit, outcome(study[1], unit)).state == "queued"
    assert f"job {first.job}" in seen.lines[0]
    assert "2 pending" in seen.lines[0]
    study[1].note_attempt(
        unit, attempt="a", run="r", start="2026-01-01T00:00:00+00:00", gpus=2, cpus=8
    )
    study[1].note_attempt(unit, attempt="a", state="died", end="2026-01-01T01:00:00+00:00")
    assert (
        "2.00 GPU-hours and 8.00 CPU-hours in all attempts; 1.00 hours of 1.00 were lost work"
        in overview(*study).lines[-1]
    )
    fake.set(first, "COMPLETED")
    assert "no job of the suite is in the queue" in overview(*study).lines


def test_plan_of_a_cluster_has_graph_arrays_sbatch_and_warnings(study, fake, monkeypatch):
    monkeypatch.setattr(queue, "refusals", lambda resources: ["the partition allows 5 minutes"])
    told = forecast(*study, replace(EXECUTOR, submit_limit=2))
    for words in (
        "2 of train",
        "#SBATCH --array=0-1%2",
        "GPU-hours",
        "warning: train: the partition allows 5 minutes",
        "jobs are more than the 2 that the queue takes",
        "warning: train: the longest takes ",
    ):
        assert words in told


def test_memory_and_packed_units_are_told_apart_by_what_their_job_left(tmp_path):
    store, (first, second, third) = Store(tmp_path), units(3)
    job = Job(stage="samples", key="k0", label="", specs=(), parts=("00000",))
    jobs = {("samples", unit.key): replace(job, key=unit.key) for unit in (first, second, third)}
    order = Order(stage="samples", elements=((first, second, third),), resources=Resources())
    submission = prepare(order, tmp_path / "small", store, "r", jobs, {})
    submission.note_job("5")
    add_line(submission.folder / "elements" / "0.jsonl", state="began")
    store.note_attempt(first, attempt="a", run="r", submission=submission.name)
    log = submission.logs(0)[0]
    log.parent.mkdir(parents=True)
    log.write_text(
        "something\nslurmstepd: error: StepId=5.0 exceeded memory limit (9 > 8), being killed\n"
    )
    seen = endings(store, [first, second, third], submission, 0, "FAILED")
    assert [seen[unit].kind for unit in (first, second, third)] == [
        "memory",
        "unreached",
        "unreached",
    ]
    assert "exceeded memory limit" in seen[first].cause
    assert seen[first].log == str(log)


def test_end_of_a_shared_training_is_told_by_the_process_that_ended_first(tmp_path):
    store, (unit,) = Store(tmp_path), units(1, "train")
    jobs = {
        ("train", unit.key): Job(stage="train", key=unit.key, label="", specs=(), parts=("00000",))
    }
    order = Order(stage="train", elements=((unit,),), resources=Resources(nodes=2))
    submission = prepare(order, tmp_path / "small", store, "r", jobs, {})
    submission.note_job("5")
    store.note_attempt(unit, attempt="a", run="r", submission=submission.name)
    cause = "RuntimeError: Connection closed by peer [10.0.0.2]:34731"
    store.note_attempt(unit, attempt="a", state="failed", cause=cause, kind="peer")
    log = submission.logs(0)[1]
    log.parent.mkdir(parents=True)
    submission.logs(0)[0].write_text("Traceback\nRuntimeError: Connection closed by peer\n")
    log.write_text("worker ready\n")
    (seen,) = endings(store, [unit], submission, 0, "FAILED").values()
    assert (seen.kind, seen.cause) == ("died", f"another process died: {cause}")
    log.write_text(
        "Traceback (most recent call last):\n  File x\nValueError: no\n[rank1]: ValueError: no\nW0 gone\n"
    )
    (seen,) = endings(store, [unit], submission, 0, "FAILED").values()
    assert (seen.kind, seen.cause, seen.log) == ("exception", "ValueError: no", str(log))


# Fences


def test_old_holder_of_a_lease_that_was_taken_over_writes_nothing(tmp_path):
    store, unit = Store(tmp_path), units(1)[0]
    path = store.path(unit, ".lease")
    old = Lease.take(path, job="1")
    old.note(attempt="a")
    new = Lease.take_over(path, job="1")
    assert new.before["attempt"] == "a"
    guarded = Store(tmp_path, guard=old.check)
    for act in (
        lambda: guarded.finish(unit, {"x": 1}, {".npz": b"1"}),
        lambda: guarded.note_attempt(unit, attempt="a", state="done"),
    ):
        with pytest.raises(LostError):
            act()
    assert {entry.name for entry in path.parent.iterdir()} == {path.name}
    old.note(step=3)
    old.release()
    assert noted(path)["token"] == new.token, "what the old one notes and releases is its own"
    new.check()
    new.release()
    assert not path.exists()


def test_death_is_dated_by_the_last_sign_of_life(tmp_path):
    store, unit = Store(tmp_path), units(1)[0]
    store.note_attempt(unit, attempt="a", run="r", start="2026-01-01T00:00:00+00:00")
    left = {"attempt": "a", "beat": 1767225600.0 + 90}
    (attempt,) = close_attempts(store, unit, left)
    assert (attempt["state"], seconds(attempt)) == ("died", 90.0)
    assert seconds(store.attempts(*unit)[0]) == 90.0
    assert compute(store, []).wall == 0.0


def test_abandoned_submission_is_seen_before_any_work(tmp_path):
    submission = Submission(tmp_path)
    submission.mark("abandoned")
    again = Submission(tmp_path)
    again.look()
    assert again.abandoned
