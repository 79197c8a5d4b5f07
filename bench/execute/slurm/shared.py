"""Several processes that share one training: rank 0 chooses what is trained, and only it writes."""

import datetime
from collections.abc import Mapping
from typing import Any

from bench.execute.attempt import Process, now, start
from bench.execute.launcher import join_processes
from bench.plan import Job
from bench.store import Store, UnitId


def join(settings: Mapping[str, Any]) -> None:
    """Joins the processes of this job: NCCL on GPUs, gloo elsewhere."""
    import torch

    join_processes()
    on_gpu = settings["device"] != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(settings["local_rank"] % torch.cuda.device_count())
    timeout = datetime.timedelta(hours=1)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=timeout)


def broadcast(index: int | None) -> int | None:
    """Returns what the process of rank 0 calls this with: the index of the unit that comes next,
    None after the last.
    """
    import torch

    values = [index]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def follow(process: Process, units: Mapping[UnitId, Job]) -> None:
    """Trains with the process of rank 0 what that chooses; writes nothing."""
    start(process.settings)
    from bench.stages.context import Context, Unwatched
    from bench.stages.jobs import make

    join(process.settings)

    def refuse() -> None:
        raise AssertionError("only the process of rank 0 writes")

    store = Store(process.store.root, guard=refuse)
    while (index := broadcast(None)) is not None:
        unit, job = list(units.items())[index]
        make(job, unit, Context(store, process.settings, Unwatched(), process.stop, now(), 1))
