"""Lines, options and YAML: every problem at once, in the order of the file."""

import pytest
from synthetic_suite import GOOD, with_line

from bench.suite.document import Document
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite


def test_every_problem_is_shown_at_once_in_the_order_of_the_file(wrong):
    text = """\
        name: study
        dataset: digits
        metrics: [fdd]
        samples: {count: -1, batch: many}
        train:
          vp: {method: sde, params: {sgima_max: 3, steps: x}, preset: wid}
          ve: {method: sdee}
        points:
          - {train: vp, sampler: huen}
          - {train: [vp, vq], sampler: heun, grid: {nfe: [5, ten]}, times: rho8}
        """
    assert [
        message.split(";")[0].split(" (value")[0] for message in wrong(text, sets=["keep.sample=3"])
    ] == [
        "suite.yaml:3: metrics.0: unknown metric",
        "suite.yaml:4: samples.count: should be at least 1",
        "suite.yaml:4: samples.batch: should be a whole number",
        "suite.yaml:6: train.vp.preset: unknown preset",
        "suite.yaml:6: train.vp.params.sgima_max: unknown key",
        "suite.yaml:6: train.vp.params.steps: should be a whole number",
        "suite.yaml:7: train.ve.method: unknown method",
        "suite.yaml:9: points.0.sampler: unknown sampler of sde",
        "suite.yaml:10: points.1.times: unknown time grid of heun",
        "suite.yaml:10: points.1.grid.nfe.1: should be a whole number",
        "suite.yaml:10: points.1.train.1: unknown train label",
        "--set keep.sample=3: keep.sample: unknown key",
    ]


def test_lines_are_those_of_the_value_in_block_style(wrong):
    text = """\
        name: study
        dataset: digits

        metrics:
          - fd
          - dd
        samples:
          # a comment
          count: 256
          batch: no
        train:
          vp:
            method: sde
            params:
              net:
                width: wide
        points:
          - train: vp
            sampler: heun
            grid:
              nfe:
                - 5
                - six
        """
    assert [message.split(" ")[0] + message.split(" ")[1] for message in wrong(text)] == [
        "suite.yaml:6:metrics.1:",
        "suite.yaml:10:samples.batch:",
        "suite.yaml:16:train.vp.params.net.width:",
        "suite.yaml:23:points.0.grid.nfe.1:",
    ]


def test_problem_carries_its_parts(read):
    with pytest.raises(SuiteError) as error:
        read(with_line(9, "  - {train: vp, sampler: huen}"))
    (problem,) = error.value.problems
    assert problem.path == ("points", "0", "sampler")
    assert problem.place.text == "suite.yaml:9"
    assert problem.value == "huen"
    assert problem.near == "heun"
    assert problem.allowed == ("heun", "levels", "adaptive", "published")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1,\n", "suite.yaml:2: is not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "suite.yaml:2: is not valid YAML: but found another document"),
        ("", "suite.yaml:1: should be a mapping"),
        ("- a\n", "suite.yaml:1: should be a mapping"),
        ("a: &x [*x]\n", "suite.yaml:1: a.0: an anchor cannot contain itself"),
    ],
)
def test_file_that_is_no_suite_is_refused_with_its_line(wrong, text, start):
    assert wrong(text)[0].startswith(start)


def test_missing_file_is_shown_with_the_one_that_was_meant(read, tmp_path):
    read()
    with pytest.raises(
        SuiteError, match=r"suit.yaml: cannot be read: .*; did you mean suite.yaml\?"
    ):
        read_suite("suit.yaml")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "train.vp.params.sgima_max=3",
            "--set train.vp.params.sgima_max=3: train.vp.params.sgima_max: unknown key; did you "
            "mean sigma_max? "
            "allowed: process, sigma_min, sigma_max, steps, net (value: 3)",
        ),
        (
            "train.vp.params.steps=ten",
            "--set train.vp.params.steps=ten: train.vp.params.steps: should be a whole number "
            '(value: "ten")',
        ),
        (
            "train.ve.params.steps=10",
            "--set train.ve.params.steps=10: train.ve.method: is missing; allowed: sde, plain",
        ),
        (
            "samples.count",
            "--set samples.count: an option should read key.path=value (value: null)",
        ),
        (
            "points.1.sampler=heun",
            "--set points.1.sampler=heun: points.1: should be the number of an item, 0 to 0 "
            '(value: "1")',
        ),
        ("name.first=x", '--set name.first=x: name: has no keys to set (value: "study")'),
        ("samples.count=[1", None),
    ],
)
def test_problem_of_a_set_option_names_the_option(wrong, option, message):
    (found,) = wrong(sets=[option])
    if message is None:
        assert found.startswith("--set samples.count=[1: samples.count: is not valid YAML: ")
    else:
        assert found.replace(" (value: null)", "") == message.replace(" (value: null)", "")


def test_broken_rule_of_the_likelihood_names_the_option_that_broke_it(wrong):
    found = wrong(sets=["likelihood.probes=2", "likelihood.tolerance=-1"])
    assert found == [
        "--set likelihood.tolerance=-1: likelihood.tolerance: tolerance should be positive "
        "(value: -1)"
    ]


def test_points_that_could_never_be_written_out_are_refused_with_their_number(wrong):
    axis = ", ".join(map(str, range(1, 1002)))
    text = with_line(
        9, f"  - {{train: vp, sampler: heun, grid: {{steps: [{axis}], snr: [{axis}]}}}}"
    )
    assert wrong(text) == [
        "suite.yaml:8: points: makes 1,002,001 points: more than 1,000,000 are refused (value: "
        "1002001)"
    ]


ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: " + "[" * 100_000, "suite.yaml:1: is nested deeper than 100 levels"),
        (
            "name: x\npoints:\n  " + "- " * 5_000 + "x",
            "suite.yaml:3: is nested deeper than 100 levels",
        ),
        (
            "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + ALIASES,
            "suite.yaml:6: a5: holds more than 200000 values once its aliases are written out",
        ),
        (
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 500)),
            "suite.yaml:99: a98: holds more than 100 levels once its aliases are written out",
        ),
    ],
    ids=["brackets", "dashes", "aliases of aliases", "chain of aliases"],
)
def test_file_that_could_exhaust_the_reader_is_refused(wrong, text, message):
    assert wrong(text) == [message]


def test_option_that_could_exhaust_the_reader_is_refused(wrong):
    (found,) = wrong(sets=["name=" + "[" * 100_000])
    assert ": name: is nested deeper than 100 levels" in found


def test_only_true_and_false_are_booleans_and_words_of_old_yaml_are_texts(read):
    text = GOOD.replace("  vp:", "  on:").replace("train: vp", "train: on") + "controlled: True\n"
    suite = read(text)
    assert list(suite.train) == ["on"]
    assert suite.controlled is True


def test_exponents_without_a_dot_are_numbers_and_quotes_make_text(read, wrong):
    suite = read(
        with_line(9, "  - {train: vp, sampler: adaptive, grid: {tolerance: [1e-3, 1.0e-5]}}")
    )
    assert [point.sample.params["tolerance"] for point in suite.points] == [1e-3, 1e-5]
    assert (
        "should be a number"
        in wrong(with_line(9, "  - {train: vp, sampler: adaptive, params: {tolerance: '1e-3'}}"))[0]
    )


def test_section_with_one_wrong_value_is_still_checked_in_full(wrong):
    text = with_line(4, "samples: {count: 0, batch: 0, quantise: none}")
    text = text.replace("{images: 64}", "{images: 0, split: tests, seed: -1}")
    assert [message.split(" (value")[0].split(";")[0] for message in wrong(text)] == [
        "suite.yaml:4: samples.count: should be at least 1",
        "suite.yaml:4: samples.batch: should be at least 1",
        "suite.yaml:4: samples.quantise: pixels have levels to take",
        "suite.yaml:5: likelihood.split: unknown split",
        "suite.yaml:5: likelihood.images: should be at least 1",
        "suite.yaml:5: likelihood.seed: should be at least 0",
    ]


ALIASES = """
train:
  a: {params: &p {sigma_max: 50.0, training: {steps: 4}}}
  b: {params: *p}
  c: {params: {<<: *p, seed: 1}}
profiles:
  less: {train: {a: {params: {training: {steps: 2}}}}}
"""


@pytest.mark.parametrize("copied", [False, True])
def test_options_and_profiles_change_no_alias_of_what_they_name(tmp_path, copied):
    (tmp_path / "suite.yaml").write_text(ALIASES)
    document = Document(tmp_path / "suite.yaml")
    document = document.copy() if copied else document
    document.overlay(("profiles", "less"))
    document.set("train.a.params.sigma_max=7")
    params = {label: entry["params"] for label, entry in document.tree["train"].items()}
    assert params["a"] == {"sigma_max": 7, "training": {"steps": 2}}
    assert params["b"] == {"sigma_max": 50.0, "training": {"steps": 4}}
    assert params["c"] == {"sigma_max": 50.0, "training": {"steps": 4}, "seed": 1}
