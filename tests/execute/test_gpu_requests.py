"""What executor files ask of SLURM: GPUs in all its spellings, options on and off, and nothing of
the caller's job.
"""

import os
import subprocess

import pytest

from bench.execute.executor import read_executor
from bench.execute.slurm import queue
from bench.execute.slurm.gpus import Gpus
from bench.execute.slurm.resources import Resources, plain_resources
from bench.execute.slurm.submission import Order, Submission
from bench.execute.slurm.submit import clean_environment, leaks, parameters, submit
from bench.store import UnitId
from bench.suite.fault import SuiteError

UNIT = UnitId("samples", "k", "00000")


def read(tmp_path, text, stage="samples"):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return read_executor(str(path)).of(stage)


def refused(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as error:
        read_executor(str(path))
    return [str(problem).partition(":")[2].partition(" ")[2] for problem in error.value.problems]


def asked(resources, memory=1.0):
    order = Order(stage="samples", array_tasks=((UNIT,),), resources=resources, memory=memory)
    return parameters("name", order, {"threads": 1})


@pytest.mark.parametrize(
    ("written", "count", "kind"),
    [
        ("gpus: 2", 2, ""),
        ('gpus: "2"', 2, ""),
        ("gpus: a100:2", 2, "a100"),
        ('gpus: "nvidia_a100_80gb_pcie:1"', 1, "nvidia_a100_80gb_pcie"),
        ('gpus: "1g.10gb:3"', 3, "1g.10gb"),
        ('gpus: "a100:1,v100:2"', 3, "a100,v100"),
        ("sbatch: {gres: gpu}", 1, ""),
        ('sbatch: {gres: "gpu:2"}', 2, ""),
        ('sbatch: {gres: "gpu:a100"}', 1, "a100"),
        ('sbatch: {gres: "gpu:a100:2(S:0-1),tmpdisk:10"}', 2, "a100"),
        ('sbatch: {gres: "gpu:a100_1g.5gb:1"}', 1, "a100_1g.5gb"),
        ('gpus: 1, sbatch: {gres: "tmpdisk:10"}', 1, ""),
        ("sbatch: {gpus: 2}", 2, ""),
        ('sbatch: {gpus: "h100:2"}', 2, "h100"),
        ("sbatch: {gpus-per-task: 2}", 2, ""),
        ("sbatch: {gpus_per_task: v100:1}", 1, "v100"),
        ("gpus: 0, sbatch: {gres: false}", 0, ""),
    ],
)
def test_gpus_are_counted_however_they_are_asked_for(tmp_path, written, count, kind):
    resources = read(tmp_path, f"cluster: slurm\nresources: {{{written}}}\n")
    assert (resources.gpus_on_node.count, resources.gpus_on_node.type) == (count, kind)
    assert plain_resources(resources)["gpus_on_node"] == count


def test_gpus_of_several_nodes_and_tasks_are_those_of_each_node():
    assert Resources(nodes=2, tasks=2, sbatch={"gpus": 8}).gpus_on_node == Gpus(4)
    assert Resources(nodes=2, tasks=2, sbatch={"gpus-per-task": "a100:1"}).gpus_on_node == Gpus(
        2, "a100"
    )
    with pytest.raises(
        ValueError, match=r"sbatch.gpus are 3 in all, which 2 nodes do not share evenly"
    ):
        Resources(nodes=2, tasks=1, sbatch={"gpus": 3})


def test_mig_instances_count_as_one_each_and_compute_as_their_slices():
    assert Resources(gpus="1g.10gb:2").gpus_on_node.part == pytest.approx(1 / 7)
    assert Resources(gpus="nvidia_h100_80gb_hbm3_3g.40gb:1").gpus_on_node.part == pytest.approx(
        3 / 7
    )
    assert Resources(gpus="a100:1").gpus_on_node.part == 1


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("gpus: a100", 'write gpus: "a100:1"'),
        ('gpus: "gpu:a100:2"', 'write gpus: "a100:2"'),
        ('gpus: "2:a100"', 'write gpus: "a100:2"'),
        ("gpus: a100=2", 'write gpus: "a100:2"'),
        ("gpus: -1", "resources.gpus: should not be negative"),
        ('gpus: "a100:0"', "write gpus: 0"),
        ("gpus: 1.5", "resources.gpus: should be a whole number or a text"),
        ("sbatch: {gpus-per-node: 2}", "is set by gpus, outside sbatch"),
        ("sbatch: {gpus_per_node: 2}", "is set by gpus, outside sbatch"),
        (
            'sbatch: {tres-per-task: "gres/gpu:a100=2"}',
            'is set by gpus, outside sbatch: write gpus: "a100:2"',
        ),
        ('sbatch: {tres_per_node: "gres:gpu:2"}', "is set by gpus, outside sbatch: write gpus: 2"),
        ('sbatch: {tres-per-job: "gres/gpu=4"}', "write gpus: 4"),
        ("sbatch: {gpus_per_job: 1}", "write gpus: 1"),
        ("sbatch: {gpus-per-socket: a100:1}", 'write gpus: "a100:1"'),
        ("sbatch: {cpus-per-gpu: 4}", "is set by cpus, outside sbatch"),
        ('sbatch: {gres: "gpu:a100:x"}', "sbatch.gres does not read as name[:type][:count]"),
        ("sbatch: {gres: 2}", "sbatch.gres does not read as name[:type][:count]"),
        ('sbatch: {gres: "GPU:1"}', "sbatch.gres does not read as name[:type][:count]"),
        (
            'gpus: 1, sbatch: {gres: "gpu:1"}',
            "gpus and sbatch.gres both ask for GPUs: leave one out",
        ),
        (
            "sbatch: {gres: gpu, gpus-per-task: 1}",
            "another option and sbatch.gpus-per-task both ask for GPUs",
        ),
        (
            "sbatch: {mem-per-gpu: 4G, mem_per_gpu: 5G}",
            "is set twice: mem-per-gpu is the same option",
        ),
        ("sbatch: {export: NONE}", "write 'export NAME=value' under setup"),
        ("sbatch: {export_file: x}", "write 'export NAME=value' under setup"),
        ("sbatch: {oversubscribe: 'yes'}", "takes no value: true sets it, false leaves it out"),
        ("sbatch: {constraint: true}", "takes a value"),
        ("sbatch: {mem: 0.5}", "write memory_gb"),
        ("gpus_per_node: 2", "resources.gpus_per_node: is set by gpus"),
        ('gres: "gpu:1"', "resources.gres: belongs under sbatch: write sbatch: {gres: ...}"),
        ('tres-per-node: "gres/gpu:a100:2"', 'is set by gpus: write gpus: "a100:2"'),
        ("memory_gb: 1.0e+300", "resources.memory_gb: is larger than 1,000,000,000"),
        (f"minutes: {10**12}", "resources.minutes: is larger than 1,000,000,000"),
        (f"minutes: {10**400}", "resources.minutes: is too large for a whole number"),
        ("partition: ''", "is empty: null is the cluster's default"),
        ('partition: "gpu\\n#SBATCH --nodes=9"', "resources.partition: holds a line end"),
        ('setup: ["module load x\\nrm -r y"]', "resources.setup.0: holds a line end"),
        ('setup: ["a\\u2028b"]', "resources.setup.0: holds a line end"),
        (
            'sbatch: {comment: "a\\u001b[31m"}',
            "resources.sbatch.comment: holds a control character",
        ),
    ],
)
def test_what_cannot_be_counted_or_run_is_refused_with_what_to_write(tmp_path, written, message):
    (problem,) = refused(tmp_path, f"cluster: slurm\nresources: {{{written}}}\n")
    assert message in problem


def test_what_stands_outside_resources_is_told_where_it_belongs(tmp_path):
    message = refused(
        tmp_path, 'cluster: slurm\ngpus: 1\npartition: gpu\ngres: "gpu:1"\nresource: {}\n'
    )
    keys = [line.partition(": ")[0] for line in message]
    assert keys == ["gpus", "partition", "gres", "resource"]
    assert "belongs under resources, or under a stage: resources: {gpus: ...}" in message[0]
    assert "resources: {sbatch: {gres: ...}" in message[2]
    assert "did you mean resources?" in message[3]


def test_setup_lines_of_this_machine_keep_to_one_line_too(tmp_path):
    (problem,) = refused(tmp_path, 'cluster: local\nsetup: ["a\\nb"]\n')
    assert "setup.0: holds a line end" in problem


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path):
    text = """
cluster: slurm
resources: {partion: gpu, cpus: four, minutes: 1.5, gpus: a100, sbatch: {contraint: x, time: 3}}
train: {gpus: [1], memory_gb: much, setup: module load x}
poll: 3
threads: "2"
"""
    message = refused(tmp_path, text)
    assert len(message) == 11, message
    for words in (
        "partion: unknown key; did you mean partition?",
        "cpus: should be a whole number",
        "minutes: should be a whole number",
        'write gpus: "a100:1"',
        "contraint: unknown key; did you mean constraint?",
        "sbatch.time: is set by minutes",
        "train.gpus: should be a whole number or a text",
        "train.memory_gb: should be a number or null",
        "train.setup: should be a list of texts",
        "poll: unknown key",
        "threads: should be a whole number",
    ):
        assert any(words in line for line in message), words
    path = tmp_path / "ranges.yaml"
    path.write_text("cluster: slurm\ntrain: {cpus: 0, nodes: 0, memory_gb: 0}\n")
    with pytest.raises(
        SuiteError, match=r"cpus should be at least 1; nodes should be .*; memory_gb should be more"
    ):
        read_executor(str(path))


def test_option_set_to_false_is_left_out_and_true_is_a_flag(tmp_path):
    resources = read(
        tmp_path,
        "cluster: slurm\nresources:\n"
        "  sbatch: {oversubscribe: false, mem_per_cpu: 2G, nice: 5, hold: true}\n"
        "samples: {sbatch: {mem-per-cpu: false}}\n",
    )
    assert resources.options == {"nice": 5, "hold": True}
    assert asked(resources)["additional_parameters"] == {"requeue": True, "nice": 5, "hold": True}
    assert asked(Resources(sbatch={"wckey": False}))["wckey"] is None


def test_sbatch_is_told_of_typed_gpus_and_of_no_others():
    assert asked(Resources(gpus="a100:2"))["gpus_per_node"] == "a100:2"
    assert "gpus_per_node" not in asked(Resources(sbatch={"gres": "gpu:1"}))


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ("a100:2", []),
        (4, []),
        ("h100:1", ["no node has GPUs of type h100; there are gpu:2, gpu:a100:4"]),
        (8, ["no node has 8 GPUs; there are gpu:2, gpu:a100:4"]),
        (0, []),
    ],
)
def test_partition_without_such_gpus_is_named(monkeypatch, gpus, message):
    lines = (
        "gpu|1-00:00:00|64+|256000+|gpu:a100:4(S:0-1),tmpdisk:10\ngpu|1-00:00:00|64|256000|gpu:2\n"
    )
    monkeypatch.setattr(queue, "_call", lambda words: lines)
    assert queue.refusals(Resources(gpus=gpus, partition="gpu")) == message


@pytest.mark.parametrize(
    ("memory", "message"), [(0.0001, "1MB"), (0.5, "512MB"), (0.5001, "513MB"), (2.0, "2048MB")]
)
def test_memory_is_rounded_up(memory, message):
    assert asked(Resources(memory_gb=memory))["mem"] == message


def test_only_what_says_where_the_cluster_is_stays_of_the_callers_environment():
    job = [
        "JOB_ID",
        "CPU_BIND",
        "CPU_BIND_TYPE",
        "MEM_PER_CPU",
        "TRES_PER_TASK",
        "NTASKS",
        "GPUS",
        "STEP_ID",
    ]
    job += [
        "ARRAY_JOB_ID",
        "EXPORT_ENV",
        "JOB_GPUS",
        "NNODES",
        "CPUS_PER_TASK",
        "PROCID",
        "DISTRIBUTION",
    ]
    assert all(leaks(f"SLURM_{name}") for name in job)
    assert all(
        leaks(f"SBATCH_{name}")
        for name in ("EXPORT", "GRES", "TIMELIMIT", "MEM_PER_GPU", "EXCLUSIVE")
    )
    assert not any(
        map(
            leaks,
            (
                "SLURM_CONF",
                "SBATCH_ACCOUNT",
                "SBATCH_PARTITION",
                "SBATCH_QOS",
                "PATH",
                "BENCH_DATA",
            ),
        )
    )


def test_job_gets_no_variable_of_the_job_that_submits_it_and_the_file_goes_before_the_site(
    tmp_path, monkeypatch
):
    seen = tmp_path / "seen"
    for name, text in {
        "sbatch": f'printf "%s\\n" "$@" > {seen}.words; env > {seen}; echo Submitted batch job 12',
        "srun": "",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    theirs = {
        "SLURM_JOB_ID": "7",
        "SLURM_MEM_PER_CPU": "1",
        "SBATCH_GRES": "gpu:9",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    site = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "theirs", "SBATCH_PARTITION": "site"}
    for name, value in {**theirs, **site}.items():
        monkeypatch.setenv(name, value)
    submission = Submission(tmp_path / "name")
    vars(submission)["intent"] = {"settings": {"threads": 1}}
    order = Order(
        stage="samples", array_tasks=((UNIT,),), resources=Resources(partition="gpu", gpus="a100:1")
    )
    submit(submission, order)
    environment = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert not [name for name in theirs if name in environment]
    assert {name: environment.get(name) for name in site} == site
    assert "--partition=gpu" in (tmp_path / "seen.words").read_text().splitlines()
    assert os.environ["SLURM_JOB_ID"] == "7", "the caller keeps its own"
    with clean_environment():
        inner = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    assert "SLURM_JOB_ID" not in inner
