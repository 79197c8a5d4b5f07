"""What plans say a suite costs: by counted FLOPs, at a throughput that is measured, of finished
units, or assumed.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.parser import main
from bench.execute.executor import read_executor
from bench.execute.slurm import measure, queue
from bench.execute.slurm.driver import SlurmDriver
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.measure import measure_here, measure_there, of_one_process
from bench.execute.slurm.packing import Sizes, kind_of, measured
from bench.execute.slurm.quantities import two_digits
from bench.execute.slurm.queue import ClusterError, Entry, Limits
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.throughput import accelerator, rate
from bench.execute.workload import Workload, evaluations, networks
from bench.plan import Job, expand
from bench.spec import SnapshotSpec, TrainSpec
from bench.store import Store, UnitId
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "{width: 8, multipliers: [1, 2], blocks: 1, attention: [4]}"
SUITE = f"""
name: small
dataset: digits
metrics: [{{metric: fd, allow_few: true}}]
samples: {{count: 40, batch: 20}}
likelihood: {{images: 30, batch: 20, tolerance: 1.0e-3, probes: 2}}
train:
  vp: {{method: sde, seeds: [0], params: {{network: {NETWORK}, training: {{steps: 100, batch: 10}}}}}}
points:
  - {{train: vp, sampler: euler_maruyama, grid: {{nfe: [10, 100]}}}}
  - {{train: vp, sampler: flow_adaptive, grid: {{tolerance: [1.0e-5]}}}}
"""
STAGES = ("train", "samples", "likelihood", "inspect", "scores")
GPU = {stage: Resources(gpus=1, cpus=4, minutes=600) for stage in STAGES}
CPU = {stage: Resources(cpus=4, minutes=600) for stage in STAGES}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.setattr(measure, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(queue, "limits", Limits)
    monkeypatch.setattr(queue, "refusals", lambda resources: [])


@pytest.fixture
def study(tmp_path):
    (tmp_path / "small.yaml").write_text(SUITE)
    return (
        expand(read_suite(tmp_path / "small.yaml")),
        Store(tmp_path / "store"),
        tmp_path / "small",
    )


def of_stage(jobs, stage):
    return [job for job in jobs if job.stage == stage]


# What units compute


def test_work_is_evaluations_times_images_times_the_network(study):
    jobs, *_ = study
    work = Workload({(job.stage, job.key): job for job in jobs})
    (train,), (likelihood,), (inspect,) = (
        of_stage(jobs, stage) for stage in ("train", "likelihood", "inspect")
    )
    (net,) = networks(train.specs[0])
    ten, hundred, adaptive = (work.of(job.units[0]) for job in of_stage(jobs, "samples"))
    assert work.of(train.units[0]).flops == 3 * 100 * 10 * net.flops
    assert (ten.flops, ten.nfe, ten.guessed) == (10 * 20 * net.flops, 10, False)
    assert hundred.flops == 100 * 20 * net.flops
    assert (adaptive.flops, adaptive.guessed) == (pytest.approx(150 * 20 * net.flops), True)
    nfe = 15 * 1e-3**-0.2  # each with two passes back to the image, for 30 images in two batches
    assert work.of(likelihood.units[0]).flops == pytest.approx(3 * nfe * 15 * net.flops)
    assert work.of(inspect.units[0]).flops == 10 * inspect.images * net.flops
    scores = work.of(of_stage(jobs, "scores")[0].units[0])
    assert (scores.flops, scores.host_flops) == (
        pytest.approx(40 * 6e5),
        2 * 40 * 24**2 + 30 * 24**3,
    )


def test_a_snapshot_costs_what_lies_between_it_and_the_one_before(study):
    train = of_stage(study[0], "train")[0].specs[0]
    specs = {"early": SnapshotSpec(train=train, images=400), "late": train}
    jobs = [
        Job(stage="train", key="early", label="", specs=(specs["early"],), parts=("weights",)),
        Job(
            stage="train",
            key="late",
            label="",
            specs=(specs["late"],),
            parts=("weights",),
            needs=(UnitId("train", "early", "weights"),),
        ),
    ]
    work = Workload({(job.stage, job.key): job for job in jobs})
    early, late = (work.of(job.units[0]).rows for job in jobs)
    assert (early, late) == (3 * 400, 3 * 600)
    taken = TrainSpec(
        method="sde", method_version=1, dataset="digits", dataset_version=1, checkpoint="ab"
    )
    job = Job(stage="train", key="taken", label="", specs=(taken,), parts=("weights",))
    assert Workload({("train", "taken"): job}).of(job.units[0]).flops == 0


def test_guided_samples_cost_a_pass_back_through_the_classifier_too(tmp_path):
    text = SUITE.replace("params: {network", "params: {classifier: {kind: resnet}, network")
    text = text.replace("grid: {nfe", "given: {task: class, label: 3}, grid: {nfe")
    (tmp_path / "guided.yaml").write_text(text)
    jobs = expand(read_suite(tmp_path / "guided.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    score, classifier = networks(of_stage(jobs, "train")[0].specs[0])
    guided = work.of(
        of_stage(jobs, "samples")[0].units[0]
    )  # its 10 evaluations are five of each network
    assert (guided.flops, guided.nfe) == (5 * 20 * (score.flops + 2 * classifier.flops), 10)
    trained = work.of(of_stage(jobs, "train")[0].units[0]).flops
    assert trained == 3 * (1000 * score.flops + classifier.images * classifier.flops)


def test_every_sampler_of_every_method_says_what_it_costs_or_guesses():
    from bench.card import cards

    for method, card in cards().items():
        for name, sampler in card.samplers.items():
            assert sampler.effort.exact or sampler.effort.evaluations(sampler.params()) > 1, (
                method,
                name,
            )
        assert card.likelihood is None or card.likelihood.guess(card.likelihood.params(), 64)[0] > 1
    assert callable(evaluations)


def test_exact_scores_are_not_trained_and_not_counted(tmp_path):
    text = SUITE.replace("params: {network", "params: {exact: true, network")
    (tmp_path / "exact.yaml").write_text(text)
    jobs = expand(read_suite(tmp_path / "exact.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    found = {job.stage: work.of(job.units[0]) for job in jobs}
    assert found["train"].flops == 0
    assert (found["samples"], found["likelihood"], found["inspect"]) == (None, None, None)
    told = forecast(jobs, Store(tmp_path / "store"), tmp_path / "exact", Slurm(**CPU))
    assert "60 s a unit where nothing says what it computes" in told


# At what throughput


@pytest.mark.parametrize(
    ("resources", "options", "tflops", "words"),
    [
        (
            {"gpus": 1},
            {},
            10,
            "an assumed 10 TFLOP/s of an A100 (the file names no type of GPU) in float32",
        ),
        ({"gpus": 1}, {"tf32": True}, 40, "in TF32"),
        ({"gpus": "a100:1"}, {"tf32": True}, 40, "an assumed 40 TFLOP/s of an A100 in TF32"),
        ({"gpus": "h100:4"}, {}, 25, "of an H100 in float32"),
        ({"gpus": 1, "sbatch": {"constraint": "h200"}}, {"tf32": True}, 90, "of an H200"),
        ({"sbatch": {"gres": "gpu:nvidia_h200:1"}}, {}, 25, "of an H200"),
        ({"gpus": 1, "partition": "gpu-h100"}, {}, 25, "of an H100"),
        ({"gpus": "1g.10gb:1"}, {}, 10 / 7, "of which a MIG instance has 0.14"),
        ({"gpus": "h100:1"}, {"tflops": 33.0}, 33, "33 TFLOP/s of a GPU, as tflops says"),
        (
            {"gpus": "h100:1"},
            {"tflops": {"h100": 50.0, "a100": 1.0}},
            50,
            "50 TFLOP/s of a GPU, as tflops says",
        ),
        ({"gpus": 1}, {"tflops": {"gpu": 7.0, "a100": 1.0}}, 7, "as tflops says"),
        ({}, {"threads": 4}, 0.12, "an assumed 0.03 TFLOP/s of a CPU thread, 4 of them"),
        ({"gpus": 1}, {"device": "cpu"}, 0.03, "of a CPU thread"),
        (
            {},
            {"tflops": {"cpu": 0.1}, "threads": 2},
            0.2,
            "0.1 TFLOP/s, as tflops says, of a CPU thread",
        ),
        ({}, {"tflops": 40.0}, 0.03, "of a CPU thread"),
    ],
)
def test_throughput_is_that_of_the_device_that_is_asked_for(resources, options, tflops, words):
    found = rate(Slurm(samples=Resources(**resources), **options), "samples", "float32")
    assert found.tflops == pytest.approx(tflops)
    assert words in found.words


def test_devices_are_known_by_the_names_that_drivers_and_sites_give_them():
    names = {
        "NVIDIA A100-SXM4-80GB": "a100",
        "nvidia_h100_80gb_hbm3": "h100",
        "NVIDIA H200": "h200",
        "GH200": "h200",
    }
    assert {name: accelerator(name) for name in names} == names
    assert [accelerator(name) for name in ("Tesla V100", "a100|h100", "", "ha1000")] == [
        "",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("tflops: fast", "tflops: should be one of 'auto' or a number or a mapping"),
        ("tflops: 0", "tflops should be more than 0"),
        ("tflops: {a100: -1}", "tflops should be more than 0"),
        ("tflops: {a1000: 40}", "tflops knows no a1000, but a100, h100, h200, gpu, cpu"),
        ("tflop: 4", "tflop: unknown key; did you mean tflops?"),
    ],
)
def test_throughputs_of_an_executor_file_are_checked(tmp_path, written, told):
    path = tmp_path / "cluster.yaml"
    path.write_text(f"cluster: slurm\n{written}\n")
    with pytest.raises(SuiteError) as error:
        read_executor(str(path))
    assert told in str(error.value).replace("should be 'auto'", "should be one of 'auto'")


# Finished units and measurements


def made(**facts):
    return {
        "accelerator": "cpu",
        "threads": 1,
        "tf32": False,
        "compiled": False,
        "device": "Xeon",
        **facts,
    }


def test_finished_units_tell_how_far_off_the_assumption_was(study):
    jobs, store, _ = study
    ten, hundred, _ = of_stage(jobs, "samples")
    assumed = Sizes(store, jobs, Slurm(**CPU))
    store.finish(ten.units[0], {"seconds": 50.0, "provenance": made()})
    sizes = Sizes(store, jobs, Slurm(**CPU))
    assert (sizes.of(ten.units[1]), sizes.source(ten.units[1])) == (50.0, "finished")
    assert sizes.source(hundred.units[0]) == "finished alike"
    factor = assumed.assumed(hundred.units[0]) / assumed.assumed(ten.units[0])
    assert sizes.of(hundred.units[0]) == pytest.approx(50 * factor)
    assert "finished units on Xeon" in sizes.explain(hundred.units[0])
    (train,) = of_stage(jobs, "train")
    assert (sizes.source(train.units[0]), sizes.of(train.units[0])) == (
        "assumed",
        assumed.of(train.units[0]),
    )


@pytest.mark.parametrize(
    ("facts", "executor"),
    [
        ({}, Slurm(**GPU)),
        ({"threads": 2}, Slurm(**CPU)),
        ({"accelerator": "cuda"}, Slurm(**CPU)),
        ({"accelerator": "cuda", "tf32": True}, Slurm(**GPU)),
        ({"accelerator": "cuda", "compiled": True}, Slurm(**GPU)),
        (
            {"accelerator": "cuda", "device": "NVIDIA A100-SXM4"},
            Slurm(**{**GPU, "samples": Resources(gpus="h100:1")}),
        ),
        ({"accelerator": "cuda"}, Slurm(**{**GPU, "samples": Resources(gpus="1g.10gb:1")})),
    ],
)
def test_units_made_on_other_devices_tell_nothing(study, facts, executor):
    jobs, store, _ = study
    ten, *_ = of_stage(jobs, "samples")
    store.finish(ten.units[0], {"seconds": 50.0, "provenance": made(**facts)})
    assert Sizes(store, jobs, executor).source(ten.units[1]) == "assumed"


def test_units_made_on_the_gpu_that_is_asked_for_tell(study):
    jobs, store, _ = study
    ten, *_ = of_stage(jobs, "samples")
    store.finish(
        ten.units[0],
        {"seconds": 5.0, "provenance": made(accelerator="cuda", device="NVIDIA A100-SXM4")},
    )
    for gpus in (1, "a100:1"):
        executor = Slurm(**{**GPU, "samples": Resources(gpus=gpus)})
        assert Sizes(store, jobs, executor).of(ten.units[1]) == 5.0


def test_units_of_a_method_that_says_nothing_take_what_others_of_their_stage_did(study):
    jobs, store, _ = study
    sizes = Sizes(store, jobs, Slurm(**CPU))
    assert sizes.of(UnitId("train", "unknown", "weights")) == 3600.0
    assert "where nothing says what it computes" in sizes.explain(
        UnitId("train", "unknown", "weights")
    )


def test_measured_steps_make_the_forecast_and_the_packing(study):
    jobs, store, results = study
    measure_here(jobs, results, {**Slurm(**CPU).settings, "device": "cpu"}, "name")
    found = json.loads((results / "measured.json").read_text())
    (train,) = of_stage(jobs, "train")
    assert found["models"].keys() == {kind_of(train.specs[0])}
    assert not list(store.root.glob("*/*")), "nothing is written to the store"
    sizes = SlurmDriver(jobs, store, results, Slurm(**CPU), expected=measured(results)).sizes
    ten, hundred, adaptive = (sizes.of(job.units[0]) - 1 for job in of_stage(jobs, "samples"))
    assert hundred == pytest.approx(10 * ten)
    assert adaptive == pytest.approx(15 * ten)
    model = found["models"][kind_of(train.specs[0])]
    assert sizes.of(train.units[0]) - 1 == pytest.approx(1000 * model["seconds_per_image"])
    assert "(measured)" in forecast(jobs, store, results, Slurm(**CPU))
    assert "(measured)" not in forecast(jobs, store, results, Slurm(**GPU)), (
        "it says nothing of GPUs"
    )


def test_measurement_is_a_job_with_the_resources_of_one_process_that_trains(study, monkeypatch):
    jobs, _, results = study
    seen, states = {}, ["PENDING", "RUNNING", "COMPLETED"]
    monkeypatch.setattr(measure.shutil, "which", lambda name: name)

    def array_of(callables, folder, name, order, settings):
        seen.update(name=name, order=order, callables=callables)
        return [type("Job", (), {"job_id": "7"})]

    def queue(names):
        state = states.pop(0)
        if state == "COMPLETED" and seen.get("works", True):
            seen["callables"][0]()
        return {"7": Entry("7", seen["name"], state)}

    monkeypatch.setattr(measure, "array_of", array_of)
    monkeypatch.setattr(queue, "queue", queue)
    train = Resources(gpus="a100:4", tasks=4, nodes=2, memory_gb=64, minutes=1440, partition="big")
    executor = Slurm(**{**CPU, "train": train}, poll_seconds=0.001, grace_seconds=0.0, device="cpu")
    measure_there(jobs, results, executor)
    assert seen["order"].resources == Resources(
        gpus="a100:1", memory_gb=16, minutes=60, partition="big", at_once=1
    )
    assert measured(results).models
    assert not list((results / "measure").glob("*")), "its folder is gone"
    seen["works"], states[:] = False, ["RUNNING", "FAILED", "FAILED", "FAILED"]
    with pytest.raises(
        measure.MeasureError, match="the job 7 that measures ended and has found nothing"
    ):
        measure_there(jobs, results, executor)


def test_measuring_away_from_a_cluster_is_one_line(study, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="there is no sbatch here"):
        measure_there(*study[::2], Slurm())
    words = [
        "plan",
        str(tmp_path / "small.yaml"),
        "--results",
        str(tmp_path),
        "--executor",
        "slurm",
        "--measure",
    ]
    assert main(words) == 1
    assert "nothing was measured: there is no sbatch here" in capsys.readouterr().err


def test_one_process_has_its_share_of_what_a_training_asks_for():
    assert of_one_process(Resources(sbatch={"gres": "gpu:v100:2", "nice": 5})) == Resources(
        gpus="v100:1", sbatch={"nice": 5}, at_once=1
    )
    shared = Resources(sbatch={"gres": "shard:1"}, at_once=1)
    assert of_one_process(shared) == shared


# What a plan says


def test_plan_says_training_sampling_and_scoring_apart_for_each_point_and_what_it_rests_on(study):
    jobs, store, results = study
    told = forecast(jobs, store, results, Slurm(**GPU, threads=4)).splitlines()
    head = next(line for line in told if "training GPU-h" in line)
    assert head.split()[:8] == [
        "training",
        "GPU-h",
        "likelihood",
        "GPU-h",
        "sampling",
        "GPU-h",
        "scoring",
        "GPU-h",
    ]
    points = [line for line in told if "euler_maruyama" in line or "flow_adaptive" in line]
    assert len(points) == 3
    assert all(float(cell) > 0 for line in points for cell in line.split()[:4])
    stages = {line.split()[0]: line for line in told if "by an assumed" in line}
    assert list(stages) == list(STAGES)
    assert all(
        "an assumed 10 TFLOP/s of an A100 (the file names no type of GPU) in float32" in line
        for line in stages.values()
    )
    assert "evaluations of adaptive solvers guessed" in stages["samples"]
    (total,) = (line for line in told if line.startswith("predicted:"))
    assert "GPU-hours" in total
    assert "FLOP" in total
    (budgets,) = (line for line in told if line.startswith("of these, sampling takes"))
    assert "at 100 NFE" in budgets
    assert "at 10 NFE" in budgets


def test_hours_are_those_of_what_a_stage_runs_on(study):
    jobs, store, results = study
    executor = Slurm(**{**GPU, "scores": Resources(cpus=2)})
    told = forecast(jobs, store, results, executor)
    assert "sampling GPU-h" in told
    assert "scoring CPU-h" in told


@pytest.mark.parametrize(
    "written",
    ['gpus: "a100:2"', 'gpus: "1g.10gb:1"', 'sbatch: {gres: "gpu:a100:1"}', "sbatch: {gpus: 2}"],
)
def test_gpu_hours_count_typed_gpus(study, tmp_path, written):
    jobs, store, results = study
    path = tmp_path / "cluster.yaml"
    path.write_text(f"cluster: slurm\nresources: {{{written}, minutes: 600}}\n")
    executor = read_executor(str(path))
    (total,) = (
        line
        for line in forecast(jobs, store, results, executor).splitlines()
        if "predicted:" in line
    )
    campaign = SlurmDriver(jobs, store, results, executor)
    jobs_took = 0.0
    for level in campaign.levels(campaign.missing()):
        for order in campaign.orders(level):
            jobs_took += sum(sum(map(campaign.sizes.of, units)) + 15 for units in order.elements)
    assert f" {two_digits(jobs_took * executor.train.gpus_on_node.count / 3600)} GPU-hours" in total


def test_plan_warns_of_what_is_asked_for_and_not_used(study):
    jobs, store, results = study
    executor = Slurm(
        train=Resources(gpus=2, cpus=2, minutes=600),
        samples=Resources(cpus=2),
        likelihood=Resources(cpus=4, sbatch={"gres": "shard:1"}),
        inspect=Resources(cpus=4, sbatch={"exclusive": True}),
        scores=Resources(cpus=4, gpus="a100:1,v100:1"),
        threads=4,
        device="cuda",
    )
    told = forecast(jobs, store, results, executor)
    for words in (
        "train: threads (4) are more than the CPUs of a process (2)",
        "train: 2 GPUs for 1 processes, which use one each",
        "samples: device is cuda and no GPU is asked for",
        "likelihood: a share of a GPU is counted as a whole one",
        "inspect: exclusive takes whole nodes",
        "scores: GPUs of several types (a100,v100) are counted alike",
    ):
        assert f"warning: {words}" in told, words
    assert "they would stand idle" in forecast(
        jobs, store, results, replace(executor, device="cpu")
    )


def test_what_is_there_costs_nothing(study):
    jobs, store, results = study
    for job in jobs:
        for unit in job.results:
            store.finish(unit, {"seconds": 1.0, "value": 0.0, "provenance": made()})
    assert "nothing to submit" in forecast(jobs, store, results, Slurm(**CPU))
    again = of_stage(jobs, "samples")[0]
    store.discard(again.units[0])
    told = forecast(jobs, store, results, Slurm(**CPU))
    assert "(finished)" in told
    assert len([line for line in told.splitlines() if "euler_maruyama" in line]) == 1


def test_numbers_are_written_to_two_digits():
    values = {
        5512.0: "5,500",
        0.01234: "0.012",
        0: "0",
        12.6: "13",
        1.04: "1.0",
        99.6: "100",
        196e3: "200,000",
        9.96: "10",
    }
    assert {value: two_digits(value) for value in values} == values


def test_the_sweep_of_the_four_papers_costs_two_hundred_exaflops():
    """An independent count of its networks and budgets came to 196: 1,300 A100-hours at 40 TFLOP/s,
    5,400 at 10.
    """
    jobs = expand(read_suite(ROOT / "suites/cifar10_nfe_sweep.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    total = sum(work.of(job.units[0]).flops * len(job.units) for job in jobs)
    assert total == pytest.approx(196e18, rel=0.03)
    at_budget = dict.fromkeys((1000, 2000), 0.0)
    for job in of_stage(jobs, "samples"):
        for budget in at_budget:
            if f"nfe {budget} " in job.label:
                at_budget[budget] += work.of(job.units[0]).flops * len(job.units)
    assert at_budget[2000] / total == pytest.approx(0.357, abs=0.01)
    assert at_budget[1000] / total == pytest.approx(0.179, abs=0.01)


def test_a_plan_with_an_executor_takes_at_most_three_times_the_plan_and_grows_with_the_points(
    tmp_path,
):
    place = importlib.util.spec_from_file_location("plan_cost", ROOT / "tests/perf/plan.py")
    perf = importlib.util.module_from_spec(place)
    place.loader.exec_module(perf)
    perf.plan_seconds(tmp_path, 20)  # imports
    plain, priced = perf.plan_seconds(tmp_path, 100)
    more, much = perf.plan_seconds(tmp_path, 800)
    assert priced <= 3 * plain
    assert much <= 3 * more
    assert much <= 2 * 8 * priced


def test_a_chain_of_snapshots_of_any_length_is_put_into_levels(study):
    jobs, store, results = study
    spec = of_stage(jobs, "train")[0].specs[0]
    chain = [
        Job(
            stage="train",
            key=f"k{k}",
            label="",
            specs=(SnapshotSpec(train=spec, images=10 * k + 10),),
            parts=("weights",),
            needs=(UnitId("train", f"k{k - 1}", "weights"),) if k else (),
        )
        for k in range(3000)
    ]
    campaign = SlurmDriver(chain, store, results, Slurm(**CPU))
    levels = campaign.levels(reversed(campaign.missing()))
    assert [level[0].key for level in levels] == [job.key for job in chain]
