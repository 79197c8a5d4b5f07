"""Why rows are comparable or not: explain, the page's section, and the commands around metrics."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.cli.parser import main
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.metrics.audit import check, ladders, ordered
from bench.metrics.extractors import load_extractor
from bench.metrics.moments import statistics
from bench.metrics.parameters import FrechetParams
from bench.metrics.references import References
from bench.metrics.registry import METRICS
from bench.report.comparison import FACTS, explain, find
from bench.report.identity import differences
from bench.report.results import Results

FD, IS = "fd(digits-cnn@8)", "is(digits-cnn@8)"
IDENTITIES = {
    "aaaaaaaa": {"metric": "fd", "count": 256, "reference": {"split": "train", "sha256": "0" * 64}},
    "bbbbbbbb": {"metric": "fd", "count": 128, "reference": {"split": "test", "sha256": "1" * 64}},
    "cccccccc": {"metric": "is", "count": 256},
}


def three_groups():
    """Returns the results of three groups, two seeds of the first."""
    plain = {name: None for name in FACTS} | {
        "train": "vp",
        "method": "SDE",
        "sampler": "heun",
        "budget": 10,
        "nfe": 9.0,
    }
    plain |= {
        "state": "done",
        "cause": "",
        "bits_per_dim": np.nan,
        "bits_per_dim_note": "the suite asks for none",
    }
    same = {FD: "aaaaaaaa", IS: "cccccccc"}
    found = [
        plain
        | {
            "group": "vp heun",
            "label": "vp heun · seeds 0, 0",
            "key": "k1",
            "train_key": "t1",
            "sample_seed": 0,
        },
        plain
        | {
            "group": "vp heun",
            "label": "vp heun · seeds 0, 1",
            "key": "k2",
            "train_key": "t1",
            "sample_seed": 1,
        },
        plain
        | {
            "group": "ve heun",
            "label": "ve heun · seeds 0, 0",
            "key": "k3",
            "train_key": "t2",
            "train": "ve",
        },
        plain
        | {
            "group": "ve em",
            "label": "ve em · seeds 0, 0",
            "key": "k4",
            "train_key": "t2",
            "train": "ve",
        },
    ]
    values = [(1.0, 9.0, same), (3.0, 9.2, same), (1.5, 8.0, same), (0.5, np.nan, {FD: "bbbbbbbb"})]
    for row, (fd, score, identity) in zip(found, values, strict=True):
        row |= {FD: fd, IS: score, "identity": identity}
    found[3] |= {"sampler": "em", "state": "failed", "cause": "metrics failed: out of disk"}
    metrics = {FD: METRICS["fd"], IS: METRICS["is"]}
    return Results(rows=pd.DataFrame(found), metrics=metrics, identities=IDENTITIES)


def explained(first, second):
    results = three_groups()
    return "\n".join(explain(results, find(results.rows, first), find(results.rows, second)))


def test_differences_of_identities_are_named_with_both_values_and_short_digests():
    found = differences(IDENTITIES["aaaaaaaa"], IDENTITIES["bbbbbbbb"])
    assert found == [
        "count 256 against 128",
        "reference split train against test",
        f"reference sha256 {'0' * 12}... against {'1' * 12}...",
    ]
    assert differences(IDENTITIES["cccccccc"], IDENTITIES["cccccccc"]) == []
    assert differences({"count": 1}, {"count": 1, "batch": 8}) == ["batch nothing against 8"]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("vp heun", 2),
        ("vp heun · seeds 0, 1", 1),
        ("vp", 2),
        ("k3", 1),
        ("t1", 2),
        ("EM", 1),
    ],
)
def test_rows_are_found_by_group_label_train_label_key_or_part_of_a_label(text, labels):
    assert len(find(three_groups().rows, text)) == labels


def test_rows_that_are_none_or_several_are_refused():
    with pytest.raises(ValueError, match="names several rows: vp heun; ve heun"):
        find(three_groups().rows, "heun")
    with pytest.raises(
        ValueError, match="no row is called 've heum'; there are, for example: ve heun"
    ):
        find(three_groups().rows, "ve heum")


def test_comparable_rows_are_told_which_is_better_and_what_they_differ_in():
    text = explained("vp heun", "ve heun")
    assert "A: vp heun (2 pairs of seeds)" in text
    assert "model: vp against ve" in text
    assert f"{FD}: 2 against 1.5: comparable, one identity; B is ahead by 0.5" in text
    assert f"{IS}: 9.1 against 8: comparable, one identity; A is ahead by 1.1" in text
    assert "sampler:" not in text


def test_unlike_numbers_are_told_why_and_missing_ones_whose():
    text = explained("ve heun", "ve em")
    assert (
        f"{FD}: 1.5 against 0.5: NOT comparable, they are unlike numbers:\n  count 256 against 128"
        in text
    )
    assert f"{IS}: B has none (metrics failed: out of disk)" in text
    assert "sampler: heun against em" in text
    assert "neither has it" in text


def test_the_page_says_which_rows_are_not_ranked_together_and_why():
    (line,) = three_groups().unranked
    assert line.startswith(
        f"Budget 10, {FD}: ve em not ranked with vp heun, ve heun: count 256 against 128; "
    )


# The commands


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explain_names_rows_that_are_none(here, capsys):
    (here / "small.yaml").write_text(
        "name: small\ndataset: digits\nmetrics: [fd, kd]\nsamples: {count: 64, batch: 32}\n"
        "train: {vp: {method: sde}}\n"
        "points: [{train: vp, sampler: euler_maruyama, grid: {nfe: [5, 10]}}]\n"
    )
    assert main(["explain", "small.yaml", "nothing at all", "x"]) == 2
    assert "no row is called 'nothing at all'" in capsys.readouterr().err
    assert main(["plan", "small.yaml", "--verbose"]) == 0
    names = [line for line in capsys.readouterr().out.splitlines() if line.startswith("scores")]
    keys = [line.split()[2] for line in names]
    assert len(set(keys)) == 2
    assert main(["explain", "small.yaml", "nfe 5", "nfe 10"]) == 0
    out = capsys.readouterr().out
    assert "steps: 5 against 10" in out
    assert f"{FD}: neither has it" in out
    assert "Not ranked against each other: budgets 5 and 10." in out


def test_reference_is_exported_and_imported_on_the_command_line(here, capsys):
    words = ["--dataset", "digits", "--extractor", "digits-cnn", "--features"]
    assert main(["reference", "export", "stats.npz", *words]) == 0
    with np.load(here / "stats.npz", allow_pickle=False) as arrays:
        features = load_extractor("digits-cnn")(load_images("digits").train).features
        assert np.array_equal(arrays["pool_3"], features)
        np.testing.assert_allclose(arrays["sigma"], statistics(features)[1], rtol=1e-9, atol=1e-12)
        assert json.loads(str(arrays["identity"]))["split"] == "train"
    capsys.readouterr()
    assert main(["reference", "import", "stats.npz", "--store", "other"]) == 0
    said = capsys.readouterr().out
    sha256 = said.rpartition("statistics: ")[2].strip(" }\n")
    assert (here / "other" / "references" / sha256 / "moments.npz").exists()


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["export", "x.npz"], 2, "export needs --dataset"),
        (["export", "x.npz", "--dataset", "digit"], 2, "did you mean digits?"),
        (
            ["export", "x.npz", "--dataset", "digits", "--extractor", "digit-cnn"],
            2,
            "did you mean digits-cnn?",
        ),
        (
            ["export", "x.npz", "--dataset", "photo_tiles", "--extractor", "digits-cnn"],
            2,
            "reads 1x8x8 images",
        ),
        (
            ["export", "x.npz", "--dataset", "digits"],
            1,
            "weights-inception-2015-12-05-6726825d.pth are missing",
        ),
        (["export", "x.npz", "--dataset", "cifar10"], 1, "is missing"),
        (["import", "none.npz"], 1, "there is no such file"),
    ],
)
def test_what_cannot_be_exchanged_is_said_with_a_status(
    here, capsys, monkeypatch, words, status, why
):
    monkeypatch.setenv("BENCH_DATA", str(here / "data"))
    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    assert main(["reference", *words]) == status
    assert why in capsys.readouterr().err


def test_missing_weights_stop_a_run_before_the_first_job(here, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(here / "data"))
    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    (here / "small.yaml").write_text(
        "name: small\ndataset: photo_tiles\n"
        "metrics: [{metric: fid, allow_few: true}, {metric: fd, extractor: pixels, "
        f"statistics: {'a' * 64}}}]\n"
        "samples: {count: 300, batch: 32}\ntrain: {vp: {method: sde}}\n"
        "points: [{train: vp, sampler: euler_maruyama, grid: {nfe: [5]}}]\n"
    )
    for verb, how in (
        ("run", "metric FID: weights {} are missing (looked for: "),
        ("assets", "{} (sha256 6726825d"),
    ):
        assert main([verb, "small.yaml"]) == 1
        said = "".join(capsys.readouterr())
        assert how.format("weights-inception-2015-12-05-6726825d.pth") in said
        assert "run_bench.py reference import FILE" in said
    assert not (here / "results" / "store").exists()


def test_check_metrics_refuses_what_it_cannot_check(here, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(here / "data"))
    monkeypatch.setenv("TORCH_HOME", str(here / "torch"))
    for words, status, why in (
        (["--dataset", "digit"], 2, "did you mean digits?"),
        (["--extractor", "clip-vit-b-33"], 2, "did you mean clip-vit-b-32?"),
        (["--dataset", "two_modes"], 2, "not real values"),
        (["--images", "1"], 2, "--images should be at least 2"),
        (["--extractor", "inception"], 1, "fetch https://"),
        (["--dataset", "cifar10", "--extractor", "pixels"], 1, "is missing"),
    ):
        assert main(["check-metrics", *words]) == status
        assert why in capsys.readouterr().err


@pytest.mark.slow
def test_check_metrics_finds_the_digits_extractor_in_order(here, capsys):
    assert main(["check-metrics", "--images", "360"]) == 0
    out = capsys.readouterr().out
    assert "FAILS" not in out
    assert "own and torch-fidelity" in out
    assert "rises with JPEG" in out


def test_check_metrics_has_status_1_where_an_order_fails(here, capsys, monkeypatch):
    from bench.metrics import audit

    def findings(*_, **__):
        yield audit.Finding("fd rises with noise", "1, 3, 2", False)
        yield audit.Finding("fd of real images", "1", None)
        yield audit.Finding("fd of equal sets is 0", "0", True)

    monkeypatch.setattr(audit, "check", findings)
    assert main(["check-metrics"]) == 1
    out = capsys.readouterr().out
    assert "FAILS fd rises with noise: 1, 3, 2" in out
    assert "1 of 2 are as they should be; 1 FAIL" in out


def test_order_allows_the_scatter_of_real_images_and_no_more():
    assert ordered([1, 2, 3], 0)
    assert ordered([1, 0.95, 3], 0.1)
    assert not ordered([1, 0.8, 3], 0.1)
    assert not ordered([1, 1.02, 1.05], 0.1)
    assert not ordered([1, float("nan"), 3], 0.1)


def test_an_extractor_that_sees_nothing_fails_the_suite():
    """Random features of constant value give every image one number: no ladder may pass."""
    from bench.metrics import audit

    data = load_images("digits")
    references = References()
    blind = replace(DATASETS["digits"], load=lambda split: np.full((60, 1, 8, 8), 8, np.uint8))
    blind = replace(blind, splits={"train": 60, "test": 60})
    found = list(check(type(data)("digits", blind), "digits-cnn", count=60, references=references))
    failed = [one for one in found if one.right is False]
    assert any("collapse" in one.what for one in failed)
    assert any("JPEG" in one.what for one in failed)
    assert audit.AGREEMENT == 1e-6


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_every_damage_keeps_shape_type_and_levels(shape):
    data = load_images("digits" if shape[0] == 1 else "photo_tiles")
    images = data.test[:6]
    for rungs in ladders(data, 6 * 16).values():
        for _, damage in rungs:
            found = damage(images, np.random.default_rng(0))
            assert found.shape == images.shape
            assert found.dtype == np.uint8
            assert found.max() < data.levels


def test_unknown_statistics_in_a_suite_are_a_problem_of_the_suite():
    with pytest.raises(ValueError, match="statistics should be the sha256 that"):
        FrechetParams(statistics="cifar10.npz")
