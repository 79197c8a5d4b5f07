"""Who may import whom: one-way layers, and nothing heavy before a job runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.card import cards

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {  # a new module of bench states here what it stands on
    "host": "",
    "workload": "card data metrics plan spec store",
    "scale": "",
    "drawn": "",
    "spec": "drawn",
    "printable": "",
    "cifar": "",
    "toy": "",
    "collection": "printable",
    "digest": "collection",
    "splits": "collection",
    "mapped": "digest",
    "idx": "mapped",
    "pictures": "collection",
    "celeba": "mapped pictures",
    "gallery": "collection digest mapped pictures splits",
    "data": "celeba cifar collection digest drawn gallery idx mapped toy",
    "given": "card data drawn",
    "card": "spec",
    "course": "card spec",
    "claims": "card spec",
    "document": "card printable",
    "metrics": "card collection data digest given spec store",
    "external": "collection data digest pictures scale",
    "method": "card data",
    "store": "host spec",
    "sections": "card data digest document gallery given metrics spec",
    "suite": "card claims data digest document drawn given metrics sections spec",
    "plan": "course spec store suite",
    "assets": "card data digest metrics spec store suite",
    "stages": "card course data digest drawn external given method metrics plan spec store",
    "execute": "card data document host plan spec store workload",
    "report": "card claims data drawn execute given metrics plan printable spec store suite",
    "progress": "execute printable",
    "catalogue": "card data execute gallery metrics plan printable store",
    "cli": "assets card catalogue data document drawn execute metrics plan printable progress report spec store suite",
}
METHODS_SEE = {"bench.card", "bench.data.images", "bench.method", "bench.schema"}
LIGHT = [
    f"bench.{name}"
    for name in ("spec", "card", "data", "suite", "plan", "store", "execute", "metrics", "cli")
]
HEAVY = ("torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn")


def imports(path):
    """Returns (module, whether a function imports it) for each import of ours, those for type
    checking left out.
    """
    found = []

    def visit(node, late):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            packages = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend((p, late) for p in packages) if node.module in (
                "bench",
                "methods",
            ) else None
            found.append((node.module, late))
        for child in ast.iter_child_nodes(node):
            visit(child, late or isinstance(node, ast.FunctionDef))

    visit(ast.parse(path.read_text()), False)
    return [
        (name, late)
        for name, late in found
        if name.split(".")[0] in ("bench", "methods", "submitit")
    ]


def files(folder):
    return sorted(
        path
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" or path.read_text()
    )


def name_of(path):
    return (
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__")
    )


@pytest.mark.parametrize("path", files("bench"), ids=name_of)
def test_bench_imports_only_what_lies_below(path):
    part = name_of(path).partition("bench")[2].strip(".").split(".")[0]
    allowed = {f"bench.{name}" for name in [part, *MAY_IMPORT.get(part, "").split()]} | {"bench"}
    for module, late in imports(path):
        if module.startswith("methods"):
            assert (part, module) == ("card", "methods"), (
                f"{path}: the harness never names a method ({module})"
            )
        elif module.startswith("submitit"):
            assert part == "execute", f"{path}: only bench/execute knows submitit"
            assert late, f"{path}: submitit is imported where it is needed"
        elif ".".join(module.split(".")[:2]) == "bench.stages.jobs":
            assert part in ("execute", "stages"), f"{path}: only a job runs stages"
            assert late or part == "stages", f"{path}: stages are imported inside the job"
        else:
            assert ".".join(module.split(".")[:2]) in allowed, f"{path} may not import {module}"


@pytest.mark.parametrize("path", files("methods"), ids=name_of)
def test_methods_import_the_contract_the_shared_and_themselves(path):
    folder = name_of(path).split(".")[1] if path.parent != ROOT / "methods" else ""
    for module, _ in imports(path):
        if module.startswith("bench"):
            assert ".".join(module.split(".")[:2]) in METHODS_SEE | {"bench"}, (
                f"{path} may not import {module}"
            )
        else:
            assert module.split(".")[1] in ("shared", folder), f"{path} may not import {module}"


def test_run_bench_imports_the_command_line_alone():
    assert {name for name, _ in imports(ROOT / "run_bench.py")} == {"bench.cli.parser"}


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
    modules = [*LIGHT, *(f"methods.{name}.card" for name in cards())]
    done = without_heavy_modules("".join(f"import {module}\n" for module in modules), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def any_suite(tmp_path):
    """A suite of every method there is, each by its first sampler."""
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
def test_commands_that_only_look_answer_without_torch_numpy_or_pandas(any_suite, words):
    code = f"from bench.cli import main\nsys.exit(main({words}))"
    done = without_heavy_modules(code, any_suite.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout
