"""The suite of each paper: the authors' settings, and what it plans without files."""

import pytest
import yaml
from authors_files import tiny_params
from reproductions import CLD, SDE, SUITES, entries

from bench.card import cards
from bench.cli.parser import main
from bench.data import registry
from bench.data.images import Images
from bench.method import load_method
from bench.plan import expand
from bench.schema import build
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

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
