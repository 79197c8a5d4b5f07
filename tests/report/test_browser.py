"""The page in a real browser: order, filters, unfolding, switches, the row under the pointer."""

import json
import re
import shutil
import subprocess

import pytest
from synthetic_results import CARDS, floor_of

from bench.report.writer import write
from bench.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ACTIONS = """
const told = {};
const all = (selector) => [...document.querySelectorAll(selector)];
const shown = () => all("#board tr.row").filter((row) => !row.hidden);
const cells = (column) => shown().map((row) => row.cells[column].textContent);
const view = () => all(".view").filter((one) => getComputedStyle(one).display !== "none")
  .map((one) => [...one.classList].at(-1));
told.first = shown().length;
const front = document.getElementById("only-front");
front.click();
told.all = shown().length;
document.getElementById("by-budget").value = "5";
document.getElementById("filters").dispatchEvent(new Event("change"));
told.budget = cells(3);
document.getElementById("filters").reset();
document.getElementById("filters").dispatchEvent(new Event("change"));
all("#board th button")[3].click();
told.rising = shown().map((row) => Number(row.cells[4].dataset.v));
all("#board th button")[3].click();
told.falling = shown().map((row) => Number(row.cells[4].dataset.v));
const row = shown()[0];
row.querySelector(".unfold").click();
const more = document.getElementById(row.id.replace("r", "d"));
told.unfolded = getComputedStyle(more).display;
told.after = row.nextElementSibling === more;
told.detail = more.textContent;
told.view = view();
document.getElementById("metric1").click();
document.getElementById("cost2").click();
told.switched = view();
const tip = document.getElementById("tip");
const mark = all(".view.v1-2 .broad .mark")[0];
mark.dispatchEvent(new PointerEvent("pointerenter"));
told.tip = [tip.hidden, tip.textContent];
mark.dispatchEvent(new PointerEvent("pointerleave"));
told.left = tip.hidden;
told.behind = all(".view.v1-2 .isolate").map((one) => one.textContent.trim());
told.boxes = all(".view.v1-2 .isolate").map((one) => one.getBoundingClientRect().height > 0);
all(".isolate")[1].click();
told.isolated = all(".view.v1-2 .broad .model").map((one) => Number(getComputedStyle(one).opacity));
all(".isolate")[1].click();
told.again = all(".view.v1-2 .broad .model").map((one) => Number(getComputedStyle(one).opacity));
document.getElementById("only-established").click();
told.established = shown().length;
location.hash = "#r1";
setTimeout(() => {
  told.revealed = !document.getElementById("r1").hidden;
  told.fetched = performance.getEntriesByType("resource").map((one) => one.name)
    .filter((name) => !name.startsWith("data:"));
  told.width = document.documentElement.scrollWidth;
  const pre = document.createElement("pre");
  pre.id = "told";
  pre.textContent = JSON.stringify(told);
  document.body.append(pre);
}, 50);
"""


@pytest.fixture(scope="module")
def browsed(template, tmp_path_factory):
    """What a browser showed of the page of a finished suite, and what it wrote."""
    suite, store = template
    folder = tmp_path_factory.mktemp("browsed")
    shutil.copytree(store, folder / "store")
    own = Store(folder / "store")
    floor_of(own, suite, 0.039, 0.01)
    write(suite, own, folder / "report", methods=CARDS)
    page = (folder / "report" / "report.html").read_text()
    (folder / "acted.html").write_text(
        page.replace("</body>", f"<script>{ACTIONS}</script></body>")
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=3000", "--disable-background-networking"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", str(folder / "acted.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr
    return json.loads(told[1].replace("&amp;", "&").replace("&lt;", "<")), done.stderr


def test_no_console_error_and_no_request_leaves_the_file(browsed):
    told, stderr = browsed
    assert "CONSOLE" not in stderr, "a request that the page's own policy forbids stands there too"
    assert told["fetched"] == []


def test_the_table_shows_the_front_first_and_filters(browsed):
    told, _ = browsed
    assert (told["first"], told["all"]) == (3, 5)
    assert told["budget"] == ["5", "5"]
    assert told["established"] == 0


def test_the_table_sorts_by_numbers_both_ways(browsed):
    told, _ = browsed
    assert len(told["rising"]) == 5
    assert told["rising"] == sorted(told["rising"])
    assert told["falling"] == told["rising"][::-1]


def test_a_row_unfolds_below_itself_to_what_makes_it_again(browsed):
    told, _ = browsed
    assert told["unfolded"] == "table-row"
    assert told["after"]
    assert "python run_bench.py suite.yaml --only 'mute heun nfe 5'" in told["detail"]
    assert "keys of the samples" in told["detail"]


def test_switches_show_one_view_and_the_pointer_its_row(browsed):
    told, _ = browsed
    assert (told["view"], told["switched"]) == (["v0-0"], ["v1-2"])
    hidden, text = told["tip"]
    assert not hidden
    assert text.startswith("good · heun (rho7)\nis(digits-cnn@8): ")
    assert told["left"]


def test_a_model_is_isolated_and_brought_back(browsed):
    told, _ = browsed
    assert told["isolated"] == [0.13, 1]
    assert told["again"] == [1, 1]


def test_the_sampler_behind_each_point_is_written_without_pointing_at_it(browsed):
    told, _ = browsed
    assert told["behind"] == ["good heun at 5, 20; adaptive", "mute heun at 5, 20"]
    assert told["boxes"] == [True, True]


def test_a_link_to_a_row_shows_it_whatever_the_filters_say(browsed):
    told, _ = browsed
    assert told["revealed"]


def test_nothing_is_wider_than_the_window(browsed):
    told, _ = browsed
    assert told["width"] <= 800, "the default window of a headless browser"
