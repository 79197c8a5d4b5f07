"""What a suite needs is listed, wherever it should lie, and fetched whole or not at all."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.cli.parser import main
from bench.data import registry
from bench.data.card import FileFacts
from bench.data.download import FetchError, fetch
from bench.metrics import extractor_cards

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several parts
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()

SUITE = """
name: shelf
dataset: digits
metrics: [fd]
samples: {count: 32, batch: 32}
train:
  vp: {method: sde}
points:
  - {train: vp, sampler: euler_maruyama, grid: {nfe: [5]}}
"""


class Shelf(BaseHTTPRequestHandler):
    """Gives the content under any name but a few."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + (self.path == "/short")))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *words):
        pass


@pytest.fixture
def address():
    """Address of a server on this machine; what it was asked for is in ``Shelf.asked``."""
    Shelf.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """BENCH_DATA, empty, with a suite beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "shelf.yaml").write_text(SUITE)
    return tmp_path / "data"


def shelve(monkeypatch, **facts):
    """Lets the digits be read from a folder or a file, of which these facts are known."""
    card = replace(
        registry.DATASETS["digits"],
        files={("digits", "digits.bin"): "copy it from the shelf"},
        facts={"digits.bin": FileFacts(**facts)},
    )
    monkeypatch.setitem(registry.DATASETS, "digits", card)


def left(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file()) if root.exists() else []


def test_missing_file_is_listed_with_every_place_and_what_is_known_of_it(root, monkeypatch, capsys):
    shelve(monkeypatch, size=len(CONTENT), md5=MD5, url="http://127.0.0.1:9/digits.bin")
    assert main(["assets", "shelf.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"data and weights lie below {root} (environment variable BENCH_DATA)"
    assert lines[1:7] == [
        "data set digits: MISSING",
        "  looked for, any one is enough:",
        f"    {root / 'digits'}",
        f"    {root / 'digits.bin'} (5,120,000 bytes, md5 {MD5})",
        "  how: copy it from the shelf",
        f"  --download fetches http://127.0.0.1:9/digits.bin to {root / 'digits.bin'}",
    ]
    assert "run_bench.py assets shelf.yaml --download" in lines[-2]
    assert lines[-1] == "2 needed: 1 missing"


def test_what_is_there_is_told_with_size_and_sha256(root, monkeypatch, capsys):
    shelve(monkeypatch, md5=MD5)
    root.mkdir()
    (root / "digits.bin").write_bytes(CONTENT)
    assert main(["assets", "shelf.yaml"]) == 0
    out = capsys.readouterr().out
    there = f"digits.bin: there, 5,120,000 bytes, sha256 {SHA256}, md5 as published\n"
    assert f"data set digits: {root}/{there}" in out
    weights = extractor_cards.EXTRACTORS["digits-cnn"]
    assert f"sha256 {weights.sha256}, sha256 as published" in out
    assert out.endswith("nothing is missing\n")


def test_file_of_another_digest_is_not_as_it_should_be(root, monkeypatch, capsys):
    shelve(monkeypatch, md5=MD5)
    root.mkdir()
    (root / "digits.bin").write_bytes(CONTENT[:-1])
    assert main(["assets", "shelf.yaml"]) == 1
    out = capsys.readouterr().out
    assert f"not {MD5}: damaged, or another file" in out
    assert "2 needed: 1 not as published" in out


def test_folder_is_told_by_its_files(root, monkeypatch, capsys):
    shelve(monkeypatch, md5=MD5)
    for name in ("one", "two"):
        (root / "digits").mkdir(parents=True, exist_ok=True)
        (root / "digits" / name).write_bytes(name.encode())
    assert main(["assets", "shelf.yaml"]) == 0
    assert "digits: there, a folder of 2 files, 6 bytes, sha256 " in capsys.readouterr().out


def test_download_fetches_what_is_missing_once_and_whole(root, address, monkeypatch, capsys):
    shelve(monkeypatch, size=len(CONTENT), md5=MD5, url=f"{address}/digits.bin")
    assert main(["assets", "shelf.yaml", "--download"]) == 0
    out = capsys.readouterr().out
    assert f"data set digits: fetching {address}/digits.bin" in out
    assert f"{root / 'digits.bin'}: 5,120,000 bytes" in out
    assert (root / "digits.bin").read_bytes() == CONTENT
    assert left(root) == ["digits.bin"]
    assert main(["assets", "shelf.yaml", "--download"]) == 0
    assert Shelf.asked == ["/digits.bin"]


def test_nothing_is_fetched_unless_asked_for(root, address, monkeypatch):
    shelve(monkeypatch, url=f"{address}/digits.bin")
    assert main(["shelf.yaml"]) == 1
    assert main(["assets", "shelf.yaml"]) == 1
    assert main(["plan", "shelf.yaml"]) == 0
    assert (Shelf.asked, left(root)) == ([], [])
    assert not Path("results", "store", "train").exists()


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        (
            "other",
            {"md5": "0" * 32},
            f"is not the file that is wanted, so it was not kept (its md5 is {MD5}, not 000",
        ),
        ("other", {"sha256": "ab"}, f"(its sha256 is {SHA256}, not ab...)"),
        ("other", {"size": 7}, "(it has 5,120,000 bytes, not 7)"),
        ("short", {}, "cannot be fetched (cut off after 5,120,000 of 5,120,001 bytes)"),
        ("none", {}, "cannot be fetched (Not Found)"),
    ],
)
def test_file_that_is_not_the_promised_one_is_not_kept(
    root, address, monkeypatch, capsys, name, facts, why
):
    shelve(monkeypatch, url=f"{address}/{name}", **facts)
    assert main(["assets", "shelf.yaml", "--download"]) == 1
    err = capsys.readouterr().err
    assert f"{address}/{name} " in err
    assert why in err
    assert f"put it at {root / 'digits.bin'}" in err
    assert left(root) == []


def test_without_a_network_the_address_and_the_place_are_named(root, monkeypatch, capsys):
    shelve(monkeypatch, url="http://127.0.0.1:9/digits.bin")
    assert main(["assets", "shelf.yaml", "--download"]) == 1
    err = capsys.readouterr().err
    assert "http://127.0.0.1:9/digits.bin cannot be fetched (" in err
    assert f"fetch it where there is a network and put it at {root / 'digits.bin'}" in err
    assert left(root) == []


def test_only_addresses_of_the_web_are_fetched(root, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="is no address of the web"):
        fetch(FileFacts(url=f"file://{tmp_path / 'secret'}"), root / "digits.bin")


def test_progress_is_told_while_a_file_comes(root, address):
    lines = []
    fetch(FileFacts(url=f"{address}/x"), root / "x.bin", lines.append)
    assert lines[0].startswith("x.bin: ")
    assert lines[-1] == "x.bin: 5.1 of 5.1 MB (100 %)"


def test_weights_of_an_extractor_are_fetched_by_their_digest(root, address, monkeypatch, capsys):
    card = replace(
        extractor_cards.EXTRACTORS["inception"], url=f"{address}/inception.pth", sha256=SHA256[:8]
    )
    monkeypatch.setitem(extractor_cards.EXTRACTORS, "inception", card)
    extractor_cards.extractor_card.cache_clear()
    suite = SUITE.replace("digits", "photo_tiles").replace(
        "[fd]", "[{metric: fid, allow_few: true}, kid]"
    )
    Path("shelf.yaml").write_text(suite)
    try:
        assert main(["assets", "shelf.yaml", "--download"]) == 0
    finally:
        extractor_cards.extractor_card.cache_clear()
    place = root / "weights" / card.weights[0]
    assert (
        f"weights of inception (metrics FID, KID): {place}: there, 5,120,000 bytes"
        in capsys.readouterr().out
    )
    assert place.read_bytes() == CONTENT


def test_checkpoints_and_images_made_elsewhere_are_listed_where_they_should_lie(
    root, tmp_path, capsys
):
    more = (
        "  them: {method: sde, checkpoint: sde/them.pth}\n"
        "  mine: {samples_from: mine.npz}\npoints:\n"
    )
    Path("shelf.yaml").write_text(
        SUITE.replace("points:\n", more).replace("train: vp", "train: [vp, them]")
    )
    assert main(["assets", "shelf.yaml"]) == 1
    out = capsys.readouterr().out
    for what, name in (
        ("checkpoint of train.them", "sde/them.pth"),
        ("images of train.mine", "mine.npz"),
    ):
        assert (
            f"{what}: MISSING\n  looked for, any one is enough:\n    {root / name}\n    "
            f"{tmp_path / name}\n" in out
        )
    assert main(["run", "shelf.yaml"]) == 2
    err = capsys.readouterr().err
    assert "train.them.checkpoint: nothing lies at" in err
    assert "train.mine.samples_from: nothing lies at" in err
    assert main(["plan", "shelf.yaml"]) == 0
    missing = [line for line in capsys.readouterr().out.splitlines() if "missing: " in line]
    assert any("checkpoint of train.them" in line for line in missing)
    assert any("images of train.mine" in line for line in missing)
    (root / "sde").mkdir(parents=True)
    (root / "sde" / "them.pth").write_bytes(CONTENT)
    assert main(["assets", "shelf.yaml"]) == 1
    out = capsys.readouterr().out
    assert (
        f"checkpoint of train.them: {root / 'sde/them.pth'}: there, 5,120,000 bytes, sha256 "
        f"{SHA256}" in out
    )
