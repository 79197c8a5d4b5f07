"""``sampler: published`` is the sampler that a model's preset brings."""

import pytest
from synthetic_suite import GOOD

from bench.card import TIMES, cards
from bench.schema import build, merge

WIDE = GOOD.replace("vp: {method: sde}", "vp: {method: sde, preset: wide}")
GRID = "sampler: heun, grid: {nfe: [5, 10]}"


def point(text):
    return WIDE.replace(GRID, text)


def sampling(suite):
    return [(p.sample.sampler, p.sample.times, dict(p.sample.params)) for p in suite.points]


@pytest.mark.parametrize(
    ("published", "written_out"),
    [
        ("", "times: uniform, params: {steps: 7, snr: 0.2}"),
        (", params: {snr: 0.3}", "times: uniform, params: {steps: 7, snr: 0.3}"),
        (", times: rho7", "times: rho7, params: {steps: 7, snr: 0.2}"),
        (", grid: {nfe: [5, 9]}", "times: uniform, params: {snr: 0.2}, grid: {nfe: [5, 9]}"),
        (
            ", grid: {snr: [0.1, 0.4]}",
            "times: uniform, params: {steps: 7}, grid: {snr: [0.1, 0.4]}",
        ),
        (", grid: {times: [rho7]}", "params: {steps: 7, snr: 0.2}, grid: {times: [rho7]}"),
    ],
)
def test_it_is_what_the_preset_says_below_what_the_point_says(read, published, written_out):
    ours = read(point(f"sampler: published{published}"))
    theirs = read(point(f"sampler: heun, {written_out}"))
    assert sampling(ours) == sampling(theirs)
    assert [p.group for p in ours.points] == [p.group for p in theirs.points]
    assert ours.resolved["points"] == theirs.resolved["points"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            point("sampler: published").replace(", preset: wide", ""),
            "points.0.sampler: is the sampler that a preset brings, and train.vp has no preset; "
            "presets of sde that bring one: wide",
        ),
        (point("sampler: publised"), "unknown sampler of sde; did you mean published?"),
        (
            point("sampler: published, params: {snrr: 0.3}"),
            "points.0.params.snrr: unknown key; did you mean snr?",
        ),
        (
            point("sampler: published, params: {steps: 3}, grid: {nfe: [5]}"),
            "is what a budget buys for heun: give nfe or steps, not both",
        ),
        (
            GOOD.replace("{method: sde}", "{method: plain}").replace(GRID, "sampler: published"),
            "presets of plain that bring one: none",
        ),
    ],
)
def test_what_it_cannot_be_is_refused_in_a_line(wrong, text, why):
    assert any(why in line for line in wrong(text))


PRESETS = [(name, preset) for name, card in cards().items() for preset in card.presets]


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_every_preset_brings_a_sampler_that_goes_with_its_model(method, preset):
    card = cards()[method]
    published = card.published[preset]
    sampler = card.samplers[published.sampler]
    assert published.times in ("", *TIMES)
    params = build(sampler.params, published.params)
    times = published.times or next(iter(sampler.times), "")
    assert sampler.refuse(build(card.params, merge(card.presets[preset])), params, times) == []
