"""Executor files of clusters: what they may say, and the near miss of a mistake."""

from dataclasses import replace

import pytest
from fake_cluster import SUITE

from bench.cli.parser import main
from bench.execute.executor import read_executor
from bench.execute.slurm.options import SBATCH
from bench.execute.slurm.resources import Resources, Slurm
from bench.execute.slurm.submission import Order
from bench.execute.slurm.submit import parameters
from bench.store import UnitId
from bench.suite.fault import SuiteError


def problems(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as error:
        read_executor(str(path))
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
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
            "resources.sbatch.time: is set by minutes, outside sbatch",
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
        ("cluster: slurm\npoll_seconds: 0", "poll_seconds: should be positive"),
        (
            "cluster: slurm\nresources: {memory_gb: 4, sbatch: {mem-per-cpu: 2G}}",
            "stands beside a mem option",
        ),
    ],
)
def test_mistakes_in_an_executor_file_are_named_with_the_near_miss(tmp_path, text, message):
    assert message in problems(tmp_path, text)


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


def test_parameters_of_an_order():
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
        array_tasks=((UnitId("train", "k", "w"),),),
        resources=resources,
        memory=1.5,
        after=("3", "4"),
    )
    values = parameters("name", order, {"threads": 2})
    assert (values["mem"], values["time"], values["gpus_per_node"]) == ("15360MB", 90, 2)
    assert values["dependency"] == "afterany:3:4"
    assert values["additional_parameters"] == {"requeue": True, "nice": 5}
    assert values["setup"][0] == "export OMP_NUM_THREADS=2"
    assert values["setup"][-1] == "module load x"
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
