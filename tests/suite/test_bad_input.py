"""Whatever is written into a suite or an executor file: one clean line, no traceback; nothing
outside is obeyed.
"""

import contextlib
import copy
import random
import sys

import pytest
import yaml

from bench.cli.parser import main
from bench.execute.executor import read_executor
from bench.metrics.extractor_cards import extractor_card
from bench.plan import expand
from bench.printable import let_any_text_through, markdown, one_line, printable
from bench.suite.document import Document
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

BASE = """
name: study
dataset: digits
metrics: [fd, is, {metric: fd, reference: test}, precision, nn_ratio]
samples: {count: 256, batch: 128, seeds: [0, 1], quantise: round}
likelihood: {images: 64, batch: 32, sweep: {tolerance: [1.0e-1, 1.0e-2]}}
inspect: {images: 256}
claims:
  - {metric: precision, smallest_effect: 0.5, pairs: [[vp flow_heun, vp euler_maruyama]]}
train:
  vp:
    method: sde
    params:
      process: vp
      network: {width: 32, multipliers: [1, 2], blocks: 1, attention: []}
      training:
        {steps: 3000, batch: 64, learning_rate: 1.0e-3, warmup_steps: 100,
         ema_half_life_images: 10000}
    seeds: [0, 1]
    snapshots: [1000, 2000]
points:
  - {train: [vp], sampler: euler_maruyama, grid: {nfe: [5, 20, 100]}}
  - {train: vp, sampler: flow_heun, times: rho7, grid: {nfe: [5, 20, 100]}}
  - {train: vp, sampler: flow_adaptive, grid: {tolerance: [1.0e-2, 1.0e-3]}}
  - {train: vp, sampler: predictor_corrector, grid: {nfe: [10], snr: [0.1]}}
  - train: vp
    sampler: predictor_corrector
    grid: {nfe: [10]}
    given: {task: inpainting, images: 4}
keep: {samples: 64}
figures: default
controlled: false
most_nfe: 50
profiles:
  quick: {samples: {count: 64, batch: 64}, most_nfe: 20}
"""
EXECUTORS = (
    "{cluster: local, workers: 2, threads: 1, device: cpu, gpus: [0], setup: [module load x]}",
    "{cluster: slurm, resources: {partition: gpu, gpus: 1, cpus: 4, memory_gb: 16, minutes: 240, "
    "sbatch: {qos: a}}}",
)
VALUES = (
    *(
        500,
        None,
        [],
        {},
        "",
        "x",
        True,
        -1,
        0,
        0.5,
        [1],
        ["a", "b"],
        [[1]],
        {"a": 1},
        [None],
        [{}],
        "é" * 90,
        "../x",
    ),
    *(
        2**63,
        2**64,
        -(2**70),
        10**308,
        10**400,
        [2**70],
        4 * 10**18,
        1e-320,
        1e308,
        float("inf"),
        float("nan"),
    ),
    *(
        "store",
        "null",
        "2026-01-01",
        "\x1b[31m",
        "<b>",
        "a\nb",
        "x" * 5000,
        {"metric": "fd"},
        "image_folder",
    ),
)
KEYS = (1, None, True, "a b", "é", "x" * 200, "", 2**70, "<<")


class Dumper(yaml.SafeDumper):
    """Writes equal values out where they stand."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def places(node, path=()):
    """Yields the path of every value of a tree."""
    yield path
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for name, inner in items:
        yield from places(inner, (*path, name))


def mutated(tree, draw):
    """Returns a tree with one value or key of another kind, missing, doubled or wrapped into a
    list.
    """
    tree = copy.deepcopy(tree)
    *outer, last = draw.choice([path for path in places(tree) if path])
    parent = tree
    for name in outer:
        parent = parent[name]
    change = draw.choice(["value"] * 6 + ["remove", "double", "wrap", "key"])
    if change == "value":
        parent[last] = copy.deepcopy(draw.choice(VALUES))
    elif change == "remove":
        del parent[last]
    elif change == "wrap":
        parent[last] = [parent[last]]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))
    else:
        parent[f"{last}x" if change == "double" else draw.choice(KEYS)] = parent[last]
    return tree


@pytest.mark.parametrize("seed", range(8))
def test_40_mutated_suites_are_read_or_refused_in_lines_that_a_terminal_can_show(tmp_path, seed):
    draw, path = random.Random(seed), tmp_path / "suite.yaml"
    refused = []
    for _ in range(40):
        tree = mutated(yaml.safe_load(BASE), draw)
        path.write_text(yaml.dump(tree, Dumper=Dumper, allow_unicode=True), encoding="utf-8")
        try:
            expand(read_suite(path))
        except SuiteError as error:
            refused.append(error)
    assert len(refused) > 20
    for error in refused:
        lines = str(error).splitlines()
        assert len(lines) == len(error.problems)
        assert all(line == printable(line) and line.startswith(str(path)) for line in lines)


def test_unchanged_suite_of_these_tests_is_right(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(BASE)
    assert len(read_suite(path).points) == 4 * (2 + 2 + 2 + 1 + 1) * 3


@pytest.mark.parametrize("seed", range(4))
def test_20_mutated_executors_are_read_or_refused(tmp_path, seed):
    draw, path = random.Random(seed), tmp_path / "executor.yaml"
    for _ in range(20):
        tree = mutated(yaml.safe_load(draw.choice(EXECUTORS)), draw)
        path.write_text(yaml.dump(tree, Dumper=Dumper, allow_unicode=True), encoding="utf-8")
        with contextlib.suppress(SuiteError):
            read_executor(str(path))


@pytest.mark.parametrize(
    "section", ["samples: {count: 256, batch: 128, seeds: [0, 1], quantise: round}", "quick"]
)
@pytest.mark.parametrize("samples", ["500", "", "[]", "text", "true", "[{count: 3}]"])
def test_samples_of_another_type_are_one_line(tmp_path, capsys, samples, section):
    path = tmp_path / "suite.yaml"
    if section == "quick":
        text = BASE.replace("{samples: {count: 64, batch: 64},", f"{{samples: {samples or 'null'},")
    else:
        text = BASE.replace(section, f"samples: {samples}")
    path.write_text(text)
    assert main(["plan", str(path), "--store", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err
    assert "samples: should be a mapping" in error
    assert error.count("\n") == 2


@pytest.mark.parametrize(
    "number",
    [
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "1" + "0" * 400,
        "1" * 5000,
    ],
)
@pytest.mark.parametrize("key", ["samples.seeds", "train.vp.seeds"])
def test_seed_that_no_table_can_hold_is_refused(tmp_path, number, key):
    path = tmp_path / "suite.yaml"
    path.write_text(BASE)
    with pytest.raises(
        SuiteError, match="is too large for a whole number: 9223372036854775807 at most"
    ):
        read_suite(path, sets=[f"{key}=[{number}]"])


def test_largest_seed_is_read(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(BASE)
    points = read_suite(path, sets=["samples.seeds=[9223372036854775807]"]).points
    assert {point.sample.seed for point in points} == {2**63 - 1}


@pytest.mark.parametrize("name", ["store", "Store"])
def test_suite_is_not_called_as_the_store(tmp_path, name):
    path = tmp_path / "suite.yaml"
    path.write_text(BASE.replace("name: study", f"name: {name}"))
    with pytest.raises(SuiteError, match=":2: name: is the folder of the store, results/store"):
        read_suite(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("method: sde", "method: [sde, cld]"),
            "train.vp.method: should be the name of one method, and is a list",
        ),
        (
            ("dataset: digits", "dataset: [digits]"),
            "dataset: should be the name of one data set, and is a list",
        ),
        (
            ("sampler: flow_heun", "sampler: [flow_heun, ddim]"),
            "should be the name of one sampler of sde, and is a list",
        ),
        (
            ("times: rho7", "times: [rho7]"),
            "should be the name of one time grid of flow_heun, and is a list",
        ),
        (
            ("metrics: [fd,", "metrics: [[fd],"),
            "metrics.0: should be the name of one metric, and is a list",
        ),
        (
            ("method: sde", "method:"),
            "train.vp.method: should be the name of one method, and is empty",
        ),
    ],
)
def test_list_in_place_of_one_name_says_so(tmp_path, change, message):
    path = tmp_path / "suite.yaml"
    path.write_text(BASE.replace(*change))
    with pytest.raises(SuiteError) as caught:
        read_suite(path)
    assert message in str(caught.value)


def test_merge_keys_put_in_what_a_mapping_does_not_say_itself(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(
        "a: &a {x: 1, y: {z: 2}}\nb:\n  <<: *a\n  y: 3\n"
        "c: {<<: [{x: 5, w: 4}, *a], v: 6}\nd: {'<<': 7}\n"
    )
    document = Document(path)
    assert document.problems == []
    assert document.tree["b"] == {"x": 1, "y": 3}
    assert document.tree["c"] == {"x": 5, "y": {"z": 2}, "w": 4, "v": 6}
    assert document.tree["d"] == {"<<": 7}
    assert document.place(("b", "x")).order == 1
    assert document.place(("b", "y")).order == 4


@pytest.mark.parametrize("text", ["a: {<<: 3}", "a: {<<: [1]}", "a: {<<: text}"])
def test_merge_of_what_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "values.yaml"
    path.write_text(text)
    assert [str(fault) for fault in Document(path).problems] == [
        f"{path}:1: a.<<: should be a mapping, usually an anchor (<<: *name), or a list of mappings"
    ]


def test_text_from_outside_does_nothing_to_a_terminal_or_a_page():
    assert (
        printable("a\x1b[31m\r\x07é·\n\t\udcff\u202e") == "a\\x1b[31m\\r\\x07é·\n\t\\udcff\\u202e"
    )
    assert one_line("a\nb\u2028") == "a\\nb\\u2028"
    assert markdown("<script>x</script> | [a](b)\n& 0.7 [0.1, 0.9]") == (
        "&lt;script>x&lt;/script> \\| [a]\\(b)\\n&amp; 0.7 [0.1, 0.9]"
    )


def test_output_that_is_not_utf_8_replaces_characters(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        let_any_text_through()
        print("fd ↓ vp · flow")
    assert (tmp_path / "out").read_text() == "fd ? vp ? flow\n"


@pytest.mark.parametrize(
    "name", ["pca@99999999999", "pca@0", "pca@", "pca@01", "effnet-lite0@4097"]
)
def test_extractor_of_an_impossible_size_is_refused(name):
    with pytest.raises(ValueError, match="at most 4096"):
        extractor_card(name)


def test_more_workers_than_the_machine_holds_are_refused():
    with pytest.raises(SuiteError, match="--jobs 100000: is more than this machine can hold"):
        read_executor("local", jobs=100_000)


@pytest.mark.parametrize("name", ["foo", "cuda:999"])
def test_device_that_is_not_there_is_one_line(tmp_path, capsys, name):
    assert main(["check-metrics", "--images", "5", "--device", name, "--store", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"--device {name}: cannot be used here: ")
