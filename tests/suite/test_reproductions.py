"""The suite of each paper: the authors' settings, and from files in their formats to every row."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from authors_data import write_celeba, write_cifar
from authors_files import tiny, tiny_params, write_checkpoint
from standins import write_inception

from bench.card import cards
from bench.cli.parser import main
from bench.data import registry
from bench.data.images import Images
from bench.method import load_method
from bench.metrics import extractor_cards as extractors
from bench.plan import expand
from bench.schema import build, merge
from bench.store import Store
from bench.suite.document import Document
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

SUITES = Path(__file__).resolve().parents[2] / "suites"
NCSN, SDE, CLD, SOFT, FACES = (
    SUITES / f"reproduce_{name}.yaml" for name in ("ncsn", "sde", "cld", "soft", "celebahq_1024")
)
INLINE = "inline"
PROFILES = [
    (path, profile)
    for path in sorted(SUITES.glob("reproduce_*.yaml"))
    for profile in (None, *yaml.safe_load(path.read_text()).get("profiles", {}))
    if profile != "table3"
]
NAMES = [f"{path.stem}-{profile or 'default'}" for path, profile in PROFILES]

# Predictor, corrector and time of the end of sampling in the authors' configuration of each
# checkpoint that they published; all of them take 1000 steps, one corrector's step at each, and an
# snr of 0.16.
CONFIGURATIONS = {
    "ve/cifar10_ncsnpp": ("reverse_diffusion", "langevin", 1e-5),
    "ve/cifar10_ncsnpp_continuous": ("reverse_diffusion", "langevin", 1e-5),
    "ve/cifar10_ncsnpp_deep_continuous": ("reverse_diffusion", "langevin", 1e-5),
    "vp/ddpm/cifar10": ("ancestral", "none", 1e-3),
    "vp/ddpm/cifar10_continuous": ("euler_maruyama", "none", 1e-3),
    "vp/cifar10_ddpmpp": ("ancestral", "none", 1e-3),
    "vp/cifar10_ddpmpp_continuous": ("euler_maruyama", "none", 1e-3),
    "vp/cifar10_ddpmpp_deep_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpm_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpmpp_continuous": ("euler_maruyama", "none", 1e-3),
    "subvp/cifar10_ddpmpp_deep_continuous": ("euler_maruyama", "none", 1e-3),
}


def tree_of(path, profile=None):
    """Returns a suite as plain values, with a profile laid over it."""
    document = Document(path)
    if profile is not None:
        document.overlay(("profiles", profile))
    document.tree.pop("profiles", None)
    for entry in document.tree["train"].values():
        for name in [name for name, value in entry.items() if value is None]:
            del entry[name]
    return document.tree


def entries(path, profile=None):
    return tree_of(path, profile)["train"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """BENCH_DATA, empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data"


# The authors' settings


def test_every_published_checkpoint_is_sampled_with_the_authors_settings(root):
    suite, train = read_suite(SDE, absent=True), entries(SDE)
    assert {entry["preset"] for entry in train.values()} == CONFIGURATIONS.keys()
    assert sorted(point.train for point in suite.points) == sorted(train)
    data = Images("cifar10", registry.DATASETS["cifar10"])
    for point in suite.points:
        predictor, corrector, t_min = CONFIGURATIONS[train[point.train]["preset"]]
        spec = point.sample
        params = build(cards()["sde"].samplers["predictor_corrector"].params, spec.params)
        assert (params.predictor, params.corrector, params.steps) == (predictor, corrector, 1000)
        norms = "batch" if corrector != "none" else "image"
        assert (params.snr, params.corrector_steps, params.norms) == (0.16, 1, norms)
        assert (params.published, params.last_noise, spec.times) == (True, False, "uniform")
        assert params.variance == ("transition" if predictor == "ancestral" else "posterior")
        assert params.t_min is None
        model = load_method("sde", tiny_params(train[point.train]), data, "cpu")
        assert model.process.t_min == t_min
        assert (point.count, spec.batch, spec.quantise) == (50_000, 1024, "truncate")
        assert spec.train.weights == "ema"
        assert spec.train.params == cards()["sde"].presets[train[point.train]["preset"]]


def test_flow_and_likelihood_have_the_authors_settings(root):
    suite = read_suite(SDE, profile="table2", absent=True)
    assert {point.train for point in suite.points} == entries(SDE, "table2").keys()
    assert len(suite.train) == 9
    card = cards()["sde"]
    for point in suite.points:
        params = build(card.samplers["flow_adaptive"].params, point.sample.params)
        settings = params.tolerance, params.solver, params.error_norm, params.last, params.t_min
        assert settings == (1e-5, "scipy", "batch", "published", None)
        assert (point.sample.batch, point.sample.quantise) == (1024, "truncate")
        assert point.sample.train.params.get("time", "continuous") == "continuous"
        assert suite.sources[point.train].name == "last.pth"
        bits = build(card.likelihood.params, point.likelihood.params)
        assert (bits.eps, bits.tolerance, bits.repeats) == (1e-5, 1e-5, 5)
        assert (bits.probe, bits.probes, bits.probe_drift) == ("rademacher", 1, True)
        assert (bits.solver, bits.error_norm) == ("scipy", "batch")
        images = point.likelihood.images, point.likelihood.batch, point.likelihood.split
        assert images == (9 * 1024, 1024, "test")


def test_table_1_has_each_predictor_alone_and_with_a_corrector_at_its_evaluations(root):
    suite, cells = read_suite(SDE, profile="table1", absent=True), {}
    card = cards()["sde"].samplers["predictor_corrector"]
    for point in suite.points:
        chosen = build(card.params, point.sample.params)
        predictor = "flow" if chosen.probability_flow else chosen.predictor
        cell = chosen.steps, chosen.corrector, card.effort.evaluations(chosen)
        cells.setdefault(point.train, {}).setdefault(predictor, set()).add(cell)
        assert chosen.published
    alone = {(1000, "none", 1000), (2000, "none", 2000), (1000, "langevin", 2000)}
    rows = dict.fromkeys(("ancestral", "reverse_diffusion", "flow"), alone)
    expected = {**rows, "none": {(2000, "langevin", 2000)}}
    assert cells == {"ve_ddpm": expected, "vp_ddpm": expected}


def test_cld_spends_the_evaluations_that_it_says(root):
    suite = read_suite(CLD, absent=True)
    for point in suite.points:
        card = cards()["cld"].samplers[point.sample.sampler]
        chosen = build(card.params, point.sample.params)
        if point.sample.sampler != "flow_adaptive":
            budget = point.budget or 2000
            assert card.effort.evaluations(chosen) == budget
            assert point.sample.times == "quadratic"
    compared = [
        [point.budget for point in suite.points if point.sample.sampler == name and point.budget]
        for name in ("sscs", "euler_maruyama")
    ]
    assert compared[0] == compared[1]
    bits = build(cards()["cld"].likelihood.params, suite.points[0].likelihood.params)
    assert (bits.entropy, bits.eps, bits.tolerance, bits.solver) == (
        "expected",
        1e-5,
        1e-5,
        "scipy",
    )


def test_clds_ablations_differ_in_what_they_are_about_alone(root):
    suite = read_suite(CLD, profile="ablations")
    found = {
        label: (entry["params"]["objective"], entry["params"]["parametrisation"])
        for label, entry in suite.resolved["train"].items()
    }
    assert found == {label: tuple(label.split("_")) for label in found}
    assert len(found) == 4
    rest = [
        {**entry["params"], "objective": None, "parametrisation": None}
        for entry in suite.resolved["train"].values()
    ]
    assert all(params == rest[0] for params in rest)
    assert suite.controlled


# Plans and assets


@pytest.mark.parametrize(("path", "profile"), PROFILES, ids=NAMES)
def test_each_plans_without_files_and_says_where_every_checkpoint_goes_and_comes_from(
    root, path, profile, capsys
):
    options = [str(path), *(["--profile", profile] if profile else [])]
    assert main(["plan", *options]) == 0
    assert "predicted: " in capsys.readouterr().out
    main(["assets", *options])
    out = capsys.readouterr().out
    for label, entry in entries(path, profile).items():
        if "checkpoint" not in entry:
            continue
        place = f"    {root / entry['checkpoint']}"
        origin = cards()[entry["method"]].published[entry["preset"]].weights
        assert f"checkpoint of train.{label}: " in out
        assert place in out.splitlines()
        assert origin
        assert f"  how: put it there: {origin}" in out.splitlines()


def test_only_metrics_and_likelihoods_read_the_data_set(root, capsys):
    for label, entry in entries(SDE).items():
        (root / entry["checkpoint"]).parent.mkdir(parents=True, exist_ok=True)
        (root / entry["checkpoint"]).write_text(label)
    assert main(["assets", str(SDE), "--set", "metrics=[]"]) == 0
    assert "not there, and this suite does not read it" in capsys.readouterr().out
    assert main(["assets", str(SDE)]) == 1
    assert "weights of inception (metrics FID, IS): MISSING" in capsys.readouterr().out
    assert main(["assets", str(SDE), "--profile", "table2", "--set", "metrics=[]"]) == 1
    assert "cifar-10-binary.tar.gz (162 MB, md5" in capsys.readouterr().out


def test_one_checkpoint_is_enough_for_its_own_rows(root):
    path = root / entries(SDE)["vp_ddpmpp"]["checkpoint"]
    path.parent.mkdir(parents=True)
    path.write_text("weights")
    suite = read_suite(SDE, only=["vp_ddpmpp"])
    assert [point.train for point in suite.points] == ["vp_ddpmpp"]
    assert suite.train.keys() == suite.sources.keys() == {"vp_ddpmpp"}
    assert len(expand(suite)) == 3
    for only in ([], ["vp_ddpmpp", "vp_ddpm"], ["predictor_corrector"]):
        with pytest.raises(SuiteError, match=r"train.vp_ddpm.checkpoint: nothing lies at"):
            read_suite(SDE, only=only)


# From files in the authors' formats to every row

FEW = {"count": 2, "batch": 2}
TRAINING = {"steps": 2, "batch": 4, "warmup_steps": 1, "heldout_images": 4}
SHORT = {
    "predictor_corrector": {"steps": 21},
    "annealed_langevin": {"levels": 3, "steps_each": 1},
    "euler_maruyama": {"steps": 2},
    "flow_adaptive": {"tolerance": 0.1},
}
"""What makes samplers short."""


def taken(entry):
    """Whether a stand-in is written for a checkpoint: of optional ones it is left out."""
    return "checkpoint" in entry and "if_missing" not in entry


def sampler_of(tree, entry):
    label = entry["train"] if isinstance(entry["train"], str) else entry["train"][0]
    if entry["sampler"] != "published":
        return entry["sampler"]
    model = tree["train"][label]
    return cards()[model["method"]].published[model["preset"]].sampler


def shorten(tree):
    """Makes networks, trainings, samplers and sample sets small; nothing else changes."""
    for entry in tree["train"].values():
        extra = tiny(entry) | ({} if taken(entry) else {"training": TRAINING})
        entry["params"] = merge(entry.get("params", {}), extra)
        if "classifier" in entry["params"]:
            entry["params"]["classifier"] |= {"width": 8, "blocks": 1, "steps": 2}
    for entry in tree["points"]:
        sampler, grid = sampler_of(tree, entry), entry.get("grid", {})
        if "nfe" in grid:
            grid["nfe"] = [4]
        elif "steps" in grid:
            grid["steps"] = [21]
        else:
            entry["params"] = entry.get("params", {}) | SHORT[sampler]
        if "given" in entry and entry["given"]["task"] != "class":
            entry["given"] |= {"images": 2, "repeats": 2}
    tree["samples"] |= FEW
    if isinstance(tree.get("likelihood"), dict):
        tree["likelihood"] |= {"images": 2, "batch": 2, "repeats": 1, "tolerance": 0.1}
        tree["likelihood"].pop("repeats", None)
    if tree.get("inspect", {}) is not None:
        tree["inspect"] = {"images": 2}


@pytest.fixture
def dry_run(root, monkeypatch):
    """Runs a suite on small stand-ins in the true formats; returns its rows by group."""

    def run(path, profile=None, metrics=None, count=2, **params):
        tree = tree_of(path, profile)
        name, cards_of = tree["dataset"], {"cifar10": write_cifar}
        if name.startswith("celeba6"):
            cards_of[name] = lambda root: write_celeba(root, 64)
        if name in cards_of:
            monkeypatch.setitem(registry.DATASETS, name, cards_of[name](root))
        data = Images(name, registry.DATASETS[name])
        for entry in tree["train"].values():
            if taken(entry):
                write_checkpoint(root / entry["checkpoint"], entry, data)
        shorten(tree)
        tree["samples"]["count"], tree["figures"] = count, ["samples-*"]
        for entry in tree["points"] if params else ():
            entry["params"] |= params
        if metrics is not None:
            tree["metrics"] = metrics
        suite = root.parent / path.name
        suite.write_text(yaml.safe_dump(tree, sort_keys=False))
        assert main([str(suite), "--executor", INLINE]) == 0
        with open(Path("results", tree["name"], "results.csv")) as file:
            return {row["group"]: row for row in csv.DictReader(file)}

    return run


def images_of(row, count=2):
    return Store(Path("results", "store")).images(row["key"], count)


def assert_done(rows, path, profile=None, shape=(3, 32, 32)):
    train = entries(path, profile)
    assert {row["train"] for row in rows.values()} == train.keys()
    for row in rows.values():
        entry = train[row["train"]]
        assert row["state"] == "done"
        weights = f"checkpoint, {entry.get('weights', 'ema')}"
        assert row["weights"] == (weights if taken(entry) else "trained")
        assert images_of(row).shape[1:] == shape


@pytest.mark.parametrize("profile", [None, pytest.param("training", marks=pytest.mark.slow)])
def test_ncsn_and_ncsnv2_give_images(dry_run, profile):
    rows = dry_run(NCSN, profile, metrics=[])
    assert_done(rows, NCSN, profile)
    assert {row["train"]: float(row["nfe"]) for row in rows.values()} == {"ncsn": 2, "ncsnv2": 4}


def test_ncsnv2_gives_faces(dry_run):
    assert_done(dry_run(NCSN, "celeba64", metrics=[]), NCSN, "celeba64", (3, 64, 64))


def test_ncsn_and_ncsnv2_fill_in_half_an_image(dry_run):
    rows = dry_run(NCSN, "inpainting")
    assert_done(rows, NCSN, "inpainting")
    for row in rows.values():
        assert np.isfinite(float(row["unknown_rmse"]))
        assert float(row["known_rmse"]) >= 0


def test_every_published_checkpoint_gives_images(dry_run):
    rows = dry_run(SDE, metrics=[])
    assert_done(rows, SDE)
    for row in rows.values():
        assert float(row["nfe"]) == (42 if row["train"].startswith("ve") else 21)
    assert Path("results", "reproduce_sde", "figures", "samples-vp-ddpm.png").exists()


@pytest.mark.slow
def test_every_cell_of_table_1_is_filled_and_the_unpublished_model_trained(dry_run):
    rows = dry_run(SDE, "table1", metrics=[])
    assert_done(rows, SDE, "table1")
    assert len(rows) == 2 * 7  # with the 1,000 and 2,000 steps of a predictor cut to as many
    assert {float(row["nfe"]) for row in rows.values()} == {21, 42}


@pytest.mark.slow
def test_every_continuous_checkpoint_gives_images_and_bits_per_dim(dry_run):
    rows = dry_run(SDE, "table2", metrics=[])
    assert_done(rows, SDE, "table2")
    assert all(np.isfinite(float(row["bits_per_dim"])) for row in rows.values())


@pytest.mark.slow
def test_ve_restores_images_as_the_authors_do(dry_run):
    rows = dry_run(SDE, "restoration")
    assert_done(rows, SDE, "restoration")
    assert len(rows) == 2
    assert all(np.isfinite(float(row["unknown_rmse"])) for row in rows.values())


def test_images_of_a_class_by_a_classifier_that_is_trained(dry_run):
    rows = dry_run(SDE, "classes", metrics=[])
    assert_done(rows, SDE, "classes")
    (row,) = rows.values()
    assert float(row["nfe"]) == 2 * 42


@pytest.mark.slow
def test_score_sde_gives_faces(dry_run):
    assert_done(dry_run(SDE, "celeba64", metrics=[]), SDE, "celeba64", (3, 64, 64))


@pytest.mark.slow
def test_clds_ablations_are_trained_and_sampled(dry_run):
    rows = dry_run(CLD, "ablations", metrics=[])
    assert_done(rows, CLD, "ablations")
    assert all(np.isfinite(float(row["bits_per_dim"])) for row in rows.values())


SLOW_FACES = pytest.param(None, 64, marks=pytest.mark.slow)


@pytest.mark.parametrize(("profile", "size"), [SLOW_FACES, ("cifar10", 32)])
def test_soft_diffusion_is_trained_and_sampled_by_both_algorithms(dry_run, profile, size):
    rows = dry_run(SOFT, profile, metrics=[])
    assert_done(rows, SOFT, profile, (3, size, size))
    assert {row["sampler"] for row in rows.values()} == {"momentum", "naive"}


@pytest.mark.slow
def test_the_published_network_of_1024_pixels_gives_images(dry_run):
    assert_done(dry_run(FACES, steps=2), FACES, shape=(3, 1024, 1024))


@pytest.mark.slow
def test_cld_gives_images_bits_and_both_metrics_by_the_reference_network(
    dry_run, root, monkeypatch
):
    fixed = extractors.EXTRACTORS["inception"]
    monkeypatch.setitem(extractors.EXTRACTORS, "inception", replace(fixed, sha256=""))
    extractors.extractor_card.cache_clear()
    write_inception(root / "weights" / extractors.INCEPTION)
    try:
        rows = dry_run(CLD, metrics=[{"metric": "fid", "allow_few": True}, "is"], count=10)
    finally:
        extractors.extractor_card.cache_clear()
    assert_done(rows, CLD)
    assert len(rows) == 5
    for row in rows.values():
        assert np.isfinite([float(row[name]) for name in ("FID", "IS", "bits_per_dim")]).all()
