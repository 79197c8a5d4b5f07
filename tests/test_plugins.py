"""Plugins: what a file may declare, how its faults are told, and which results are another's."""

import json
import shutil
import textwrap

import pytest
from command_line import Bench

from bench.card import registry
from bench.cli.parser import main
from bench.data.registry import DATASETS
from bench.metrics.registry import METRICS
from bench.plugins import PluginError, described, load, load_again, loaded, unload
from bench.suite.reader import read_suite

METRIC = """
from bench.metrics.card import MetricCard
from bench.metrics.parameters import FeatureParams


def gap(samples, reference, params):
    import numpy as np

    return float(np.abs(samples.features.mean(0) - reference.features.mean(0)).max())


METRICS = {"gap": MetricCard(name="gap", version=1, summary="largest difference of means",
                             measure=gap, higher_is_better=False)}
"""

SAMPLER = """
from itertools import pairwise

from bench.card import sampler_card
from methods.sde.sampling import Grid


def flow(process, score_fn, x, times, noise):
    "The probability flow by Euler's method."
    f, g2 = process.drift_coefficient(times).tolist(), process.diffusion(times).square().tolist()
    for k, (t, s) in enumerate(pairwise(times.tolist())):
        x = x - (t - s) * (f[k] * x - 0.5 * g2[k] * score_fn(x, x.new_full((len(x),), t)))
    return x


SAMPLERS = {"sde": {"flow": sampler_card(flow, Grid)}}
"""

DATA = """
from bench.data.card import DataCard


def read(split):
    from sklearn.datasets import load_digits

    images = load_digits().images.astype("uint8")[:, None]
    return images[::2] if split == "train" else images[1::2]


DATASETS = {"halves": DataCard(shape=(1, 8, 8), levels=17, splits={"train": 899, "test": 898},
                               load=read)}
"""

METHOD = """
from methods.shared.declaration import network_card
from methods.shared.hyperparameters import NetworkParams
from methods.shared.sampling import Steps
from bench.card import sampler_card


def follow(process, velocity, x, times, noise):
    "Euler's method."
    times = times.tolist()
    for t, s in zip(times, times[1:]):
        x = x - (t - s) * velocity(x, x.new_full((len(x),), t))
    return x


def adapter():
    from methods.shared.adapter import Adapter
    from methods.shared.process import like

    class Lines(Adapter):
        def network_loss(self, network, x0, noise):
            x0, t, z = self.fill(x0, noise), noise.uniform((len(x0),)), noise.normal(x0.shape)
            x = (1 - like(t, x0)) * x0 + like(t, x0) * z
            return (network(x, 999 * t) - (z - x0)).square().flatten(1).mean(1)

        def model_fn(self, params, given):
            return lambda x, t: self.average(x, 999 * t)

    return Lines


METHODS = {"lines": network_card(name="lines", title="Lines", paper="https://example.org",
    adapter=adapter, params=NetworkParams, inspection=None,
    samplers={"follow": sampler_card(follow, Steps, times=("uniform",))})}
"""

FILES = {"gap.py": METRIC, "flow.py": SAMPLER, "halves.py": DATA, "lines.py": METHOD}

SUITE = """
name: small
dataset: halves
plugins: [gap.py, flow.py, halves.py, lines.py]
metrics: [{metric: gap, extractor: pixels}]
samples: {count: 6, batch: 3}
figures: none
train:
  vp: {method: sde, params: &tiny {network: {width: 8, multipliers: [1, 1], blocks: 1,
      attention: []}, training: {steps: 2, batch: 4, warmup_steps: 1, heldout_images: 4}}}
  rf: {method: lines, params: *tiny}
points:
  - {train: vp, sampler: flow, grid: {nfe: [2]}}
  - {train: rf, sampler: follow, grid: {nfe: [2]}}
"""

PLANNED = """
name: small
dataset: digits
plugins: %s
metrics: [{metric: fd, allow_few: true}]
samples: {count: 6, batch: 3}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [2]}}
"""


@pytest.fixture(autouse=True)
def nothing_stays_loaded():
    yield
    for plugin in loaded():
        unload(plugin.path)


def written(folder, files):
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def refusal(capsys, *words):
    """Returns what a command says that cannot be run; its exit status is 2."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.err


FAULTS = {
    "syntax": ("x = 1\ndef (:\n", "mine.py: line 2: not Python: "),
    "exception": ("x = 1\n\ny = 1 / 0\n", "mine.py: line 3: ZeroDivisionError: division by zero"),
    "torch at the top": ("import os\nimport torch.nn\n", "mine.py: line 2: imports torch.nn when"),
    "numpy in a class": ("class A:\n    from numpy import sin\n", "line 2: imports numpy when"),
    "another type": ("METRICS = {'a': 3}", "METRICS['a'] should be a MetricCard, got int"),
    "no dictionary": ("DATASETS = [1]", "DATASETS should be a dictionary of names and cards"),
    "no method": ("SAMPLERS = {'sd': {'a': 1}}", "should be a SamplerCard, got int"),
    "samplers": ("SAMPLERS = {'sde': 1}", "SAMPLERS['sde.'] should be a SamplerCard, got int"),
    "nothing": ("x = 1", "mine.py: declares nothing: define SAMPLERS, METRICS, EXTRACTORS,"),
    "name taken": (
        METRIC.replace('{"gap"', '{"fd"'),
        "mine.py: there is a metric 'fd' already: give yours another name",
    ),
    "method unknown": (
        SAMPLER.replace('{"sde"', '{"sd"'),
        "SAMPLERS['sd']: there is no such method; did you mean sde?",
    ),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_cannot_be_used_is_told_in_a_line(text, said, tmp_path, capsys):
    written(tmp_path, {"mine.py": text})
    found = refusal(capsys, "list", "--plugin", tmp_path / "mine.py")
    assert said in found
    assert found.splitlines()[1:] == ["nothing was run."]
    assert loaded() == ()


def test_a_missing_file_is_told_with_the_near_one(tmp_path, capsys):
    written(tmp_path, {"gap.py": METRIC})
    said = refusal(capsys, "list", "--plugin", tmp_path / "gaps.py")
    assert "gaps.py: no such file; did you mean gap.py?" in said


@pytest.mark.parametrize("value", ["gap.py", "[1]", "{a: b}"])
def test_plugins_of_a_suite_are_a_list_of_files(value, tmp_path, capsys):
    written(tmp_path, {"small.yaml": PLANNED % value})
    said = refusal(capsys, "plan", tmp_path / "small.yaml", "--results", tmp_path)
    assert "small.yaml:4: plugins: should be a list of Python files" in said


def test_a_fault_of_a_plugin_of_a_suite_names_the_line_of_the_suite(tmp_path, capsys):
    written(tmp_path, {"small.yaml": PLANNED % "[absent.py]"})
    said = refusal(capsys, "plan", tmp_path / "small.yaml", "--results", tmp_path)
    assert "small.yaml:4: " in said
    assert "absent.py: no such file" in said


def test_what_is_declared_before_a_fault_does_not_stay(tmp_path):
    two = METRIC + "\nMETRICS['fd'] = METRICS['gap']\n"
    with pytest.raises(PluginError, match="there is a metric 'fd' already"):
        load([written(tmp_path, {"mine.py": two}) / "mine.py"])
    assert "gap" not in METRICS


def test_all_is_taken_back(tmp_path):
    before = set(registry()["sde"].samplers), set(registry()), set(METRICS), set(DATASETS)
    load([written(tmp_path, FILES) / name for name in FILES])
    assert {"flow", "lines", "gap", "halves"} == {
        name.partition(".")[2] or name for plugin in loaded() for _, name in plugin.names
    }
    for name in FILES:
        unload(tmp_path / name)
    after = set(registry()["sde"].samplers), set(registry()), set(METRICS), set(DATASETS)
    assert after == before


WITH_SIBLING = "import sibling_of_gap\n" + METRIC


def test_the_hash_covers_what_a_file_imports_of_its_folder_and_nothing_else(tmp_path):
    files = {"gap.py": WITH_SIBLING, "sibling_of_gap.py": "x = 1\n", "other.py": "x = 1\n"}
    (first,) = load([written(tmp_path, files) / "gap.py"])
    written(tmp_path, {"other.py": "x = 2\n"})
    assert load([first.path]) == (first,)
    written(tmp_path, {"sibling_of_gap.py": "x = 2\n"})
    (second,) = load([first.path])
    assert second.digest != first.digest
    import sibling_of_gap

    assert sibling_of_gap.x == 2


def test_a_file_beside_it_may_import_torch_if_it_is_imported_inside_a_function(tmp_path):
    late = METRIC + "\n\ndef f():\n    import sibling_of_gap\n"
    written(tmp_path, {"sibling_of_gap.py": "import torch\n", "gap.py": late})
    assert len(load([tmp_path / "gap.py"])) == 1
    written(tmp_path, {"gap.py": WITH_SIBLING})
    with pytest.raises(PluginError, match=r"sibling_of_gap.py: line 1: imports torch when"):
        load([tmp_path / "gap.py"])


def test_a_file_beside_it_that_another_module_hides_is_refused(tmp_path):
    files = {"gap.py": "import json\n" + METRIC, "json.py": "x = 1\n"}
    with pytest.raises(PluginError, match=r"json.py: import json finds .*give it another name"):
        load([written(tmp_path, files) / "gap.py"])


def test_another_process_refuses_a_file_that_changed_since(tmp_path):
    (plugin,) = load([written(tmp_path, {"gap.py": METRIC}) / "gap.py"])
    orders = described()
    load_again(orders)
    unload(plugin.path)
    load_again(orders)
    assert "gap" in METRICS
    unload(plugin.path)
    written(tmp_path, {"gap.py": METRIC + "# changed\n"})
    with pytest.raises(PluginError, match=r"gap.py: changed since the run began: start the run"):
        load_again(orders)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A suite of four plugins, run by a worker process."""
    bench = Bench(written(tmp_path_factory.mktemp("plugins"), FILES)).suite(SUITE)
    written(bench.folder, {"one.yaml": "cluster: local\nworkers: 1\n"})
    code, out, err = bench("--executor", "one.yaml", timeout=300)
    assert code == 0, out + err
    return bench


@pytest.fixture
def bench(finished, tmp_path):
    return finished.copy(tmp_path)


def test_plugins_run_end_to_end_in_a_worker_process(finished):
    rows = finished.rows()
    assert [row["sampler"] for row in rows] == ["flow", "follow"]
    assert all(float(row["gap(pixels)"]) > 0 for row in rows)


def test_records_name_the_content_of_every_plugin(finished):
    digests = {p.path.name: p.digest for p in load([finished.folder / name for name in FILES])}
    for path in finished.store.root.glob("*/*/metrics.attempts.jsonl"):
        for record in path.parent.glob("gap-*.json"):
            assert json.loads(record.read_text())["provenance"]["plugins"] == digests


def test_plugins_that_did_not_change_keep_their_results(bench):
    code, out, err = bench.here("plan")
    assert code == 0, err
    assert "7 done, 0 to do" in out


def changed(bench, version=1):
    text = METRIC.replace(".max()", ".mean()").replace("version=1", f"version={version}")
    written(bench.folder, {"gap.py": text})


@pytest.mark.parametrize("command", ["plan", "run"])
def test_results_of_another_content_are_refused_with_two_ways_out(bench, command):
    changed(bench)
    code, _, err = bench.here(command)
    assert code == 2
    assert "gap.py: changed since 2 stored results of gap were made" in err
    assert "raise the version in its card, or add --same-numbers" in err


def keys(bench):
    return {path.name for path in bench.store.root.glob("scores/*/gap-*.json")}


def test_a_raised_version_has_keys_of_its_own(bench):
    before = keys(bench)
    changed(bench, version=2)
    code, out, err = bench.here("run")
    assert code == 0, out + err
    assert len(keys(bench)) == 2 * len(before)
    assert len(list(bench.store.root.glob("train/*/weights.json"))) == 2


def test_equal_numbers_are_kept_if_their_author_says_so(bench):
    before = keys(bench)
    changed(bench)
    code, _, err = bench.here("run", "--same-numbers")
    assert code == 0, err
    assert keys(bench) == before
    code, _, err = bench.here("plan")  # it is noted
    assert code == 0, err
    shutil.rmtree(bench.results / "small")
    written(bench.folder, {"gap.py": METRIC})
    assert bench.here("plan")[0] == 0  # the first content is equal to itself


EXTRACTOR = """
from bench.metrics.extractor_card import ExtractorCard

EXTRACTORS = {"means": ExtractorCard(name="means", summary="", make=None, dimension=1, version=%d)}
"""


def scores(folder, version):
    """Returns keys of a suite whose metrics compare pixels and features of an extractor."""
    few = "{metric: fd, allow_few: true"
    text = PLANNED.replace(f"[{few}", f"[{few}}}, {few}, extractor: means")
    written(folder, {"small.yaml": text % "[means.py]", "means.py": EXTRACTOR % version})
    suite = read_suite(folder / "small.yaml")
    unload(folder / "means.py")
    return [spec.key for spec in suite.points[0].scores]


def test_the_version_of_an_extractor_is_in_the_keys_of_its_scores_alone(tmp_path):
    first, second = scores(tmp_path, 1), scores(tmp_path, 2)
    assert [one == two for one, two in zip(first, second, strict=True)] == [True, False]


def test_version_1_of_an_extractor_is_not_written_in_keys(tmp_path):
    written(tmp_path, {"small.yaml": PLANNED % "[]"})
    (score,) = read_suite(tmp_path / "small.yaml").points[0].scores
    assert "extractor_version" not in score.canonical
