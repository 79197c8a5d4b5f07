"""Which files may import which: one direction, no cycles, and nothing heavy before a job runs."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from imports import Import, cycles, imports, modules, part

from bench.card import cards

ROOT = Path(__file__).resolve().parent.parent

FLOORS = (  # from the ground up; a file may import what stands on floors below its own
    {"files", "frozen", "host", "installation", "printable"},
    {"spec", "schema"},
    {"card", "store", "describe"},
    {"data"},
    {"metrics", "method", "counter", "prefix"},
    {"plugins"},
    {"suite"},
    {"plan"},
    {"progress", "plugin_results"},
    {"stages"},
    {"execute", "check"},
    {"report"},
    {"claims"},
    {"cli"},
)
"""Each package of bench and each file that stands alone; a new one states its floor here."""

NEIGHBOURS = FLOORS[:2]
"""Floors whose files may import one another."""

JOB = {"stages", "method", "check"}
"""Imported inside a job only: by execute, in a function that the job calls, and by stages; check is
a job of its command.
"""

METHODS_SEE = {"bench.card", "bench.schema", "bench.data", "bench.frozen", "bench.method"}
"""All of bench that a method may import."""

LIGHT = {
    *("files", "frozen", "host", "installation", "printable", "spec", "schema", "card", "store"),
    *("describe", "prefix", "plugins", "suite", "plan", "progress", "plugin_results", "execute"),
    "cli",
}
"""What answers without torch, numpy or pandas, whatever else it imports."""

HEAVY = ("torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn")


def faults(root):
    """Returns a line for each import below ``root`` that a rule forbids, and for each cycle."""
    found = imports(root)
    lines = [f"{one.file} imports {one.target}: {why}" for one in found if (why := _fault(one))]
    return lines + [f"cycle: {', '.join(circle)}" for circle in cycles(found)]


def _fault(one):
    top = one.target.split(".")[0]
    if top == "submitit":
        if part(one.file) != "bench.execute":
            return "only bench.execute knows submitit"
        return "" if one.late else "submitit is imported inside a function"
    if top not in ("bench", "methods") or one.target == "bench":
        return ""
    return _fault_of_bench(one) if one.file.split(".")[0] == "bench" else _fault_of_method(one)


def _fault_of_bench(one):
    if one.target.startswith("methods"):
        finds_them = one.target == "methods" and one.file == "bench.card" and one.late
        return "" if finds_them else "bench never names a method"
    if one.file == "bench":
        return "the package holds a docstring only"
    (here, above), (there, below) = (_floor(module) for module in (one.file, one.target))
    if here == there:
        return ""
    if above is None or below is None:
        return f"{here if above is None else there} stands on no floor of tests/test_layering.py"
    if there in JOB and here not in JOB:
        inside = one.late and (here, there) in {("execute", "stages"), ("cli", "check")}
        return "" if inside else f"{there} is imported inside a job only"
    if below > above or (below == above and FLOORS[above] not in NEIGHBOURS):
        return f"{there} does not stand below {here}"
    return ""


def _floor(module):
    name = module.split(".")[1]
    return name, next((i for i, floor in enumerate(FLOORS) if name in floor), None)


def _fault_of_method(one):
    here = one.file.split(".")[1] if "." in one.file else ""
    if one.target.startswith("bench"):
        return "" if part(one.target) in METHODS_SEE else "methods see the contract of bench only"
    there = one.target.split(".")[1] if "." in one.target else ""
    return "" if there in ("shared", here) else "a method sees itself and methods.shared only"


def test_imports_go_down_only_and_no_files_import_one_another():
    found = faults(ROOT)
    assert not found, "\n".join(found)


def test_every_floor_holds_what_there_is():
    there = {part(name).split(".")[1] for name in modules(ROOT) if name.startswith("bench.")}
    assert set().union(*FLOORS) == there


GOOD = {
    "bench/__init__.py": '"""The harness."""',
    "bench/spec.py": "import hashlib",
    "bench/card.py": "from bench.spec import Values\n\ndef cards():\n    import methods",
    "bench/method.py": "from bench.card import Card",
    "bench/suite/__init__.py": "",
    "bench/suite/reader.py": "from bench.card import Card",
    "bench/plan.py": "from bench.suite.reader import read",
    "bench/stages/train.py": "from bench.method import Method\nfrom bench.plan import Job",
    "bench/execute/worker.py": "def f():\n    import submitit\n    from bench.stages import train",
    "bench/report/table.py": "import pandas\nfrom bench.execute.worker import f",
    "bench/cli/main.py": "from bench.report import table",
    "methods/__init__.py": "",
    "methods/shared/process.py": "import torch\nfrom bench.data.images import Images",
    "methods/one/card.py": "from bench.card import Card",
    "methods/one/adapter.py": "from bench.method import Method\nfrom methods.shared import process",
}

LATE = "def f():\n    "
CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
BROKEN = {  # what a file holds instead, and what is wrong then
    "cycle": (
        {"bench/suite/a.py": "import bench.suite.b", "bench/suite/b.py": "import bench.suite.a"},
        "cycle: bench.suite.a, bench.suite.b",
    ),
    "cycle of three": (
        {
            "bench/suite/a.py": "from bench.suite.b import x",
            "bench/suite/b.py": "from bench.suite.c import x",
            "bench/suite/c.py": "from bench.suite.a import x",
        },
        "cycle: bench.suite.a, bench.suite.b, bench.suite.c",
    ),
    "cycle for type checking": (
        {
            "bench/suite/a.py": f"{CHECKING}from bench.suite.b import B",
            "bench/suite/b.py": "from bench.suite.a import A",
        },
        "cycle: bench.suite.a, bench.suite.b",
    ),
    "cycle by an import inside a function": (
        {
            "methods/shared/a.py": f"{LATE}from methods.shared import b",
            "methods/shared/b.py": "import methods.shared.a",
        },
        "cycle: methods.shared.a, methods.shared.b",
    ),
    "upwards": (
        {"bench/suite/reader.py": "from bench.plan import Job"},
        "bench.suite.reader imports bench.plan: plan does not stand below suite",
    ),
    "upwards inside a function": (
        {"bench/suite/reader.py": f"{LATE}from bench.report.table import f"},
        "bench.suite.reader imports bench.report.table: report does not stand below suite",
    ),
    "upwards for type checking": (
        {"bench/spec.py": f"{CHECKING}from bench.plan import Job"},
        "bench.spec imports bench.plan: plan does not stand below spec",
    ),
    "beside": (
        {"bench/card.py": "from bench.store import Store", "bench/store.py": ""},
        "bench.card imports bench.store: store does not stand below card",
    ),
    "stages before a job runs": (
        {"bench/execute/worker.py": "from bench.stages.train import train"},
        "bench.execute.worker imports bench.stages.train: stages is imported inside a job only",
    ),
    "stages from the command line": (
        {"bench/cli/main.py": f"{LATE}from bench.stages import train"},
        "bench.cli.main imports bench.stages.train: stages is imported inside a job only",
    ),
    "the contract outside a job": (
        {"bench/report/table.py": "from bench.method import Method"},
        "bench.report.table imports bench.method: method is imported inside a job only",
    ),
    "a new file": (
        {"bench/extra.py": "from bench.spec import key"},
        "bench.extra imports bench.spec: extra stands on no floor of tests/test_layering.py",
    ),
    "bench names a method": (
        {"bench/stages/train.py": f"{LATE}from methods.one import adapter"},
        "bench.stages.train imports methods.one.adapter: bench never names a method",
    ),
    "bench finds methods twice": (
        {"bench/plan.py": f"{LATE}import methods"},
        "bench.plan imports methods: bench never names a method",
    ),
    "a method of another method": (
        {"methods/two/card.py": "from methods.one.card import CARD"},
        "methods.two.card imports methods.one.card: a method sees itself and methods.shared only",
    ),
    "shared of a method": (
        {"methods/shared/a.py": f"{LATE}from methods.one.card import CARD"},
        "methods.shared.a imports methods.one.card: a method sees itself and methods.shared only",
    ),
    "a method of the harness": (
        {"methods/one/adapter.py": "from bench.store import Store", "bench/store.py": ""},
        "methods.one.adapter imports bench.store: methods see the contract of bench only",
    ),
    "submitit elsewhere": (
        {"bench/report/table.py": f"{LATE}import submitit"},
        "bench.report.table imports submitit: only bench.execute knows submitit",
    ),
    "submitit too early": (
        {"bench/execute/worker.py": "from submitit.core import utils"},
        "bench.execute.worker imports submitit.core: submitit is imported inside a function",
    ),
    "a package with imports": (
        {"bench/__init__.py": "from bench.spec import key"},
        "bench imports bench.spec: the package holds a docstring only",
    ),
}


@pytest.fixture
def tree(tmp_path):
    """Writes files, by path, over a small project that keeps all rules."""

    def write(files):
        for name, text in {**GOOD, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_a_project_that_keeps_the_rules_has_no_faults(tree):
    assert faults(tree({})) == []


@pytest.mark.parametrize(("files", "fault"), BROKEN.values(), ids=BROKEN)
def test_each_broken_rule_is_found(tree, files, fault):
    assert fault in faults(tree(files))


def test_relative_imports_are_refused(tree):
    with pytest.raises(ValueError, match="imports are absolute"):
        faults(tree({"bench/plan.py": "from .spec import key"}))


def test_an_import_knows_whether_it_is_late_and_whether_it_is_for_type_checking(tree):
    text = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from bench.card import Card\n"
        "else:\n    import bench.spec\n"
        "def f():\n    from bench.suite import reader\n"
    )
    found = [one for one in imports(tree({"bench/plan.py": text})) if one.file == "bench.plan"]
    assert found[1:] == [
        Import("bench.plan", "bench.card", late=False, checking=True),
        Import("bench.plan", "bench.spec", late=False, checking=False),
        Import("bench.plan", "bench.suite.reader", late=True, checking=False),
    ]


def test_packages_of_bench_hold_a_docstring_only():
    for name, path in modules(ROOT).items():
        if path.name == "__init__.py" and name.startswith("bench"):
            body = ast.parse(path.read_text()).body
            assert [type(statement) for statement in body] in ([], [ast.Expr]), name


def test_no_text_of_bench_names_a_file_of_a_method():
    pattern = re.compile(rf"methods[./]({'|'.join(cards())})\b")
    for path in (ROOT / "bench").rglob("*.py"):
        constants = [
            n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)
        ]
        assert [text for text in map(str, constants) if pattern.search(text)] == [], path


def test_run_bench_imports_the_command_line_only():
    tree = ast.parse((ROOT / "run_bench.py").read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    ours = [name for name in names if name.split(".")[0] in ("bench", "methods")]
    assert len(ours) == 1
    assert ours[0].startswith("bench.cli.")


def without_heavy_modules(code, cwd):
    """Runs code in a process where every heavy module is missing."""
    blocked = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_cards_and_what_plans_are_imported_without_torch_numpy_or_pandas(tmp_path):
    light = [
        name for name in modules(ROOT) if name.startswith("bench.") and name.split(".")[1] in LIGHT
    ]
    assert len(light) > len(LIGHT) / 2
    names = [*light, *(f"methods.{name}.card" for name in cards())]
    done = without_heavy_modules("".join(f"import {name}\n" for name in names), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def any_suite(tmp_path):
    """A suite of every method found, each by its first sampler."""
    suite = {
        "name": "any",
        "dataset": "digits",
        "metrics": ["fd"],
        "samples": {"count": 256, "batch": 128},
    }
    suite["train"] = {
        name: {"method": name, "params": dict(card.tiny)} for name, card in cards().items()
    }
    suite["points"] = [
        {"train": name, "sampler": next(iter(card.samplers))} for name, card in cards().items()
    ]
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


WORDS = ["plan any.yaml", "plan any.yaml --executor slurm", "status any.yaml", "list", "--help"]


@pytest.mark.parametrize("words", [words.split() for words in WORDS], ids=" ".join)
def test_commands_that_only_read_answer_without_torch_numpy_or_pandas(any_suite, words):
    done = without_heavy_modules(
        f"from run_bench import main\nsys.exit(main({words}))", any_suite.parent
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
