"""The suite of each paper, from files in the authors' formats to every row."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from authors_data import write_celeba, write_cifar
from authors_files import tiny, write_checkpoint
from reproductions import CLD, FACES, INLINE, NCSN, SDE, SOFT, entries, tree_of
from standins import write_inception

from bench.card import cards
from bench.cli.parser import main
from bench.data import registry
from bench.data.images import Images
from bench.metrics import extractor_cards as extractors
from bench.schema import merge
from bench.store import Store

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
