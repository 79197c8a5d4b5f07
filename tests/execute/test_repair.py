"""Damaged batches, records and checkpoints are named, and made again."""

import os
import signal
import time

import pytest
from command_line import GOOD, Bench


@pytest.mark.parametrize("damage", ["truncate", "alter", "delete", "alter the record"])
def test_damaged_file_is_named_and_made_again(done, damage):
    path = sorted(done.store.root.glob("samples/*/*.npz"))[0]
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[:-10])
    if damage == "alter":
        path.write_bytes(content[:-1] + b"x")
    if damage == "delete":
        path.unlink()
    if damage == "alter the record":
        path = path.with_suffix(".json")
        path.write_text(path.read_text().replace('"nfe": 1.0', '"nfe": 0.5'))
    _, out, _ = done.here("plan")
    assert f"damaged: {path}" in out
    code, _, err = done.here()
    assert code == 0
    assert str(path) in err
    assert path.with_suffix(".npz").read_bytes() == content


def test_score_that_meets_a_damaged_batch_has_it_made_again(done):
    path = sorted(done.store.root.glob("samples/*/*.npz"))[0]
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, _, _ = done.suite(GOOD.replace("true}]", "true}, is]"))()
    assert code == 0
    assert path.read_bytes() == content


def test_damaged_batch_that_cannot_be_made_again_is_a_failed_row_and_the_run_ends(bench):
    flag = bench.folder / "works"
    suite = GOOD.replace("grid:", f"params: {{fault: raise, flag: '{flag}'}}, grid:")
    flag.touch()
    assert bench.suite(suite).here()[0] == 0
    flag.unlink()
    path = sorted(bench.store.root.glob("samples/*/*.npz"))[0]
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code, _, err = bench.suite(suite.replace("true}]", "true}, is]"))()
    assert code == 1
    assert "this went wrong on purpose" in err


SLOWLY = GOOD.replace(
    "good: {method: faulty}", "good: {method: faulty, params: {steps: 30, seconds_per_step: 0.1}}"
)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A suite that was stopped while it trained, after a checkpoint."""
    bench = Bench(tmp_path_factory.mktemp("interrupted"))
    (bench.folder / "often.yaml").write_text("cluster: local\nworkers: 1\ncheckpoint_seconds: 0\n")
    process = bench.suite(SLOWLY).start("--executor", str(bench.folder / "often.yaml"))
    while not list(bench.store.root.glob("train/*/resume.safetensors")):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return bench


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of that suite where nothing stops it, and no step waits."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    assert (
        bench.suite(SLOWLY.replace("seconds_per_step: 0.1", "seconds_per_step: 0.0")).here()[0] == 0
    )
    (path,) = bench.store.root.glob("train/*/weights.safetensors")
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_checkpoint_is_put_aside_and_never_used(interrupted, undisturbed, tmp_path, damage):
    bench = interrupted.copy(tmp_path)
    (path,) = bench.store.root.glob("train/*/resume.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-3])
    code, _, err = bench.here()
    assert code == 0, err
    assert path.with_suffix(".damaged").exists()
    (record,) = bench.store.root.glob("train/*/weights.json")
    assert record.with_suffix(".safetensors").read_bytes() == undisturbed
