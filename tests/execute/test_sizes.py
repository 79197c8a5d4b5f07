"""How long units are expected to take: by throughput, by finished units, by a measurement."""

import json
from pathlib import Path

import pytest
from priced_suite import CPU, GPU, made, of_stage

from bench.cli.parser import main
from bench.execute.executor import read_executor
from bench.execute.slurm import measure, queue
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.measure import measure_here, measure_there, of_one_process
from bench.execute.slurm.packing import Sizes, kind_of, measured
from bench.execute.slurm.queue import ClusterError, Entry
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.throughput import accelerator, rate
from bench.store import UnitId
from bench.suite.fault import SuiteError

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("no_cluster")


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
    ("written", "message"),
    [
        ("tflops: fast", "tflops: should be one of 'auto' or a number or a mapping"),
        ("tflops: 0", "tflops should be more than 0"),
        ("tflops: {a100: -1}", "tflops should be more than 0"),
        ("tflops: {a1000: 40}", "tflops knows no a1000, but a100, h100, h200, gpu, cpu"),
        ("tflop: 4", "tflop: unknown key; did you mean tflops?"),
    ],
)
def test_throughputs_of_an_executor_file_are_checked(tmp_path, written, message):
    path = tmp_path / "cluster.yaml"
    path.write_text(f"cluster: slurm\n{written}\n")
    with pytest.raises(SuiteError) as error:
        read_executor(str(path))
    assert message in str(error.value).replace("should be 'auto'", "should be one of 'auto'")


def test_finished_units_tell_how_far_off_the_assumption_was(priced):
    jobs, store, _ = priced
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
def test_units_made_on_other_devices_tell_nothing(priced, facts, executor):
    jobs, store, _ = priced
    ten, *_ = of_stage(jobs, "samples")
    store.finish(ten.units[0], {"seconds": 50.0, "provenance": made(**facts)})
    assert Sizes(store, jobs, executor).source(ten.units[1]) == "assumed"


def test_units_made_on_the_gpu_that_is_asked_for_tell(priced):
    jobs, store, _ = priced
    ten, *_ = of_stage(jobs, "samples")
    store.finish(
        ten.units[0],
        {"seconds": 5.0, "provenance": made(accelerator="cuda", device="NVIDIA A100-SXM4")},
    )
    for gpus in (1, "a100:1"):
        executor = Slurm(**{**GPU, "samples": Resources(gpus=gpus)})
        assert Sizes(store, jobs, executor).of(ten.units[1]) == 5.0


def test_units_of_a_method_that_says_nothing_take_what_others_of_their_stage_did(priced):
    jobs, store, _ = priced
    sizes = Sizes(store, jobs, Slurm(**CPU))
    assert sizes.of(UnitId("train", "unknown", "weights")) == 3600.0
    assert "if nothing says what it computes" in sizes.explain(
        UnitId("train", "unknown", "weights")
    )


def test_measured_steps_make_the_forecast_and_the_packing(priced):
    jobs, store, results = priced
    measure_here(jobs, results, {**Slurm(**CPU).settings, "device": "cpu"}, "name")
    found = json.loads((results / "measured.json").read_text())
    (train,) = of_stage(jobs, "train")
    assert found["models"].keys() == {kind_of(train.specs[0])}
    assert not list(store.root.glob("*/*")), "nothing is written to the store"
    sizes = Sizes(store, jobs, Slurm(**CPU), measured(results))
    ten, hundred, adaptive = (sizes.of(job.units[0]) - 1 for job in of_stage(jobs, "samples"))
    assert hundred == pytest.approx(10 * ten)
    assert adaptive == pytest.approx(15 * ten)
    model = found["models"][kind_of(train.specs[0])]
    assert sizes.of(train.units[0]) - 1 == pytest.approx(1000 * model["seconds_per_image"])
    assert "(measured)" in forecast(jobs, store, results, Slurm(**CPU))
    assert "(measured)" not in forecast(jobs, store, results, Slurm(**GPU)), (
        "it says nothing of GPUs"
    )


def test_measurement_is_a_job_with_the_resources_of_one_process_that_trains(priced, monkeypatch):
    jobs, _, results = priced
    seen, states = {}, ["PENDING", "RUNNING", "COMPLETED"]
    monkeypatch.setattr(measure.shutil, "which", lambda name: name)

    def submit_array(callables, folder, name, order, settings):
        seen.update(name=name, order=order, callables=callables)
        return "7"

    def answer(names):
        state = states.pop(0)
        if state == "COMPLETED" and seen.get("works", True):
            seen["callables"][0]()
        return {"7": Entry("7", seen["name"], state)}

    monkeypatch.setattr(measure, "submit_array", submit_array)
    monkeypatch.setattr(queue, "queue", answer)
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


def test_measuring_away_from_a_cluster_is_one_line(priced, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="there is no sbatch here"):
        measure_there(*priced[::2], Slurm())
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
