"""``report --serve``: the page on this machine's own address, made anew while a run goes on."""

import http.server
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED
from bench.cli.study import Study
from bench.execute.lease import running_driver
from bench.execute.outcome import is_done
from bench.printable import say

HOST = "127.0.0.1"
LOOK_SECONDS = 3.0
SHARE = 0.1
"""Share of the time that making the page takes at most."""
RELOAD = """<script>(() => {
  let shown;
  setInterval(async () => {
    const now = await fetch("/version").then((answer) => answer.text()).catch(() => shown);
    if (shown !== undefined && now !== shown) location.reload();
    shown = now;
  }, 3000);
})();</script>"""


def serve(study: Study, port: int) -> int:
    """Serves the page until it is interrupted; 0 is any free port."""
    with tempfile.TemporaryDirectory() as folder:
        page = LivePage(study, Path(folder))
        try:
            server = http.server.ThreadingHTTPServer((HOST, port), handler_of(page))
        except OSError as error:
            why = f"--serve {port}: {error.strerror}; --serve 0 takes any free port"
            say(why, file=sys.stderr)
            return FAILED
        with server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://{HOST}:{server.server_address[1]}/"
            say(f"{address} shows {study.suite.name}; Ctrl-C ends it", flush=True)
            try:
                while True:
                    begin = time.monotonic()
                    page.refresh()
                    time.sleep(max(LOOK_SECONDS, (time.monotonic() - begin) / SHARE))
            except KeyboardInterrupt:
                server.shutdown()
                say("\nno longer served")
    return DONE


class LivePage:
    """The page of a study: while a run goes on a short one, without the figures of its folder.

    Args:
        folder: Where the short one goes.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder
        self.finished = -1
        self.path = study.results / "report.html"

    def refresh(self) -> None:
        """Makes the page anew if a run has finished more of it."""
        study = self.study
        if running_driver(study.results) is None:
            self.path = study.results / "report.html"  # the run has drawn it at its end
            return
        scores = [job.results for job in study.jobs if job.stage == "scores"]
        finished = sum(is_done(study.store, units) for units in scores)
        if finished == self.finished:
            return
        from bench.report.writer import write

        write(replace(study.suite, figures="none"), study.store, self.folder)
        self.finished, self.path = finished, self.folder / "report.html"

    @property
    def version(self) -> str:
        """What changes with the page."""
        return str(self.path.stat().st_mtime_ns if self.path.exists() else 0)

    def content(self) -> str:
        """Returns the page with a script that loads it again when it changes."""
        if not self.path.exists():
            return f"<!doctype html><p>Nothing is finished yet.</p>{RELOAD}"
        text = self.path.read_text()
        text = text.replace("default-src 'none'", "default-src 'none'; connect-src 'self'", 1)
        return text.replace("</body>", f"{RELOAD}</body>")


def handler_of(page: LivePage) -> type[http.server.BaseHTTPRequestHandler]:
    """Returns what answers requests: the page, and its version."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = {"/": page.content, "/version": lambda: page.version}.get(self.path)
            body = found().encode() if found else b"not here"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing of a request."""

    return Handler
