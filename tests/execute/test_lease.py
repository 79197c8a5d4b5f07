import os
import signal
import subprocess
import sys
import time

from bench.execute.lease import Lease, holder

HOLD = """
import sys, time
from pathlib import Path
from bench.execute.lease import Lease
lease = Lease.take(Path(sys.argv[1]), label="held")
print("held" if lease else "refused", flush=True)
time.sleep(60)
"""

WATCH = """
import sys, time
from pathlib import Path
from bench.execute.lease import holder
end = time.time() + 2
while time.time() < end: holder(Path(sys.argv[1]))
"""


def hold(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_held_lease_is_refused_to_others_and_says_who_holds_it(tmp_path):
    path = tmp_path / "a.lease"
    process = hold(path)
    try:
        assert Lease.take(path) is None
        facts = holder(path)
        assert (facts["pid"], facts["label"]) == (process.pid, "held")
    finally:
        process.kill()
        process.wait()


def test_lease_of_a_killed_process_is_free_at_once(tmp_path):
    path = tmp_path / "a.lease"
    process = hold(path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.exists()
    assert holder(path) is None
    with Lease.take(path) as lease:
        assert lease is not None
    assert not path.exists()


def test_lease_is_free_after_release_and_its_notes_add_up(tmp_path):
    path = tmp_path / "a.lease"
    with Lease.take(path, label="x") as lease:
        lease.note(step=3)
        assert holder(path)["label"] == "x"
        assert holder(path)["step"] == 3
    assert holder(path) is None
    Lease.take(path).release()


def test_looking_never_refuses_the_lease_to_a_taker(tmp_path):
    path = tmp_path / "a.lease"
    end = time.monotonic() + 0.5
    watcher = subprocess.Popen([sys.executable, "-c", WATCH, str(path)])
    time.sleep(0.3)
    try:
        while time.monotonic() < end:
            lease = Lease.take(path)
            assert lease is not None
            lease.release()
    finally:
        watcher.kill()
        watcher.wait()


def test_only_one_of_many_takers_gets_the_lease(tmp_path):
    path = tmp_path / "a.lease"
    race = HOLD.replace("time.sleep(60)", "time.sleep(1.5)")
    takers = [
        subprocess.Popen([sys.executable, "-c", race, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    words = [taker.communicate()[0].strip() for taker in takers]
    assert words.count("held") == 1
    assert words.count("refused") == 5
