"""The command ``claims``: a listing, the stored tables of suites, and the page."""

import csv

import numpy as np
import pytest
from scipy import stats

from bench.claims.listing import read_listing
from bench.cli.parser import main
from bench.report.verdicts import COLUMNS
from bench.suite.fault import SuiteError

SUITE = """
name: study
dataset: gaussian
metrics: [exact_fd]
samples: {count: 1000, batch: 1000, seeds: [0, 1, 2, 3, 4, 5]}
inspect: null
train: {vp: {method: sde, params: {exact: true}}}
claims:
  - metric: exact_fd
    smallest_effect: 0.1
    pairs:
      - [vp ancestral, vp ddim]
      - [vp flow_heun nfe 20, vp ddim nfe 20]
      - [vp flow_heun nfe 5, vp flow_heun nfe 20]
points:
  - {train: vp, sampler: ancestral, times: log_snr, grid: {nfe: [5, 20, 50]}}
  - {train: vp, sampler: ddim, times: log_snr, grid: {nfe: [5, 20, 50]}}
  - {train: vp, sampler: flow_heun, times: log_snr, grid: {nfe: [5, 20]}}
"""
LISTING = """
title: What they say
claims:
  - claim: Noise helps.
    source: Somebody, 2020
    trials:
      - {suite: suites/study.yaml, about: exact, pairs: [[vp ancestral, vp ddim]],
         cause: "the solver: order 1"}
  - claim: Order 2 helps.
    source: Somebody, 2021
    trials:
      - {suite: suites/study.yaml, pairs: [[vp flow_heun nfe 20, vp ddim]],
         reverses: the score is exact}
      - {suite: suites/study.yaml, pairs: [[vp flow_heun nfe 5, vp flow_heun]],
         expected: within noise}
  - {claim: Size helps., source: "Somebody, 2022", missing: it takes a GPU.}
"""
VERDICTS = {  # by sampler of the first group and budgets: verdict, values of first and second
    ("ancestral", 5, 5): ("better", 1.0, 2.0),
    ("ancestral", 20, 20): ("worse", 2.0, 1.0),
    ("flow_heun", 20, 20): ("undecided", 1.0, 1.2),
    ("flow_heun", 5, 20): ("within noise", 1.0, 1.0),
}


def group(sampler, nfe):
    return f"vp · {sampler} · nfe {nfe} · times log_snr"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with a listing, a suite, and its results, of which one claim was not run."""
    for folder in ("docs", "suites", "results/study"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "suites/study.yaml").write_text(SUITE)
    (tmp_path / "docs/claims.yaml").write_text(LISTING)
    with (tmp_path / "results/study/claims.csv").open("w") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for (first, nfe, other), (verdict, one, two) in VERDICTS.items():
            second = "ddim" if nfe == other else first
            table.writerow(
                {
                    "metric": "exact_fd",
                    "first": group(first, nfe),
                    "second": group(second, other),
                    "verdict": verdict,
                    "note": "neither is shown" if verdict == "undecided" else "",
                    "first_mean": one,
                    "second_mean": two,
                    "difference": one - two,
                    "low": one - two - 0.5,
                    "high": one - two + 0.5,
                    "smallest_effect": 0.1,
                    "p_holm": 0.04,
                    "first_nfe": nfe,
                    "second_nfe": other,
                }
            )
    with (tmp_path / "results/study/results.csv").open("w") as file:
        columns = ("group", "train_key", "sample_seed", "training_images", "exact_fd")
        table = csv.writer(file)
        table.writerow(columns)
        for seed in range(6):
            noise = 0.2 * (-1) ** seed
            table.writerow([group("flow_heun", 20), "k", seed, 0, 1.0 + noise])
            table.writerow([group("ddim", 20), "k", seed, 0, 1.2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_gives_each_claim_its_outcome_and_the_rows_that_it_rests_on(project, capsys):
    assert main(["claims", "docs/claims.yaml"]) == 0
    counted = "1 holds, 2 contradicted, 0 within noise, 1 undecided, 1 not run"
    # "no difference" was expected of one pair and found: that holds too
    assert counted.replace("1 holds, 2 contr", "2 holds, 1 contr") in capsys.readouterr().out
    page = (project / "docs/claims.md").read_text()
    assert "**3 of 5 comparisons are decided**: 2 holds, 1 contradicted, 1 undecided" in page
    assert page.index("## 1. Noise helps.") < page.index("## 2. Order 2 helps.")
    contradicted = next(line for line in page.splitlines() if "**contradicted**" in line)
    assert "[study](../results/study/claims.csv)" in contradicted
    assert group("ancestral", 20) in contradicted
    assert "2.00, 1.00" in contradicted
    assert "1.00 [0.50, 1.50]" in contradicted
    assert "the solver: order 1" in page
    assert "first better (the paper: the reverse)" in page
    assert "Of those that hold, 0 are the reverse of the paper's sign" in page
    assert "The reverse is expected: the score is exact" in page
    assert "it takes a GPU." in page
    not_run = next(line for line in page.splitlines() if "**not run**" in line)
    assert group("ancestral", 50) in not_run


def test_an_undecided_claim_says_what_would_decide_it(project):
    """Differences of -0.4 and 0 in turn: d = -0.2, variance of a seed 0.048, five claims, so t at
    0.01 two-sided: 3.11^2 * 0.048 / 12 < 0.2^2, and 3.17^2 * 0.048 / 11 is not.
    """
    main(["claims", "docs/claims.yaml"])
    page = (project / "docs/claims.md").read_text()
    assert "12 sample seeds would show the difference (neither is shown)" in page


def test_a_page_that_differs_from_the_results_is_named(project, capsys):
    assert main(["claims", "docs/claims.yaml", "--check"]) == 1
    assert not (project / "docs/claims.md").exists()
    main(["claims", "docs/claims.yaml"])
    assert main(["claims", "docs/claims.yaml", "--check"]) == 0
    (project / "results/study/claims.csv").unlink()
    assert main(["claims", "docs/claims.yaml", "--check"]) == 1
    assert "docs/claims.md is out of date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "suites/study.yaml, about",
            "suites/studdy.yaml, about",
            "did you mean suites/study.yaml?",
        ),
        ("vp flow_heun nfe 20, vp ddim", "vp flow_hun, vp ddim", "is no claim of study"),
        (
            "[[vp flow_heun nfe 5, vp flow_heun]]",
            "[[vp ancestral, vp ddim]]",
            "is a trial of claims.0.trials.0 already",
        ),
        ("expected: within noise", "expected: worse", "should be one of 'better', 'within noise'"),
        ("missing: it takes a GPU.", "mising: a GPU", "unknown key; did you mean missing?"),
        (
            ", missing: it takes a GPU.",
            "",
            "say what tests it (trials, curves), or why nothing does",
        ),
    ],
)
def test_mistakes_of_a_listing_are_one_line_each_with_their_place(
    project, capsys, old, new, message
):
    path = project / "docs/claims.yaml"
    assert old in LISTING
    path.write_text(LISTING.replace(old, new))
    assert main(["claims", "docs/claims.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("docs/claims.yaml:") and message in line for line in lines), lines
    assert not (project / "docs/claims.md").exists()


def test_a_claim_of_a_suite_that_no_entry_lists_is_a_problem(project, capsys):
    kept, _, rest = LISTING.partition(
        "      - {suite: suites/study.yaml, pairs: [[vp flow_heun nfe 5"
    )
    text = kept + rest[rest.index("  - {claim: Size") :]
    (project / "docs/claims.yaml").write_text(text)
    assert main(["claims", "docs/claims.yaml"]) == 2
    pair = f"{group('flow_heun', 5)} against {group('flow_heun', 20)}"
    assert f"{pair}, which study claims, is listed nowhere" in capsys.readouterr().err


def test_a_listing_needs_claims(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: []\n")
    with pytest.raises(SuiteError, match="should not be empty"):
        read_listing(tmp_path / "claims.yaml")


CURVES = """
claims:
  - claim: It is smooth.
    source: Somebody, 2022
    curves:
      - {suite: suites/study.yaml, curve: slope, pairs: [[vp, cld]], smallest_effect: 0.1}
"""


def test_curves_are_compared_by_their_means_over_all_trainings(project, capsys):
    suite = SUITE.replace(
        "exact: true}}}", "exact: true}}, cld: {method: cld, params: {exact: true}}}"
    )
    (project / "suites/study.yaml").write_text(
        suite[: suite.index("claims:")] + suite[suite.index("points:") :]
    )
    (project / "docs/claims.yaml").write_text(CURVES)
    with (project / "results/study/curves.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(("curve", "train", "train_seed", "x_label", "y_label", "x", "y"))
        for train, mean in (("vp", 1.0), ("cld", 2.0)):
            for seed in range(5):
                spread = 1 + 0.01 * seed
                rows = [("slope", train, seed, "t", "norm", x, mean * spread + x) for x in (-1, 1)]
                table.writerows(rows)
    assert main(["claims", "docs/claims.yaml"]) == 0
    line = next(x for x in (project / "docs/claims.md").read_text().splitlines() if "slope" in x)
    assert "1.02, 2.04" in line  # the middle of five
    logs = np.log1p(0.01 * np.arange(5))
    welch = stats.ttest_ind(logs, logs + np.log(2), equal_var=False).confidence_interval()
    assert f"-0.500 [{np.expm1(welch.low):.3f}, {np.expm1(welch.high):.3f}]" in line
    assert "0.008" in line  # 2 of 252 permutations
    assert "**holds**" in line
    (project / "docs/claims.yaml").write_text(CURVES.replace("[vp, cld]", "[vp, cdl]"))
    assert main(["claims", "docs/claims.yaml"]) == 2
    assert "cdl" in (error := capsys.readouterr().err)
    assert "is no model of the suite; did you mean cld?" in error
