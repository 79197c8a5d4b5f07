"""The owner's command: it plans in seconds, says what to fetch, and stand-ins in true formats take
its whole path.
"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from authors_data import write_cifar
from authors_files import write_checkpoint
from standins import write_inception

from bench.card import cards
from bench.cli.parser import main
from bench.data import registry
from bench.data.images import Images
from bench.metrics import extractor_cards as extractors
from bench.plan import expand
from bench.schema import build
from bench.suite.claims import sample_seeds
from bench.suite.models import NOT_THERE
from bench.suite.reader import read_suite

SUITES = Path(__file__).resolve().parents[2] / "suites"
SWEEP = SUITES / "cifar10_nfe_sweep.yaml"
INLINE = "inline"
COLUMNS = ("FID", "IS", "KID", "precision", "recall", "clean-FID")
TO_BOTH = (*COLUMNS, "FID(to test)", "clean-FID(to test)")
FEW = {5, 10, 20, 50, 100}
MANY = {200, 1000}
OWN = {  # beyond these, what the papers take
    ("ve", "predictor_corrector"): {2000},
    ("cld", "euler_maruyama"): {2000},
    ("ncsnv2", "annealed_langevin"): {1161},
}
BUYS_NOTHING = {"ncsn": {5, 10, 20}, "ncsnv2": {5, 10, 1000}}
"""Budgets of less than two levels, or of too few steps to hold the noise of one."""
FAST = {"ddim", "flow_heun", ("sde", "dpm_solver_2m"), ("cld", "deis")}
QUICK = {5, 10, 20, 50}
QUICKER = {
    *("deis", "dpm_solver_2m", "dpm_solver_3m", "unipc", "sde_dpm_solver_2m", "edm_stochastic"),
}
"""Fast solvers up to 100 evaluations, some of one method; those of higher order up to 50."""
PROFILES = ("sweep", "tuning", "published", "rates", "controlled", "smoke")
FORMERLY = 5.83e9
"""Network evaluations of fixed budgets that the suite took when it had no layers."""
PAPERS = {
    "sde": {
        "euler_maruyama",
        "reverse_diffusion",
        "ancestral",
        "predictor_corrector",
        "flow_adaptive",
    },
    "ncsn": {"annealed_langevin"},
    "cld": {"sscs", "euler_maruyama", "flow_adaptive"},
    "soft": {"momentum", "naive"},
}
LATER = {"ddim", "flow_heun", "edm_stochastic", *QUICKER}


ONE_SIDED = {
    "[fd]": ["fd(digits-cnn@8): to training images alone; ask for reference: test too"],
    "[{metric: fd, reference: test}]": [
        "fd(digits-cnn@8, to test): to held-out images alone; ask for reference: train too"
    ],
    "[fd, {metric: fd, reference: test}]": [],
    "[fd, {metric: fd, reference: test}, {metric: fd, backend: clean-fid}]": [],
    "[{metric: fd, extractor: pixels}, {metric: fd, reference: test}]": [
        "fd(pixels): to training images alone; ask for reference: test too",
        "fd(digits-cnn@8, to test): to held-out images alone; ask for reference: train too",
    ],
    "[is, recall]": [],
}


@pytest.mark.parametrize("metrics", ONE_SIDED)
def test_distance_to_one_split_alone_is_noted(metrics, tmp_path):
    text = (SUITES / "quickstart.yaml").read_text()
    path = tmp_path / "suite.yaml"
    path.write_text(
        text.replace("[fd, {metric: fd, reference: test}, is, recall]", metrics).replace(
            "count: 128", "count: 700"
        )
    )
    notes = read_suite(path).notes
    assert [note for note in notes if "alone" in note] == ONE_SIDED[metrics]


def test_it_plans_in_seconds_with_every_method_sampler_and_budget(root):
    suite = read_suite(SWEEP)
    jobs = expand(suite)
    methods = {label: specs[0].method for label, specs in suite.train.items()}
    assert set(methods.values()) == set(PAPERS)
    used, seeds = {}, {}
    for point in suite.points:
        name = point.train, point.sample.sampler
        used.setdefault(name, set()).add(point.budget)
        seeds.setdefault(point.group, (point.budget, set()))[1].add(point.sample.seed)
    for (label, name), budgets in used.items():
        if not cards()[methods[label]].samplers[name].effort.exact:
            assert budgets == {None}
            continue
        fast = bool({name, (methods[label], name)} & FAST)
        wanted = FEW if fast else QUICK if name in QUICKER else FEW | MANY
        wanted = wanted | OWN.get((label, name), set())
        assert budgets == wanted - BUYS_NOTHING.get(label, set()), (label, name)
    for budget, drawn in seeds.values():
        assert drawn == ({0, 1, 2, 3} if budget in FEW else {0})
    for method, samplers in PAPERS.items():
        assert samplers <= {name for label, name in used if methods[label] == method}
    assert {name for label, name in used if methods[label] == "sde"} >= LATER
    for method in ("cld", "soft"):
        found = {name for label, name in used if methods[label] == method}
        assert found >= LATER - {"edm_stochastic"}
    assert [metric.column for metric in suite.metrics] == list(COLUMNS)
    assert {point.count for point in suite.points} == {50_000}
    stages = [job.stage for job in jobs]
    assert stages.count("train") == 7
    assert stages.count("samples") == stages.count("scores") == len(suite.points)
    assert stages.count("likelihood") == 5  # NCSN has none
    heun = next(point.sample for point in suite.points if point.sample.sampler == "flow_heun")
    assert (heun.times, heun.params["variable"]) == ("rho7", "sigma")


def evaluations(suite):
    return sum((point.budget or 0) * point.count for point in suite.points)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_layer_plans_without_files_on_a_cluster_too(root, profile, capsys):
    command = ["plan", str(SWEEP), "--profile", profile]
    assert main(command) == 0
    out = capsys.readouterr().out
    (predicted,) = (line for line in out.splitlines() if line.startswith("predicted: "))
    assert " GPU-hours (" in predicted
    assert main([*command, "--executor", "slurm"]) == 0
    assert "predicted: " in capsys.readouterr().out
    missing = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert any("(checkpoint of train." in line for line in missing) == (profile == "published")
    if profile == "published":
        for label in ("ve", "vp", "subvp", "ncsn", "ncsnv2", "cld"):
            lines = [line for line in missing if f"(checkpoint of train.{label})" in line]
            assert [str(root) in line for line in lines] == [True]
        assert "soft" not in out


def test_sweep_takes_at_most_half_of_what_the_suite_took(root):
    sweep = read_suite(SWEEP, profile="sweep")
    assert sweep.points == read_suite(SWEEP).points
    assert evaluations(sweep) < FORMERLY / 2


def test_tuning_reports_neither_its_seed_nor_its_reference_in_the_sweep(root):
    sweep, tuning = read_suite(SWEEP), read_suite(SWEEP, profile="tuning")
    assert tuning.train == sweep.train  # trained once
    assert not {p.sample.seed for p in tuning.points} & {p.sample.seed for p in sweep.points}
    assert {metric.column for metric in tuning.metrics} == {"FID(to test)"}
    runs = {}
    for point in tuning.points:
        name = point.train, point.sample.sampler, point.budget
        runs[name] = runs.get(name, 0) + 1
    assert set(runs.values()) == {4}  # of each sampler as many


def test_published_samples_as_the_presets_say_and_trains_nothing(root):
    suite = read_suite(SWEEP, profile="published", absent=True)
    (flow,) = (p for p in suite.points if p.sample.sampler == "flow_adaptive")
    assert (flow.train, flow.sample.params["denoise"]) == ("cld", "published")
    for point in suite.points:
        spec, entry = point.sample, suite.resolved["train"][point.train]
        if point is not flow:
            published = cards()[spec.train.method].published[entry["preset"]]
            card = cards()[spec.train.method].samplers[spec.sampler]
            assert spec.sampler == published.sampler
            assert build(card.params, spec.params) == build(card.params, published.params)
        assert spec.train.checkpoint == NOT_THERE
    assert suite.wanted == {}


def test_rates_are_chosen_on_a_seed_that_is_not_reported(root):
    rates, controlled = (read_suite(SWEEP, profile=p) for p in ("rates", "controlled"))
    reported = {spec.seed for specs in controlled.train.values() for spec in specs}
    assert not {spec.seed for specs in rates.train.values() for spec in specs} & reported
    assert rates.train.keys() == {
        f"{label}_{rate}" for label in controlled.train for rate in ("low", "mid", "high")
    }
    for label, (spec, *_) in controlled.train.items():
        tried = {name: rates.train[f"{label}_{name}"][0].params for name in ("low", "mid", "high")}
        found = {values["training"].get("learning_rate", 2e-4) for values in tried.values()}
        assert found == {1e-4, 2e-4, 4e-4}
        for values in tried.values():
            model = {**values, "training": None}
            assert model == {**spec.params, "training": None}  # differs in its training alone
    assert not rates.metrics
    assert rates.inspections.keys() == rates.train.keys()


def test_controlled_has_one_network_five_trainings_and_claims_that_can_be_decided(root):
    suite = read_suite(SWEEP, profile="controlled")
    entries = suite.resolved["train"].values()
    assert len({str(entry["params"]["network"]) for entry in entries}) == 1
    assert len({str(entry["params"]["training"]) for entry in entries}) == 1
    assert all(entry["preset"] is None for entry in entries)
    assert {len(specs) for specs in suite.train.values()} == {5}
    seeds = sample_seeds(suite.points)
    claimed = {group for claim in suite.claims for group in (claim.first, claim.second)}
    assert {group for group, drawn in seeds.items() if len(drawn) == 4} >= claimed
    assert {len(drawn) for drawn in seeds.values()} == {1, 4}
    assert len({spec for specs in map(repr, suite.train.values()) for spec in (specs,)}) == 9
    assert suite.controlled
    assert len(suite.claims) == 5
    assert not [note for note in suite.notes if "claims" in note]


def test_models_are_those_of_the_papers_and_trained_where_no_checkpoint_lies(root):
    suite = read_suite(SWEEP)
    for label, entry in yaml.safe_load(SWEEP.read_text())["train"].items():
        (spec,) = suite.train[label]
        preset = {**cards()[entry["method"]].presets[entry["preset"]]}
        if label == "ve":  # starts where its data are, not where the authors' does
            del preset["prior"]
        if label == "soft":
            preset["null_reg"] = 1.0
        assert spec.params == preset
        assert spec.checkpoint is None
        assert (label in suite.wanted) == (label != "soft")
    assert suite.resolved["train"]["vp"]["params"]["network"]["width"] == 128
    assert not suite.controlled


def test_smoke_profile_draws_the_same_curves_up_to_its_largest_budget(root):
    whole, smoke = read_suite(SWEEP), read_suite(SWEEP, profile="smoke")
    most = smoke.resolved["most_nfe"]
    groups = dict.fromkeys((point.group, point.budget) for point in whole.points)
    kept = [group for group, budget in groups if budget is None or budget <= most]
    assert [point.group for point in smoke.points] == kept
    left_out = f"most_nfe {most}: {len(groups) - len(kept)} points"
    assert any(left_out in note for note in smoke.notes)
    assert smoke.dataset == "photo_patches"
    assert smoke.train.keys() == whole.train.keys()
    assert {stage for stage in smoke.resolved} - {"most_nfe"} == whole.resolved.keys()


def test_assets_tell_a_newcomer_what_to_fetch_and_where_to_put_it(root, capsys):
    assert main(["assets", str(SWEEP)]) == 1
    out = capsys.readouterr().out
    archive, weights = root / "cifar-10-binary.tar.gz", root / "weights" / extractors.INCEPTION
    assert f"{archive} (170,052,171 bytes, md5 c32a1d4ab5d03f1284b67883e8d87530)" in out
    assert f"--download fetches https://www.cs.toronto.edu/~kriz/{archive.name} to {archive}" in out
    assert f"weights of inception (metrics {', '.join(COLUMNS)}): MISSING" in out
    assert f"{weights} (sha256 6726825d...)" in out
    assert f"--download fetches {extractors.RELEASE} to {weights}" in out
    assert f"run_bench.py assets {SWEEP} --download" in out
    assert (
        main(["assets", str(SWEEP), "--profile", "smoke"]) == 0
        or "efficientnet" in capsys.readouterr().out
    )


NETWORK = "{width: 8, multipliers: [1, 1], blocks: 1, attention: [16]}"
TRAINING = "{steps: 2, batch: 4, warmup_steps: 1, heldout_images: 4}"
POINTS = (
    "vp · ddim · nfe 5",
    "soft · momentum · nfe 5",
    "cld · sscs · nfe 5",
    "ncsn · annealed_langevin · nfe 10",
)


@pytest.mark.slow
def test_stand_ins_in_the_true_formats_take_the_whole_path(root, monkeypatch, capsys):
    monkeypatch.setitem(registry.DATASETS, "cifar10", write_cifar(root))
    for name in ("inception", "clean-inception"):
        monkeypatch.setitem(
            extractors.EXTRACTORS, name, replace(extractors.EXTRACTORS[name], sha256="")
        )
    extractors.extractor_card.cache_clear()
    write_inception(root / "weights" / extractors.INCEPTION)
    data = Images("cifar10", registry.DATASETS["cifar10"])
    entry = {"method": "sde", "preset": "vp/cifar10_ddpmpp_continuous"}
    write_checkpoint(root / "vp.pth", entry, data)
    sets = [
        "train.vp.checkpoint=vp.pth",
        f"train.vp.params.network={NETWORK}",
        *(f"train.{label}.params.network={NETWORK}" for label in ("cld", "soft")),
        "train.ncsn.params.refinenet.width=4",
        *(f"train.{label}.params.training={TRAINING}" for label in ("cld", "soft", "ncsn")),
        "samples={count: 10, batch: 5, quantise: round}",
        "likelihood={images: 2, batch: 2, tolerance: 0.1}",
        "metrics=[{metric: fid, allow_few: true}, "
        "{metric: fid, allow_few: true, reference: test}, is, kid, prc, "
        "{metric: clean_fid, allow_few: true}, "
        "{metric: clean_fid, allow_few: true, reference: test}]",
    ]
    layers = SWEEP.read_text().index("\nprofiles:\n")  # which ask for more images than these are
    sweep = root.parent / SWEEP.name
    sweep.write_text(SWEEP.read_text()[: layers + 1])
    options = [word for value in sets for word in ("--set", value)]
    options += [word for point in POINTS for word in ("--only", point)]
    try:
        assert main(["assets", str(sweep), *options]) == 1
        out = capsys.readouterr().out
        assert "cifar-10-python.tar.gz: there, " in out
        assert "1 not as published" in out  # the archive, which is ours
        assert "checkpoint of train.vp: " in out
        assert main([str(sweep), *options, "--executor", INLINE]) == 0
    finally:
        extractors.extractor_card.cache_clear()
    with open(Path("results", "cifar10_nfe_sweep", "results.csv")) as file:
        rows = {row["train"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"vp", "soft", "cld", "ncsn"}
    for label, row in rows.items():
        assert row["state"] == "done"
        assert row["weights"] == ("checkpoint, ema" if label == "vp" else row["weights"])
        for column in TO_BOTH:
            assert np.isfinite(float(row[column])), (label, column)
        assert float(row["FID"]) != float(row["clean-FID"])
        assert float(row["nfe"]) <= (10 if label == "ncsn" else 5)
        if label != "ncsn":
            assert np.isfinite(float(row["bits_per_dim"]))
