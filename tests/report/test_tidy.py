"""Tables for other programs: plain names, one fact a column, every column documented."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from made_results import FD, group, made
from synthetic_results import results_of

from bench.report.columns import as_text
from bench.report.curves import COLUMNS as OF_CURVES
from bench.report.latex import escaped, latex
from bench.report.tidy import leaderboard_table, long_table, plain_name, row_names
from bench.report.verdicts import COLUMNS as OF_CLAIMS

ROOT = Path(__file__).parents[2]


def documented(section):
    text = (ROOT / "results" / "README.md").read_text().partition(f"\n## {section}")[2]
    cells = re.findall(r"^\| (`.*?) \|", text.partition("\n## ")[0], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_column_of_the_leaderboard_is_plain_filled_and_documented(small):
    suite, store = small
    results = results_of(suite, store)
    table = leaderboard_table(results)
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in table.columns)
    assert table.columns.is_unique
    assert not table.isna().all().any()
    known = documented("leaderboard.csv")
    metrics = {plain_name(name) for name in results.metrics}
    for name in table.columns:
        of_metric = next((m for m in metrics if name == m or name.startswith(f"{m}_")), None)
        generic = f"METRIC{name.removeprefix(of_metric)}" if of_metric else name
        assert generic in known or name.startswith("setting_"), name


def test_every_column_of_the_other_tables_is_documented(small):
    suite, store = small
    results = results_of(suite, store)
    rows = {name for name in as_text(results.rows).columns if name not in results.metrics}
    losses = {name for name in rows if name.startswith("heldout_loss@")}
    assert rows - losses <= documented("results.csv")
    assert set(results.uncertainty.columns) <= documented("uncertainty.csv")
    assert set(OF_CLAIMS) <= documented("claims.csv")
    assert set(OF_CURVES) == documented("curves.csv")


def test_no_cell_of_the_leaderboard_packs_several_facts(small):
    suite, store = small
    table = leaderboard_table(results_of(suite, store))
    texts = [value for name in table for value in table[name].dropna() if isinstance(value, str)]
    assert not [text for text in texts if re.search(r"\w=\w|; ", text)]


def test_settings_of_samplers_are_columns_of_their_own():
    results = made(
        group("ve", "pc", 20, [[1.0]], options={"snr": 0.16}, settings="snr=0.16"),
        group("vp", "heun", 20, [[2.0]]),
    )
    table = leaderboard_table(results).set_index("model")
    assert table.loc["ve", "setting_snr"] == 0.16
    assert pd.isna(table.loc["vp", "setting_snr"])


def test_the_long_table_has_each_number_once_with_its_interval():
    results = made(group("ve", "heun", 20, np.arange(8.0).reshape(2, 4) + 1))
    table = long_table(results).set_index("metric")
    assert table.index.is_unique
    assert table.loc[FD, "value"] == 4.5
    assert table.loc[FD, "low"] < 4.5 < table.loc[FD, "high"]
    assert table.loc["nfe", "value"] == 20
    assert pd.isna(table.loc["nfe", "low"])


def test_rows_that_identities_split_have_names_of_their_own():
    results = made(group("ve", "heun", 20, [[1.0, 2.0]]))
    rows = results.rows
    rows.at[rows.index[1], "identity"] = {FD: "dddddddd"}
    assert row_names(results.board) == ["ve · heun · nfe 20", "ve · heun · nfe 20 (2)"]


def test_latex_has_the_best_bold_ties_marked_and_nothing_unescaped():
    values = np.random.default_rng(0).normal(size=(2, 6, 4))
    results = made(
        group("a_b", "heun", 20, 5 + 0.1 * values[0]),
        group("c&d", "50%", 20, 5.001 + 0.1 * values[1]),
        name="x_{y}",
    )
    text = latex(results)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 3
    assert [line.count(r"\textbf{") for line in lines] == [0, 2, 0]
    assert r"$\approx$" in lines[2]
    assert r"a\_b" in text
    assert r"c\&d" in text
    assert r"50\%" in text
    assert r"x\_\{y\}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_a_text_with_commands_is_text_in_latex():
    assert escaped("\\input{x}$~^") == (
        r"\textbackslash{}input\{x\}\$\textasciitilde{}\textasciicircum{}"
    )
