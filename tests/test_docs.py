"""The documentation says what the code says: tables, links, commands, the drawing, the example."""

import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from imports import imports, part

from bench.card import cards
from bench.cli.parser import main
from bench.metrics.registry import METRICS
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import drawing  # noqa: E402
import generate  # noqa: E402

PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def rows(text):
    """Returns the cells of every line of a table, headings left out."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line] for line in cells]


def keys_of(section):
    """Returns the keys in the tables of a section of docs/suites.md, up to the next heading."""
    text = (DOCS / "suites.md").read_text()
    _, _, rest = text.partition(f"\n{section}\n")
    return {row[0].strip("`") for row in rows(re.split(r"\n##", rest)[0]) if row[0][:1] == "`"}


@each_page
def test_generated_parts_are_up_to_date(page):
    text = page.read_text()
    assert generate.updated(text) == text, "run: python docs/generate.py"


def test_every_generated_part_stands_on_a_page():
    used = [m[2] for page in PAGES for m in generate.MARKED.finditer(page.read_text())]
    assert sorted(used) == sorted(generate.parts())


def test_every_key_has_a_meaning():
    for name, write in generate.parts().items():
        if name == "drawing":
            continue
        header, *table = rows(write())[:1] or [[]], *rows(write())[2:]
        if "meaning" in header[0]:
            assert [row[0] for row in table if not row[-1]] == [], name


def test_the_page_of_claims_is_what_the_stored_results_say(monkeypatch):
    monkeypatch.chdir(generate.ROOT)
    assert main(["claims", "docs/claims.yaml", "--check"]) == 0


BASE = """
name: keys
dataset: digits
metrics: [{metric: fd}, unknown_rmse, accuracy]
samples: {count: 256}
likelihood: {images: 8}
inspect: {images: 8}
claims: [{metric: fd, smallest_effect: 1.0, vs: vp ddim}]
keep: {samples: 1}
train:
  vp: {method: sde}
  elsewhere: {samples_from: nothing.npz}
points:
  - {train: vp, sampler: ddim, grid: {nfe: [10]}}
  - {train: vp, sampler: predictor_corrector, given: {task: inpainting}}
  - {train: vp, sampler: predictor_corrector, given: {task: class}}
"""


def allowed(path, *places):
    """Returns what the reader of suites names as right where an unknown key is put in."""
    tree = yaml.safe_load(BASE)
    for place in places:
        here = tree
        for step in place:
            here = here[step]
        here["zzz"] = 1
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(SuiteError) as error:
        read_suite(path)
    return [set(p.allowed) for p in error.value.problems if p.path and p.path[-1] == "zzz"]


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("## The sections", ()),
        ("## samples", ("samples",)),
        ("## inspect", ("inspect",)),
        ("## claims", ("claims", 0)),
        ("## points", ("points", 0)),
    ],
    ids=lambda value: value.strip("# ") if isinstance(value, str) else "",
)
def test_a_section_lists_the_keys_that_the_reader_takes(section, place, tmp_path):
    assert allowed(tmp_path / "keys.yaml", place) == [keys_of(section)]


def test_the_keys_of_train_are_those_of_models_and_of_images_made_elsewhere(tmp_path):
    path = tmp_path / "keys.yaml"
    model, elsewhere = allowed(path, ("train", "vp")), allowed(path, ("train", "elsewhere"))
    assert set().union(*model, *elsewhere) == keys_of("## train")


def test_the_keys_of_likelihood_are_the_table_and_the_parameters_of_the_methods(tmp_path):
    found = allowed(tmp_path / "keys.yaml", ("likelihood",))
    of_methods = {row[0].strip("`") for row in rows(generate.parts()["likelihood parameters"]())}
    keys = found[0] - {"sweep"}
    assert keys_of("## likelihood") <= keys
    assert keys - keys_of("## likelihood") <= of_methods


def test_every_metric_and_every_method_has_a_heading():
    headings = re.findall(r"^### (\w+)$", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert headings == list(METRICS)
    methods = re.findall(r"^## (\w+)$", (DOCS / "methods.md").read_text(), re.MULTILINE)
    assert set(cards()) <= set(methods)


def test_every_suite_is_listed():
    text = (DOCS / "suites.md").read_text()
    absent = [p.name for p in (ROOT / "suites").glob("*.yaml") if f"../suites/{p.name}" not in text]
    assert absent == []


def anchors(page):
    """Returns the headings of a page as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {word.strip().replace(" ", "-") for word in words}


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def commands(page):
    """Returns the lines of a page that call run_bench.py, as words."""
    lines = re.findall(r"python run_bench\.py ([^`\n#]+)", page.read_text())
    return [shlex.split(line) for line in lines]


PLACES = ("SUITE", "ROW", "NAME", "FILE", "COMMAND", "X", "KEY=VALUE", "LABEL")


@each_page
def test_commands_are_taken_by_the_command_line_and_name_files_that_exist(page, monkeypatch):
    taken = []
    parse = __import__("argparse").ArgumentParser.parse_args

    def only_parse(parser, words):
        taken.append(parse(parser, words))
        raise InterruptedError

    monkeypatch.setattr("argparse.ArgumentParser.parse_args", only_parse)
    for words in commands(page):
        if words[0] in PLACES[4:5]:  # COMMAND --help
            continue
        with pytest.raises(InterruptedError):
            main(words)
        named = [word for word in words if word.startswith("suites/")]
        assert all((ROOT / name).exists() for name in named), words
    assert len(taken) >= len(commands(page)) - 1


def drawn():
    """Returns boxes and arrows of docs/architecture.md."""
    text = (DOCS / "architecture.md").read_text()
    boxes = re.findall(r'^    (\w+)\["\w+"\]$', text, re.MULTILINE)
    arrows = re.findall(r"^  (\w+) (-->|-\.->) (\w+)$", text, re.MULTILINE)
    return set(boxes), {(start, end): line == "-.->" for start, line, end in arrows}


@cache
def imported():
    """Returns every package, and for each import between two whether all are inside functions."""
    names = {box: box.replace(".", "_") for box in drawing.boxes(ROOT)}
    every = {}
    for one in imports(ROOT):
        start, end = names.get(part(one.file)), names.get(part(one.target))
        if start and end and start != end:
            every[start, end] = every.get((start, end), True) and one.late
    return set(names.values()), every


def untrue(boxes, arrows):
    """Returns what a drawing has that the code has not, and the other way round."""
    packages, every = imported()
    missing = {ends for ends in every if not _joined(arrows, *ends)}
    wrong = {ends for ends, late in arrows.items() if every.get(ends) is not late}
    return (boxes ^ packages) | missing | wrong


def test_the_drawing_has_a_box_for_each_package_and_arrows_for_their_imports():
    assert untrue(*drawn()) == set()


def test_a_drawing_that_is_not_true_is_found():
    boxes, arrows = drawn()
    invented = ("bench_spec", "bench_cli")
    assert untrue(boxes, {**arrows, invented: False}) == {invented}
    assert untrue(boxes - {"bench_cli"}, arrows) == {"bench_cli"}
    dotted, *_ = (ends for ends, late in arrows.items() if late)
    assert untrue(boxes, {**arrows, dotted: False}) == {dotted}
    assert dotted in untrue(boxes, {ends: arrows[ends] for ends in arrows if ends != dotted})


def _joined(arrows, start, end):
    """Whether arrows lead from one box to another, by way of others or not."""
    reached, ahead = set(), [start]
    while ahead:
        fresh = {there for here, there in arrows if here == ahead[-1]} - reached
        ahead.pop()
        reached |= fresh
        ahead.extend(fresh)
    return end in reached


def test_the_example_of_contributing_passes_the_test_that_it_shows():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    code, test = blocks[0], blocks[-1]
    names = {}
    exec(code, names)
    exec(re.sub(r"^from methods\.sde\.midpoint .*\n", "", test, flags=re.MULTILINE), names)
    names["test_the_midpoint_method_is_of_order_2"]()
