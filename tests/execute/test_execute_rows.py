"""Rows of other kinds: images made elsewhere, points in the plane, images that are not kept."""

import json

import numpy as np
import pytest
from command_line import GOOD

from bench.data.images import load_images

ELSEWHERE = """
name: small
dataset: digits
metrics: %s
samples: {count: 6}
figures: none
train:
  mine: {samples_from: %s}
points:
  - {train: mine}
"""


def test_images_made_elsewhere_are_a_row(bench):
    np.savez(bench.folder / "mine.npz", images=load_images("digits").test[:6])
    metrics = "[{metric: fd, allow_few: true}]"
    code, _, err = bench.suite(ELSEWHERE % (metrics, bench.folder / "mine.npz")).here()
    assert code == 0, err
    (row,) = bench.rows()
    assert float(row["fd(digits-cnn@8)"]) > 0
    assert row["state"] == "done"
    np.savez(bench.folder / "mine.npz", images=load_images("digits").test[6:12])
    assert bench.here()[0] == 0
    assert bench.rows()[0]["fd(digits-cnn@8)"] != row["fd(digits-cnn@8)"]


def test_images_that_are_refused_are_a_row_with_one_line_and_no_traceback(bench):
    np.savez(bench.folder / "mine.npz", images=np.ones((6, 1, 8, 8), np.uint8))
    suite = ELSEWHERE % ("[near_copies]", bench.folder / "mine.npz")
    code, out, err = bench.suite(suite).here()
    assert code == 1
    assert "mine.npz: the brightest value is 1 where white is 16" in bench.rows()[0]["cause"]
    assert "Traceback" not in out + err


PLANE = """
name: small
dataset: two_modes
metrics: [mode_weight_error, energy_distance]
samples: {count: 200, batch: 100}
likelihood: {images: 20, batch: 20, probe: exact}
inspect: {images: 8}
train:
  exact: {method: sde, params: {exact: true}}
  elsewhere: {samples_from: %s}
points:
  - {train: exact, sampler: flow_heun, grid: {nfe: [39]}}
  - {train: elsewhere}
keep: {samples: 100}
controlled: false
"""


def test_points_in_the_plane_are_sampled_scored_drawn_and_kept_in_their_own_units(bench):
    data = load_images("two_modes")
    np.savez(bench.folder / "mine.npz", images=data.test[:200])
    code, _, err = bench.suite(PLANE % (bench.folder / "mine.npz")).here()
    assert code == 0, err
    model, mine = bench.rows()
    assert [
        model[name] for name in ("state", "clipped_fraction", "training_images", "parameters")
    ] == [*("done", "", "0", "0")]
    # The weights come out of the prior as they are in the data, up to four standard errors of 200
    # draws.
    assert float(model["mode_weight_error"]) < 4 * (0.2 * 0.8 / 200) ** 0.5
    assert float(mine["energy_distance"]) < 0.2
    assert float(model["heldout_loss@t=1"]) > 0
    # The likelihood by the flow of the exact score, and the true density of the same points.
    assert float(model["bits_per_dim"]) == pytest.approx(
        float(model["exact_bits_per_dim"]), abs=3e-3
    )
    assert (bench.results / "small" / "figures" / "density-exact.png").exists()
    page = (bench.results / "small" / "leaderboard.md").read_text()
    assert f"(by the true density {float(model['exact_bits_per_dim']):.3f})" in page
    identity = json.loads((bench.results / "small" / "identities.json").read_text()).values()
    assert {entry["quantise"] for entry in identity if "metric" in entry} == {"none", "as given"}
    (kept,) = bench.store.root.glob("samples/*/*.npz")
    images = np.load(kept)["images"]
    assert (images.dtype, images.shape) == (np.float32, (100, 2, 1, 1))
    assert images.min() < -4 < 4 < images.max()
    code, out, _ = bench.here("plan")
    assert "0 to do" in out


def test_keep_prunes_scored_batches_and_a_new_metric_makes_them_again(bench):
    suite = GOOD + "keep: {samples: 2}\n"
    assert bench.suite(suite).here()[0] == 0
    assert [path.name for path in sorted(bench.store.root.glob("samples/*/*.npz"))] == ["00000.npz"]
    first = bench.rows()
    assert bench.here()[0] == 0
    _, out, _ = bench.suite(suite.replace("true}]", "true}, is]")).here("plan")
    assert "images were pruned" in out
    code, _, err = bench.here()
    assert code == 0, err
    assert bench.rows()[0]["fd(digits-cnn@8)"] == first[0]["fd(digits-cnn@8)"]
    assert float(bench.rows()[0]["is(digits-cnn@8)"]) >= 1
