"""Reading the executor file of a cluster: every mistake at once, with what to write instead.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bench.execute.slurm.gpus import gpus_of, read_gpus
from bench.execute.slurm.options import ALL, SBATCH, dashed, refuse_option
from bench.execute.slurm.resources import NAMES, Resources, Slurm
from bench.schema import Problem, check, merge
from bench.store import STAGES

SIGNAL_EARLY_SECONDS = 60
"""SLURM's clock is coarse: the signal before the time limit comes up to so much earlier than it was
asked for.
"""


def check_slurm(tree: Mapping[str, Any], problems: list[Problem]) -> Slurm:
    """Returns the executor of a file, with each stage's resources laid over those of all stages.

    Args:
        problems: Every problem is added here.
    """
    return _Check(problems).read(tree)


class _Check:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def read(self, tree: Mapping[str, Any]) -> Slurm:
        places = ("resources", *STAGES)
        tree = {name: value for name, value in tree.items() if not self._misplaced(name, value)}
        plain = {
            name: self._place(name, value) if name in places else value
            for name, value in tree.items()
        }
        written = check(Slurm, plain, self.problems)
        if self.problems:
            return written
        shared = plain.get("resources") or {}
        merged = {stage: merge(shared, plain.get(stage) or {}) for stage in STAGES}
        for stage, values in merged.items():
            self._gpus_agree(stage, values, plain.get(stage) or {})
        if self.problems:
            return written
        executor = check(Slurm, {**plain, **merged}, self.problems)
        for stage in STAGES if not self.problems else ():
            own = dict.fromkeys(shared, "resources") | dict.fromkeys(plain.get(stage) or {}, stage)
            self._stage(stage, executor.of(stage), own)
        return executor

    def _add(self, path: tuple[str, ...], value: Any, why: str) -> None:
        choices = SBATCH if why == "unknown key" else ()
        self.problems.append(Problem(path, value, why, choices))

    def _misplaced(self, name: str, value: Any) -> bool:
        """Tells whether a key of a file belongs under resources, and notes it."""
        own = {item.name for item in fields(Slurm)}
        if name in own or (name not in NAMES and dashed(name) not in ALL):
            return False
        inner = name if name in NAMES else f"sbatch: {{{dashed(name)}"
        why = f"belongs under resources, or under a stage: resources: {{{inner}: ...}}"
        self._add((name,), value, why)
        return True

    def _place(self, place: str, written: Any) -> Any:
        """Returns the resources of all stages or of one, without what is wrong of them; options are
        named as sbatch spells them.
        """
        if not isinstance(written, Mapping):
            return written
        values = {}
        for name, value in written.items():
            plain = dashed(name)
            if name in NAMES or plain not in ALL:
                values[name] = value
            elif plain in SBATCH:
                why = f"belongs under sbatch: write sbatch: {{{plain}: ...}}"
                self._add((place, name), value, why)
            else:
                why = refuse_option(plain, value, 1).replace(", outside sbatch", "")
                self._add((place, name), value, why)
        gpus = values.get("gpus")
        if isinstance(gpus, int | str) and not isinstance(gpus, bool):
            try:
                read_gpus(gpus)
            except ValueError as error:
                self._add((place, "gpus"), values.pop("gpus"), str(error))
        for name in ("partition", "account", "qos"):
            if values.get(name) == "":
                why = "is empty: null is the cluster's default"
                self._add((place, name), values.pop(name), why)
        if isinstance(values.get("sbatch"), Mapping):
            tasks = values.get("tasks", 1)
            tasks = tasks if isinstance(tasks, int) else 1
            values["sbatch"] = self._options(values["sbatch"], (place, "sbatch"), tasks)
        return values

    def _options(
        self, options: Mapping[str, Any], path: tuple[str, ...], tasks: int
    ) -> dict[str, Any]:
        """Returns the options of sbatch that can be set."""
        right = {}
        for name, value in options.items():
            plain = dashed(name)
            if why := refuse_option(plain, value, tasks):
                self._add((*path, name), value, why)
            elif plain in right:
                self._add((*path, name), value, f"is set twice: {plain} is the same option")
            else:
                right[plain] = value
        return right

    def _gpus_agree(self, stage: str, values: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Notes if the ways to ask for GPUs contradict each other.

        Args:
            values: Of a stage, with those of all stages.
            own: Those that stand under the stage itself.
        """
        options = values.get("sbatch") or {}
        options = {name: value for name, value in options.items() if value is not False}
        nodes, tasks = (max(1, values.get(name, 1)) for name in ("nodes", "tasks"))
        gpus = values.get("gpus", 0)
        try:
            gpus_of(gpus, options, nodes, tasks)
        except ValueError as error:
            place = stage if "gpus" in own or "sbatch" in own else "resources"
            self._add((place, "gpus"), gpus, str(error))

    def _stage(self, stage: str, resources: Resources, own: Mapping[str, str]) -> None:
        """Notes what a stage's resources cannot be.

        Args:
            own: Where each was written: under "resources" or under the stage.
        """
        signal, world, tasks = resources.signal_seconds, resources.world, resources.tasks
        if resources.minutes * 60 <= signal + SIGNAL_EARLY_SECONDS:
            path = (own.get("minutes", stage), "minutes")
            why = f"is not more than signal_seconds ({signal}) and the minute that SLURM may"
            self._add(path, resources.minutes, f"{why} signal early: no time is left to work")
        if stage != "train" and world > 1:
            value = f"{resources.nodes} nodes, {tasks} tasks"
            why = "nodes and tasks share a training; other stages are spread over more jobs instead"
            self._add((stage,), value, why)
        memory = [name for name in resources.options if name == "mem" or name.startswith("mem-per")]
        if "memory_gb" in own and memory:
            path = (own["memory_gb"], "memory_gb")
            self._add(path, resources.memory_gb, "stands beside a mem option under sbatch")
        # Processes beyond one per GPU would share it, and those of one training would wait for each
        # other.
        if stage == "train" and world > 1 and resources.gpus_on_node.count not in (0, tasks):
            path, why = (stage, "gpus"), f"should be tasks ({tasks}), a GPU each"
            self._add(path, resources.gpus, why)
