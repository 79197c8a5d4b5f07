"""``status --watch``: a run as it goes on, from the files alone, until nothing runs any more."""

import time

from bench.cli.display import ProgressDisplay
from bench.cli.early import EarlyRows
from bench.cli.report import evidence
from bench.cli.study import Study
from bench.execute.board import Board
from bench.execute.lease import running_driver
from bench.execute.local.registry import living
from bench.execute.slurm.overview import overview
from bench.printable import say

LOOK_SECONDS = 2.0
CLUSTER_SECONDS = 15.0
"""Between two questions to the queue of a cluster."""


def watch(study: Study) -> bool:
    """Shows stages, rates, the time left, failures and the rows so far; returns once nothing runs,
    or False when it is interrupted.
    """
    board = Board(study.jobs, study.store)
    board.count_work()
    try:
        with ProgressDisplay(EarlyRows(study.suite, study.store, earlier=True)) as display:
            while True:
                goes_on, pause = refresh(study, board)
                display.show(board.progress)
                if not goes_on:
                    return True
                time.sleep(pause)
    except KeyboardInterrupt:
        say("\nno longer watched; what runs goes on")
        return False


def refresh(study: Study, board: Board) -> tuple[bool, float]:
    """Takes in what the files and the queue say now, and names new failures.

    Returns:
        Whether anything runs or is in the queue, and after how many seconds to look again.
    """
    cluster = overview(study.jobs, study.store, study.results)
    progress = board.progress
    progress.live.clear()
    queued = 0
    for unit, job in board.units.items():
        state = board.closed.get(unit)
        if state == "done":
            continue
        now = cluster.judge(unit, board.outcome(unit))
        blocked = now.state == "waiting" and board.is_blocked(job)
        new = "blocked" if blocked else now.state if now.state in ("done", "failed") else None
        if new != state:
            if state is not None:
                board.reopen(unit)
            if new is not None:
                board.close(unit, new)
            if new == "failed":
                say(f"failed: {job.stage} {job.label}: {now.cause}{evidence(now)}", flush=True)
        if now.live is not None:
            board.note_running(unit, now.live)
        queued += now.state in ("queued", "running") or now.state.startswith("unknown")
    progress.open = len(board.units) - len(board.closed)
    progress.workers = len(living(study.results / "workers")) or len(progress.live)
    goes_on = bool(queued) or running_driver(study.results) is not None
    return goes_on, CLUSTER_SECONDS if cluster.lines else LOOK_SECONDS
