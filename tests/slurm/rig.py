"""A real SLURM on this machine, a suite to run on it, and what has to come out."""

import csv
import hashlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from command_line import Bench

from bench.execute.slurm import queue as slurm
from bench.execute.slurm.submission import submissions

SCRIPT = Path(__file__).resolve().parent / "cluster.sh"
NEEDED = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "slurmdbd", "mariadbd")
EXECUTOR = """
cluster: slurm
resources: {partition: debug, minutes: 10, memory_gb: 1.4, signal_seconds: 60}
device: cpu
poll_seconds: 1
grace_seconds: 1
checkpoint_seconds: 1
"""
SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
inspect: null
figures: none
train:
  one: {method: faulty, params: {steps: 20, seconds_per_step: 0.3}}
  two: {method: faulty, params: {steps: 10}}
points:
  - {train: [one, two], sampler: walk, grid: {nfe: [1, 2]}}
"""
TIMED = (
    "seconds",
    "host",
    "commit",
    "dirty",
    "device",
    "label",
    "group",
    "ended",
    "log",
    "training_flops_per",
)


def missing():
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


class Cluster:
    """A private SLURM of two nodes with two CPUs each."""

    def __init__(self, accounting=True):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))
        self.variables = {
            "SLURM_TEST_DIR": str(self.folder),
            "SLURM_TEST_PORT": str(free_ports()),
            "SLURM_TEST_CPUS": "2",
            "SLURM_TEST_ACCT": "1" if accounting else "0",
        }

    def script(self, *words, check=True):
        environment = {**os.environ, **self.variables}
        done = subprocess.run(
            [SCRIPT, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        self.script("start")
        return self

    def use(self):
        """Makes it the cluster of this process and those that it starts, until the test ends."""
        os.environ["SLURM_CONF"] = str(self.folder / "etc" / "slurm.conf")

    def stop(self):
        self.script("stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *words):
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def empty(self):
        self.call("scancel", f"--user={os.getuid()}")
        wait(lambda: not any(entry.alive for entry in slurm.queue().values()), 60)


def free_ports():
    """Returns a port base with all that cluster.sh uses free above it."""
    for _ in range(50):
        base = random.randrange(20000, 55000, 50)
        opened = []
        try:
            for port in [base, base + 1, base + 2, *range(base + 11, base + 14)]:
                probe = socket.socket()
                opened.append(probe)
                probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in opened:
                probe.close()
    raise OSError("no free ports")


class OnCluster(Bench):
    """The command line with an executor file of the cluster."""

    def __init__(self, folder, suite=SUITE, executor=EXECUTOR):
        super().__init__(folder)
        self.suite(suite)
        (folder / "cluster.yaml").write_text(executor)
        self.executor = ("--executor", str(folder / "cluster.yaml"))
        self.path = []

    def environment(self):
        path = os.pathsep.join([*map(str, self.path), os.environ["PATH"]])
        return {**super().environment(), "PATH": path}

    def submissions(self):
        return submissions(self.results / "small")

    def everything(self):
        """All submissions ever made, from the notes of attempts too, by stage."""
        return {tried.get("submission") for tries in self.attempts().values() for tried in tries}

    def shim(self, name, text):
        """Puts a script before a command of SLURM."""
        folder = self.folder / "shims"
        folder.mkdir(exist_ok=True)
        real = shutil.which(name)
        (folder / name).write_text(f"#!/bin/bash\nREAL={real}\n{text}\n")
        (folder / name).chmod(0o755)
        self.path = [folder]


def wait(until, seconds=120, every=0.2):
    """Waits for something to come true, and returns it."""
    end = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(every)
    return found


def board(bench):
    """The leaderboard and the rows without what time and place make of them."""
    tables = []
    (folder,) = (path for path in bench.results.iterdir() if path.name != "store")
    for name in ("results.csv", "leaderboard.csv"):
        with open(folder / name) as file:
            rows = list(csv.DictReader(file))
        tables.append(
            [{k: v for k, v in row.items() if not any(word in k for word in TIMED)} for row in rows]
        )
    return tables


def hashes(bench):
    """Hashes of weights, training curves and images, by path in the store."""
    patterns = ("weights.safetensors", "*.npz", "log.jsonl")
    paths = [path for pattern in patterns for path in bench.store.root.rglob(pattern)]
    return {
        str(path.relative_to(bench.store.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def local_run(folder, suite):
    """Runs a suite on this machine: what every run on the cluster has to end with."""
    folder.mkdir(exist_ok=True)
    bench = OnCluster(folder, suite)
    code, _, err = bench.here()
    assert code == 0, err
    return board(bench), hashes(bench)


def none_twice(bench):
    """No unit was finished by two attempts, and none was worked on by two at a time."""
    for unit, tries in bench.attempts().items():
        assert [tried["state"] for tried in tries].count("done") <= 1, (unit, tries)
