"""A run as others see it: watched from the files, and served on this machine's own address."""

import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

import pytest
from command_line import GOOD, SMALL, Bench

from bench.cli import watch
from bench.cli.serve import LivePage, handler_of
from bench.execute.lease import Lease
from bench.files import write


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("watch")).suite(GOOD)
    assert bench.here()[0] == 0
    return bench


def test_watching_ends_with_the_run_and_shows_failures_and_rows(tmp_path):
    bench = Bench(tmp_path).suite(SMALL % "raise")
    bench.here()
    code, out, _ = bench.here("status", "--watch")
    assert code == 1
    assert "so far 2 of 4 rows" in out
    assert out.index("failed: train bad") < out.index("train 2/2")
    assert "8 failed or blocked" in out
    assert "driver: none; workers: 0" in out


def test_an_interrupt_leaves_cleanly(finished, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "refresh", interrupted)
    assert finished.here("status", "--watch") == (0, "\nno longer watched; what runs goes on\n", "")


def test_the_page_is_served_to_this_machine_and_changes_with_a_run(finished, tmp_path, monkeypatch):
    bench, done = finished.copy(tmp_path / "served"), []

    def check(study, port):
        page = LivePage(study, tmp_path / "live")
        assert page.path == study.results / "report.html"
        with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(page)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            look_at(page, study, f"http://127.0.0.1:{server.server_address[1]}")
            server.shutdown()
        done.append(port)
        return 0

    monkeypatch.setattr("bench.cli.serve.serve", check)
    bench.here("report", "--serve")
    assert done == [8000]


def look_at(page, study, base):
    def get(path):
        return urllib.request.urlopen(base + path).read().decode()

    assert "<h1>small</h1>" in get("/")
    assert "connect-src 'self'" in get("/")
    before = get("/version")
    with Lease.take(study.results / "driver.lock"):
        page.refresh()
        assert page.path == page.folder / "report.html"
        assert get("/version") != before
    page.refresh()
    write(page.path, b"drawn at the end of the run</body>")
    assert get("/").startswith("drawn at the end of the run<script>")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/../suite.resolved.yaml")


def test_a_port_that_is_none_is_status_2(finished):
    with pytest.raises(SystemExit) as stop:
        finished.here("report", "--serve", "70000")
    assert stop.value.code == 2
