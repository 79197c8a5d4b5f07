"""The command line without torch: what it prints, and its exit status."""

import argparse
import json
import shlex
import subprocess
import sys

import pytest

from bench.cli.options import add_suite, command
from bench.cli.parser import main
from bench.execute.lease import Lease
from bench.files import write
from bench.spec import place
from bench.store import Store, UnitId

SUITE = """
name: small
dataset: digits
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [5, 10]}}
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SUITE)
    return "small.yaml"


def test_plan_prints_every_job_with_its_reason(suite, capsys):
    assert main(["plan", suite, "--verbose"]) == 0
    out = capsys.readouterr().out
    lines = [
        line
        for line in out.splitlines()
        if line.startswith(("train", "samples", "inspect", "scores"))
    ]
    assert len(lines) == 6
    assert all("[new" in line for line in lines)
    assert "1 trainings, 2 sample sets, 1 inspections, 2 scorings, 2 points; 0 done, 6 to do" in out


def test_plan_prints_a_line_for_each_stage(suite, capsys):
    assert main(["plan", suite]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "trainings        0 of 1 done, 1 to do",
        "sample sets      0 of 2 done, 2 to do (4 batches)",
        "scorings         0 of 2 done, 2 to do (2 metrics)",
        "inspections      0 of 1 done, 1 to do",
    ]
    assert any(line.endswith("the same command with --verbose") for line in lines)


def test_help_imports_no_command():
    code = "import sys; from bench.cli.parser import main; main([]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.splitlines()[-1].split() if name.startswith("bench")}
    assert loaded == {
        *("bench", "bench.cli", "bench.cli.parser", "bench.cli.exit_status"),
        *("bench.installation", "bench.printable"),
    }


def test_status_before_anything_ran_says_what_waits(suite, capsys):
    assert main(["status", suite]) == 0
    out = capsys.readouterr().out
    assert "train      1 waiting" in out
    assert "driver: none; workers: 0" in out
    assert "start the suite again" in out


def test_plan_and_status_write_nothing(suite, tmp_path):
    main(["plan", suite])
    main(["status", suite])
    assert [path.name for path in tmp_path.iterdir()] == [suite]


@pytest.mark.parametrize("verb", ["run", "plan", "status", "report", "assets", "cancel", "prune"])
def test_wrong_suite_is_status_2_with_every_problem_and_no_traceback(suite, capsys, tmp_path, verb):
    (tmp_path / suite).write_text(
        SUITE.replace("dataset: digits", "dataset: digitz").replace("sampler:", "samplr:")
    )
    assert main([verb, suite]) == 2
    err = capsys.readouterr().err
    assert "small.yaml:3: dataset" in err
    assert "did you mean digits?" in err
    assert "samplr: unknown key; did you mean sampler?" in err
    assert "problems; nothing was run." in err


def test_missing_suite_names_the_near_one(suite, capsys):
    assert main(["smal.yaml"]) == 2
    assert "did you mean small.yaml?" in capsys.readouterr().err


def test_misspelt_command_names_the_near_one(capsys):
    assert main(["plna"]) == 2
    assert "did you mean plan?" in capsys.readouterr().err


def test_misspelt_option_is_status_2(suite, capsys):
    with pytest.raises(SystemExit) as stop:
        main([suite, "--job", "x"])
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--executor", "locl"],
            "is neither an executor's name nor a file; did you mean local? allowed: inline, local",
        ),
        (["--executor", "bad.yaml"], "bad.yaml:1: workers should be at least 1"),
        (["--jobs", "0"], "--jobs 0: should be at least 1"),
        (
            ["--set", "train.vp.params.sgima_max=3"],
            "train.vp.params.sgima_max: unknown key; did you mean sigma_max?",
        ),
        (["--profile", "smok"], "--profile smok: there is no such profile"),
        (["--only", "pv"], "pv"),
    ],
)
def test_wrong_option_is_status_2_and_says_what_would_be_right(
    suite, capsys, tmp_path, arguments, message
):
    (tmp_path / "bad.yaml").write_text("cluster: local\nworkers: 0\n")
    assert main([suite, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_list_names_methods_samplers_datasets_metrics_and_executors(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for word in ("sde", "euler_maruyama", "digits", "fd", "suites/quickstart.yaml", "inline"):
        assert word in out


@pytest.mark.parametrize("what", ["sde", "sde.flow_heun", "annealed_langevin", "digits", "fd"])
def test_show_explains_what_list_names(what, capsys):
    assert main(["show", what]) == 0
    assert capsys.readouterr().out


def test_show_finds_a_stored_key_by_its_beginning(suite, capsys, tmp_path):
    from bench.plan import expand
    from bench.suite.reader import read_suite

    job = expand(read_suite(suite))[0]
    store = Store(tmp_path / "results" / "store")
    store.write_spec(job.stage, job.key, job.specs[0], {"params": {}})
    unit = UnitId(*place(job.specs[0]))
    store.note_attempt(unit, attempt="a", run="r", start="then", host="here")
    store.note_attempt(unit, attempt="a", state="failed", cause="bad", traceback="Traceback: bad")
    assert main(["show", job.key[:6]]) == 0
    out = capsys.readouterr().out
    assert "weights: not done" in out
    assert "attempt failed on here from then" in out
    assert "Traceback: bad" in out
    assert main(["show", "0123456789"]) == 2


def test_assets_says_where_data_is_looked_for(suite, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    assert main(["assets", suite]) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "elsewhere") in out
    assert "nothing is missing" in out


def test_missing_asset_stops_a_run_before_the_first_job(suite, capsys, monkeypatch, tmp_path):
    from dataclasses import replace

    from bench.data import registry

    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    card = replace(registry.DATASETS["digits"], files={("digits.bin",): "copy it from the shelf"})
    monkeypatch.setitem(registry.DATASETS, "digits", card)
    assert main([suite]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path / 'digits.bin'} is missing (data set digits): copy it from the shelf" in err
    assert not (tmp_path / "results").exists()
    assert main(["assets", suite]) == 1


def test_prune_unused_keeps_what_this_suite_and_others_use(suite, capsys, tmp_path):
    from bench.plan import expand
    from bench.suite.reader import read_suite

    store = Store(tmp_path / "results" / "store")
    job = expand(read_suite(suite))[0]
    for stage, key in ((job.stage, job.key), ("samples", "0123"), ("samples", "4567")):
        store.finish(UnitId(stage, key, "00000"), {}, {".npz": b"x" * 1000})
    write(tmp_path / "results" / "other" / "keys.json", json.dumps(["samples/4567"]).encode())
    assert main(["prune", suite, "--unused", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would delete" in out
    assert "0123" in out
    assert store.folder("samples", "0123").exists()
    assert main(["prune", suite, "--unused"]) == 0
    assert not store.folder("samples", "0123").exists()
    assert store.folder("samples", "4567").exists()
    assert store.folder(job.stage, job.key).exists()


def test_prune_unused_leaves_what_somebody_works_on(suite, capsys, tmp_path):
    store = Store(tmp_path / "results" / "store")
    unit = UnitId("samples", "0123", "00000")
    with Lease.take(store.path(unit, ".lease")):
        assert main(["prune", suite, "--unused"]) == 0
    assert "kept, somebody works on it" in capsys.readouterr().out
    assert store.folder("samples", "0123").exists()


@pytest.mark.parametrize("option", [["--smoke"], ["--only", "vp"], ["--set", "samples.count=3"]])
def test_prune_unused_refuses_a_suite_with_overrides(suite, capsys, tmp_path, option):
    store = Store(tmp_path / "results" / "store")
    store.finish(UnitId("samples", "0123", "00000"), {}, {".npz": b"x"})
    assert main(["prune", suite, "--unused", *option]) == 2
    assert option[0] in capsys.readouterr().err
    assert store.folder("samples", "0123").exists()


def test_cancel_of_nothing_says_that_nothing_runs(suite, capsys):
    assert main(["cancel", suite]) == 0
    assert "nothing runs" in capsys.readouterr().out


def test_run_that_cannot_write_its_results_says_so(suite, capsys, tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    assert main([suite]) == 1
    assert "results" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changed",
    [
        [],
        ["--profile", "wide one", "--smoke", "--store", "s", "--results", "r"],
        ["--set", "samples.count=3", "--set", "name=x y", "--only", "vp", "--plugin", "mine.py"],
    ],
)
def test_commands_that_are_named_are_about_the_same_study(changed):
    parser = argparse.ArgumentParser()
    add_suite(parser)
    options = parser.parse_args(["small.yaml", *changed])
    words = shlex.split(command(options, "status"))
    assert vars(parser.parse_args(words[words.index("status") + 1 :])) == vars(options)
