"""The command line. Nothing heavy is imported before it is needed: plan, status and --help answer
at once.
"""

import argparse
import difflib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.cli import listing, show
from bench.data import assets, download
from bench.data.registry import DATASETS, data_card
from bench.data.root import data_root
from bench.data.subset import describe_part
from bench.describe import as_yaml
from bench.execute.attempt import PlaceError
from bench.execute.cancellation import Interrupted, ask_to_cancel, handling
from bench.execute.executor import Executor, read_executor
from bench.execute.lease import HeldError, Lease, clear_hint, hold, holder
from bench.execute.local.driver import Driver, WorkersFailError
from bench.execute.local.registry import living, signal_workers, stop_workers
from bench.execute.outcome import Outcome, outcome
from bench.execute.slurm.cancel import cancel_submissions
from bench.execute.slurm.driver import ClusterRefusesError, SlurmDriver
from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.measure import MeasureError, measure_there
from bench.execute.slurm.overview import array_line, overview
from bench.execute.slurm.packing import measured
from bench.execute.slurm.queue import ClusterError
from bench.execute.slurm.resources import Slurm
from bench.execute.slurm.submission import submissions
from bench.files import NOT_OURS, read_json, scan, write
from bench.metrics.extractor_cards import default_extractor, extractor_label, refuse_extractor
from bench.plan import Job, expand
from bench.printable import let_any_text_through, one_line, say
from bench.progress import Progress, examine, to_prune, verify_references
from bench.store import STAGES, Store
from bench.suite import requirements
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite
from bench.suite.resolved import Suite

DONE, FAILED, WRONG = 0, 1, 2

EPILOG = """\
examples:
  run_bench.py suites/quickstart.yaml                  train, sample, score, rank (and resume: start it again)
  run_bench.py plan suites/quickstart.yaml             what is done, what is to do, and why
  run_bench.py suites/quickstart.yaml --smoke          one small batch of every point, before GPU-days are spent
  run_bench.py suites/quickstart.yaml --set train.vp.params.training.steps=500 --only vp
  run_bench.py suites/quickstart.yaml --executor inline          in this process, for debugging
  run_bench.py suites/quickstart.yaml --executor slurm --detach  all of it into the queue of a cluster, and leave
  run_bench.py plan suites/quickstart.yaml --executor slurm      what that would submit, and what it would cost
  run_bench.py status suites/quickstart.yaml           from the files alone, while it runs or later
  run_bench.py report suites/quickstart.yaml           tables and figures of what is there by now
  run_bench.py assets suites/cifar10_nfe_sweep.yaml    what it needs, where to put it; --download fetches what it can
  run_bench.py list                                    methods, samplers, data sets, metrics, suites
  run_bench.py explain suites/quickstart.yaml ROW ROW  how two rows differ, and why they are not comparable
  run_bench.py check-metrics --extractor effnet-lite0@32 --dataset photo_tiles    do the metrics say what they should?
  run_bench.py reference import cifar10_stats.npz      statistics that a paper ships; export writes such files
  run_bench.py show sde                                parameters and defaults of a method (or a stored key)

options of a command: run_bench.py run --help
exit status: 0 all done; 1 some rows failed or something is missing; 2 the suite or the command line is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    let_any_text_through()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] not in VERBS and not arguments[0].startswith("-"):
        near = difflib.get_close_matches(arguments[0], VERBS, 1, 0.7)
        if near and not Path(arguments[0]).suffix:
            say(
                f"run_bench.py: no command {arguments[0]!r}; did you mean {near[0]}?",
                file=sys.stderr,
            )
            return WRONG
        arguments.insert(0, "run")
    elif arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
        arguments.insert(0, "run")
    options = _parser().parse_args(arguments)
    if options.verb is None:
        _parser().print_help()
        return WRONG
    try:
        return VERBS[options.verb](options)
    except SuiteError as error:
        for problem in error.problems:
            say(problem, file=sys.stderr)
        count = len(error.problems)
        say(f"{count} problem{'s' if count > 1 else ''}; nothing was run.", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # the reader of a pipe went away (head, less)
        sys.stderr.close()
        return DONE
    except KeyboardInterrupt:
        say("\nstopped; nothing that was finished is lost.", file=sys.stderr)
        return 128 + signal.SIGINT
    except PlaceError as error:
        say(f"{error}; nothing that was finished is lost", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        say(
            f"{error.filename or 'files'}: {error.strerror}; nothing that was finished is lost",
            file=sys.stderr,
        )
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_bench.py",
        description="Trains, samples, scores and ranks score-based generative models under equal, measured compute.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(
        dest="verb", metavar="command", title="commands (run is the default)"
    )
    folders = argparse.ArgumentParser(add_help=False)
    folders.add_argument(
        "--store", metavar="DIR", help="where weights, samples and scores lie (results/store)"
    )
    folders.add_argument(
        "--results", metavar="DIR", default="results", help="where tables and figures go (results)"
    )
    suite = argparse.ArgumentParser(add_help=False, parents=[folders])
    suite.add_argument("suite", help="a suite, such as suites/quickstart.yaml")
    suite.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a value: train.vp.params.sigma_max=3",
    )
    suite.add_argument(
        "--profile", metavar="NAME", help="lay the overrides of profiles.NAME over the suite"
    )
    suite.add_argument(
        "--smoke",
        action="store_true",
        help="one small batch of every point, from models trained for a few steps",
    )
    suite.add_argument(
        "--only", metavar="LABEL", action="append", default=[], help="only points with this label"
    )
    execution = argparse.ArgumentParser(add_help=False)
    execution.add_argument(
        "--executor",
        metavar="NAME|FILE",
        default="local",
        help="where jobs run: a name or file of suites/executors",
    )
    execution.add_argument("--jobs", metavar="N", type=int, help="how many workers at once")

    def add(name: str, help_: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=help_, description=help_[0].upper() + help_[1:] + ".", parents=list(parents)
        )

    verify = "read every stored file and compare its hash, not only size and modification time"
    run_ = add("run", "make what is missing, then tables and figures", suite, execution)
    run_.add_argument("--verify", action="store_true", help=verify)
    run_.add_argument(
        "--detach",
        action="store_true",
        help="submit all of it to the cluster, each stage after what it needs, and return; run it again to go on",
    )
    plan_ = add("plan", "say for each job whether it is done, and if not, why", suite)
    plan_.add_argument("--verify", action="store_true", help=verify)
    plan_.add_argument(
        "--executor",
        metavar="NAME|FILE",
        help="show also what would be submitted to this cluster, and its cost",
    )
    plan_.add_argument(
        "--measure",
        action="store_true",
        help="with --executor: first time a few steps of each model, as a job on the partition of the trainings",
    )
    add("status", "say how far a suite is, what runs, what failed and why", suite)
    add("report", "make tables and figures of what is there by now", suite)
    add(
        "assets", "list the files that a suite needs, and whether they are there", suite
    ).add_argument(
        "--download", action="store_true", help="fetch what is missing and has a public address"
    )
    add("cancel", "stop the driver and the workers of a suite (start it again to go on)", suite)
    add("list", "list methods, samplers, data sets, metrics, suites and executors")
    show = add(
        "show", "show a method, sampler, data set or metric, or what is stored under a key", folders
    )
    show.add_argument(
        "what", help="a name (sde, flow_heun, sde.flow_heun, digits, fd) or the beginning of a key"
    )
    explain_ = add(
        "explain",
        "say how two rows of a suite differ, and which of their numbers are comparable",
        suite,
    )
    explain_.add_argument(
        "rows", metavar="ROW", nargs=2, help="a label, a group or the beginning of a key, twice"
    )
    check = add(
        "check-metrics",
        "check that a metric's numbers rise with known damage, and agree across libraries",
        folders,
    )
    check.add_argument(
        "--dataset", metavar="NAME", default="digits", help="whose images are damaged (digits)"
    )
    check.add_argument(
        "--extractor",
        metavar="NAME",
        help="in whose features (by default one that is there and fits)",
    )
    check.add_argument(
        "--images", metavar="N", type=int, default=500, help="held-out images at most (500)"
    )
    check.add_argument(
        "--device", metavar="NAME", default="cpu", help="where the extractor runs (cpu)"
    )
    reference = add(
        "reference", "exchange reference statistics with .npz files (mu, sigma; pool_3)", folders
    )
    reference.add_argument(
        "do",
        choices=("export", "import"),
        help="export: write FILE; import: read it into the store",
    )
    reference.add_argument("file", metavar="FILE", help="an .npz file")
    reference.add_argument("--dataset", metavar="NAME", help="export: whose images")
    reference.add_argument(
        "--split", choices=("train", "test"), default="train", help="export: which of them (train)"
    )
    reference.add_argument(
        "--extractor",
        metavar="NAME",
        default="inception",
        help="export: in whose features (inception)",
    )
    reference.add_argument(
        "--features", action="store_true", help="export: each image's features too, as pool_3"
    )
    reference.add_argument(
        "--device", metavar="NAME", default="cpu", help="export: where the extractor runs (cpu)"
    )
    prune = add("prune", "delete what is no longer needed", suite)
    prune.add_argument(
        "--samples",
        metavar="N",
        type=int,
        help="images to keep a point (default: what the suite says)",
    )
    prune.add_argument(
        "--unused",
        action="store_true",
        help="delete results that neither this suite nor another one of this results folder uses (statistics of real "
        "images, in references/, stay: any suite may use them)",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    return parser


class Study:
    """A suite with its jobs, its store and its results folder, as the options name them."""

    def __init__(self, options: argparse.Namespace, *, absent: bool = False) -> None:
        """Reads the suite; with ``absent``, also one whose checkpoints and images are not there."""
        results = Path(options.results)
        self.store = Store(Path(options.store) if options.store else results / "store")
        self.suite: Suite = read_suite(
            options.suite,
            sets=options.set,
            profile=options.profile,
            smoke=options.smoke,
            only=options.only,
            cache=self.store.root / "external",
            absent=absent,
        )
        self.jobs: list[Job] = expand(self.suite)
        self.results = results / self.suite.name


def run(options: argparse.Namespace) -> int:
    """Makes what is missing, then tables and figures."""
    try:
        with handling():
            return _run(options)
    except Interrupted as stop:
        say("\nstopped; nothing is lost: start the same command again to go on.", file=sys.stderr)
        return 128 + stop.number


def _run(options: argparse.Namespace) -> int:
    executor = read_executor(options.executor, options.jobs)
    if options.detach and not isinstance(executor, Slurm):
        say(
            "--detach leaves jobs in the queue of a cluster; this executor has none (leave --detach out, or run the "
            "command under nohup)",
            file=sys.stderr,
        )
        return WRONG
    study = Study(options)
    if missing := assets.missing(requirements.of_suite(study.suite, study.store)):
        say("\n".join(missing), file=sys.stderr)
        return FAILED
    try:
        with hold(study.results) as lease:
            try:
                return _work(study, options, executor, lease)
            except Interrupted:
                if isinstance(executor, Slurm):
                    _say_what_goes_on(study, options)
                stop_workers(
                    study.results / "workers"
                )  # those of a driver before us, where ours had not begun
                raise
    except HeldError as error:
        say(error, file=sys.stderr)
    except ClusterRefusesError as error:
        say(
            f"the cluster takes no jobs; nothing is lost, mend this and start again.\n{error}",
            file=sys.stderr,
        )
    except WorkersFailError as error:
        say(
            f"workers cannot work; nothing is lost, mend this and start again.\n{error}",
            file=sys.stderr,
        )
    return FAILED


def _say_what_goes_on(study: Study, options: argparse.Namespace) -> None:
    left = [
        submission
        for submission in submissions(study.results)
        if not submission.over and not submission.abandoned
    ]
    if left:
        ids = ", ".join(str(submission.job) for submission in left)
        say(
            f"\njobs go on without this driver: {ids}\nsee: run_bench.py status {options.suite}; "
            f"end them: run_bench.py cancel {options.suite}",
            file=sys.stderr,
        )


def _work(
    study: Study, options: argparse.Namespace, executor: Executor | Slurm, lease: Lease
) -> int:
    """Makes what is missing, then tables and figures, while the results folder is ours."""
    begin = time.monotonic()
    found = examine(study.jobs, study.store, rehash=options.verify, reasons=False)
    _forget(study, found)
    for error in verify_references(study.store) if options.verify else ():
        say(f"reference is damaged: {error}", file=sys.stderr)
        study.store.discard(error.unit)
    to_do = [progress.job for progress in found.values() if not progress.finished]
    say(
        f"{study.suite.name}: {_counts(study.jobs)}; {len(study.jobs) - len(to_do)} of {len(study.jobs)} are done"
    )
    for note in study.suite.notes:
        say(f"note: {note}")
    write(study.results / "suite.resolved.yaml", as_yaml(study.suite.resolved).encode())
    _note_keys(study, options)
    if options.detach:
        return _detach(study, options, executor, lease)
    from bench.cli.display import ProgressDisplay

    with ProgressDisplay() as display:
        if isinstance(executor, Slurm):
            expected = measured(study.results)
            SlurmDriver(study.jobs, study.store, study.results, executor, display.show, expected)(
                lease
            )
        else:
            Driver(study.jobs, study.store, study.results, executor, display.show)(lease)
    status = _finish(study)
    say(f"{time.monotonic() - begin:.0f} s in all")
    return status


def _finish(study: Study) -> int:
    """Makes tables and figures, then deletes the images that the suite does not keep."""
    status = _make_report(study)
    _prune(study, study.suite.keep)
    return status


def _detach(study: Study, options: argparse.Namespace, executor: Slurm, lease: Lease) -> int:
    """Submits everything that is neither there nor in the queue, and says what; ends the run if all
    of it is there.
    """
    campaign = SlurmDriver(
        study.jobs, study.store, study.results, executor, expected=measured(study.results)
    )
    made, left_out = campaign.detach(lease)
    if not campaign.tally.open:
        return _finish(study)
    for submission in made:
        say(array_line(submission))
    say("" if made else "nothing to submit: all that is missing is in the queue")
    say(
        f"how far it is: run_bench.py status {options.suite}; tables of what is there: run_bench.py report ..."
    )
    say(
        "once the queue is empty, run the same command again: it submits what failed by chance, and nothing twice, or "
        "else makes the tables"
    )
    if left_out:
        say(
            f"{left_out} units were not submitted, for the cluster takes no more jobs now: run it again later"
        )
    return DONE


def _note_keys(study: Study, options: argparse.Namespace) -> None:
    """Notes which keys the suite uses, for ``prune --unused``; a run with overrides adds to what
    was noted.
    """
    path = study.results / "keys.json"
    keys = {f"{job.stage}/{job.key}" for job in study.jobs}
    if _overrides(options):
        try:
            keys |= _noted_keys(path)
        except ValueError as error:
            say(f"note: {error}", file=sys.stderr)
            return
    write(path, json.dumps(sorted(keys)).encode())


def _noted_keys(path: Path) -> set[str]:
    """Returns the keys that were noted, none where there is no such file.

    Raises:
        ValueError: There is one, and it is damaged.
    """
    keys = read_json(path)
    if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
        return set(keys)
    if path.exists():
        raise ValueError(
            f"{path}: damaged, so nobody knows what that suite uses; run it once, which writes it again"
        )
    return set()


def _overrides(options: argparse.Namespace) -> list[str]:
    given = {
        "--set": options.set,
        "--only": options.only,
        "--profile": options.profile,
        "--smoke": options.smoke,
    }
    return [name for name, value in given.items() if value]


def _forget(study: Study, found: Mapping[str, Progress]) -> None:
    """Names and discards what is damaged, and what was pruned and is needed again."""
    for progress in found.values():
        for error in progress.damaged:
            say(f"damaged, will be made again: {error}", file=sys.stderr)
        for unit in progress.job.results:
            if unit.part in progress.stale:
                study.store.discard(unit)


def _make_report(study: Study) -> int:
    from rich.console import Console

    from bench.report.console import print_leaderboard
    from bench.report.writer import write

    results = write(study.suite, study.store, study.results)
    print_leaderboard(results, Console(), study.results)
    failures = _failures(study)
    for label, seen in failures:
        say(f"failed: {label}: {seen.cause}" + _evidence(seen), file=sys.stderr)
    states = results.rows["state"].value_counts().to_dict()
    say("rows: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    return DONE if set(states) <= {"done"} and not failures else FAILED


def _evidence(seen: Outcome) -> str:
    """Returns where the log of a failure lies, and its last words where they were kept."""
    tail = "".join(f"\n        | {line}" for line in seen.tail)
    return tail + (f"\n        log: {seen.log}" if seen.log else "")


def _failures(study: Study) -> list[tuple[str, Outcome]]:
    seen = (
        (job, outcome(study.store, unit, results=job.made_by(unit)))
        for job in study.jobs
        for unit in job.units
    )
    return [(f"{job.stage} {job.label}", state) for job, state in seen if state.state == "failed"]


def report(options: argparse.Namespace) -> int:
    """Makes tables and figures of what is there by now."""
    return _make_report(Study(options))


def plan(options: argparse.Namespace) -> int:
    """Says for each job whether it is done, and if not, why."""
    study = Study(options)
    found = examine(study.jobs, study.store, rehash=options.verify)
    lines = []
    for progress in found.values():
        job = progress.job
        state = "done" if progress.finished else f"{len(progress.done)}/{len(job.parts)}"
        lines.append(
            f"{job.stage:<10} {state:>5}  {job.key}  {job.label}"
            + (f"  [{progress.why}]" if progress.why else "")
        )
    say("\n".join(lines))
    for error in verify_references(study.store) if options.verify else ():
        say(f"{'references':<10} damaged  {error}")
    done = sum(progress.finished for progress in found.values())
    points = f"{len(study.suite.points)} points"
    say(
        f"\n{study.suite.name}: {_counts(study.jobs)}, {points}; {done} done, {len(found) - done} to do"
    )
    for note in study.suite.notes:
        say(f"note: {note}")
    if options.executor is not None:
        executor = read_executor(options.executor)
        if not isinstance(executor, Slurm):
            say(f"executor {options.executor}: {executor.slots} workers at once on this machine")
            return DONE
        if options.measure and not _measure(study, executor):
            return FAILED
        budgets = {
            point.label: point.budget for point in study.suite.points if point.budget is not None
        }
        say(forecast(study.jobs, study.store, study.results, executor, budgets))
    return DONE


def _measure(study: Study, executor: Slurm) -> bool:
    """Times the suite's models on the cluster; tells whether that went well."""
    try:
        measure_there(study.jobs, study.results, executor)
    except (ClusterError, MeasureError) as error:
        say(f"nothing was measured: {error}", file=sys.stderr)
        return False
    except KeyboardInterrupt:
        say("\nstopped: the job that measures was cancelled", file=sys.stderr)
        return False
    return True


def status(options: argparse.Namespace) -> int:
    """Says how far a suite is, what runs, what failed and why."""
    study = Study(options)
    counts: dict[str, dict[str, int]] = {}
    failures, running = [], []
    seen_cluster = overview(study.jobs, study.store, study.results)
    for job in study.jobs:
        for unit in job.units:
            seen = seen_cluster.judge(unit, outcome(study.store, unit, results=job.made_by(unit)))
            of_stage = counts.setdefault(job.stage, {})
            of_stage[seen.state] = of_stage.get(seen.state, 0) + 1
            if seen.state == "failed":
                cause = f"{seen.cause} ({seen.attempts} attempts)"
                failures.append(f"failed: {job.stage} {job.label}: {cause}{_evidence(seen)}")
            if seen.live is not None:
                step = f", step {seen.live['step']}" if "step" in seen.live else ""
                who = (
                    f"job {seen.live['job']}"
                    if "job" in seen.live
                    else f"process {seen.live.get('pid')}"
                )
                hint = clear_hint(study.store.path(unit, ".lease"), seen.live)
                where = f" on {seen.live.get('host')}; {hint}" if hint else ""
                running.append(
                    f"running: {job.stage} {job.label}, part {unit.part}{step} ({who}{where})"
                )
    for stage, of_stage in counts.items():
        say(
            f"{stage:<10} "
            + ", ".join(f"{count} {state}" for state, count in sorted(of_stage.items()))
        )
    say("\n".join(running + failures)) if running or failures else None
    facts = holder(study.results / "driver.lock")
    workers = living(study.results / "workers")
    say("\n".join(seen_cluster.lines)) if seen_cluster.lines else None
    who = f"process {facts.get('pid')} on {facts.get('host')}" if facts else "none"
    say(f"driver: {who}; workers: {len(workers)}")
    waiting = sum(of_stage.get("waiting", 0) for of_stage in counts.values())
    if waiting and not facts:
        say(f"{waiting} units wait that no job has: start the suite again to go on")
    return FAILED if failures else DONE


def cancel(options: argparse.Namespace) -> int:
    """Stops the driver and the workers of a suite."""
    study = Study(options)
    driver = holder(study.results / "driver.lock")
    on_cluster = submissions(study.results)
    if driver:
        ask_to_cancel(study.results, driver)
        signal_workers([driver], signal.SIGTERM)
    else:
        stop_workers(study.results / "workers")
    begin = time.monotonic()
    if on_cluster:
        try:
            while holder(study.results / "driver.lock") and time.monotonic() - begin < 60:
                time.sleep(0.2)  # it may be about to submit
            say(f"{cancel_submissions(study.results)} jobs cancelled")
        except ClusterError as error:
            say(f"jobs could not be cancelled: {error}", file=sys.stderr)
            return FAILED
    while time.monotonic() - begin < 60:
        if not living(study.results / "workers") and not holder(study.results / "driver.lock"):
            say(f"{study.suite.name}: nothing runs; start it again to go on")
            return DONE
        time.sleep(0.2)
    say(
        f"{study.suite.name}: still stopping; see: run_bench.py status {options.suite}",
        file=sys.stderr,
    )
    return FAILED


def show_assets(options: argparse.Namespace) -> int:
    """Lists the files that a suite needs, and whether they are there; fetches what is missing where
    that is asked.
    """
    study = Study(options, absent=True)
    suite, cache = study.suite, study.store.root / "external"
    given = (
        "environment variable BENCH_DATA"
        if os.environ.get("BENCH_DATA", "").strip()
        else "set BENCH_DATA to have it elsewhere"
    )
    say(f"data and weights lie below {data_root()} ({given})")
    failed = []
    if options.download:
        with _Line() as line:
            failed = list(
                download.fetch_missing(requirements.of_suite(suite, study.store), line.say, line)
            )
    needed = requirements.of_suite(suite, study.store)
    wrong = 0
    for asset in needed:
        lines, right = assets.describe(asset, cache)
        say("\n".join(lines))
        wrong += not right
    card = data_card(suite.dataset)
    if not card.files:
        say(f"data set {suite.dataset}: nothing to fetch ({card.summary})")
    for note in suite.notes:
        say(f"note: {note}")
    say("\n".join(failed), file=sys.stderr, end="\n" if failed else "")
    lacking = assets.missing(needed)
    offered = any(
        asset.needed and asset.path is None and asset.offer is not None for asset in needed
    )
    if lacking and offered and not options.download:
        say(f"fetch what has an address: run_bench.py assets {options.suite} --download")
    damaged = wrong - len(lacking)
    told = [f"{len(lacking)} missing"] * bool(lacking) + [f"{damaged} not as published"] * bool(
        damaged
    )
    say(f"{len(needed)} needed: {', '.join(told)}" if told else "nothing is missing")
    return FAILED if told or failed else DONE


class _Line:
    """A line that is written over on a terminal; elsewhere one is written every ten seconds. A
    context manager.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.shown = time.monotonic()
        self.open = False

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def __call__(self, text: str) -> None:
        """Shows a line for now."""
        now = time.monotonic()
        if self.terminal:
            print(f"\r\x1b[K{one_line(text)}", end="", flush=True)
            self.open = True
        elif now - self.shown >= 10:
            say(text, flush=True)
            self.shown = now

    def say(self, text: str) -> None:
        """Writes a line to keep."""
        self._end()
        say(text, flush=True)

    def _end(self) -> None:
        if self.open:
            print()
            self.open = False


def explain(options: argparse.Namespace) -> int:
    """Says how two rows differ, and which of their numbers are comparable."""
    study = Study(options)
    from bench.report import comparison
    from bench.report.results import read_results

    results = read_results(study.suite, study.store)
    try:
        first, second = (comparison.find(results.rows, text) for text in options.rows)
    except ValueError as error:
        say(error, file=sys.stderr)
        return WRONG
    say("\n".join(comparison.explain(results, first, second)))
    return DONE


def check_metrics(options: argparse.Namespace) -> int:
    """Checks that distances rise with known damage, and that libraries agree on equal features."""
    if (problem := _unknown(options.dataset, DATASETS, "data set")) or options.images < 2:
        say(problem or f"--images should be at least 2, got {options.images}", file=sys.stderr)
        return WRONG
    card = DATASETS[options.dataset]
    try:
        name = options.extractor or default_extractor(card)
        reasons = refuse_extractor(name, card)
    except ValueError as error:
        reasons = [str(error)]
    missing = [] if reasons else _absent(options.dataset, name)
    if reasons or missing:
        say("\n".join(reasons or missing), file=sys.stderr)
        return WRONG if reasons else FAILED
    if problem := _no_device(options.device):
        say(problem, file=sys.stderr)
        return WRONG
    from bench.data.images import load_images
    from bench.metrics.audit import check
    from bench.metrics.references import References

    said = describe_part(options.images, card.splits["test"])
    held_out = f"held-out images ({said})" if said else "held-out images"
    say(
        f"{options.dataset} in the features of {extractor_label(name)}, {held_out} against training images"
    )
    references, failed, judged = References(_store(options)), 0, 0
    try:
        for finding in check(
            load_images(options.dataset),
            name,
            count=options.images,
            device=options.device,
            references=references,
        ):
            mark = {True: "ok", False: "FAILS", None: "  "}[finding.right]
            say(f"{mark:<6}{finding.what}: {finding.found}", flush=True)
            failed += finding.right is False
            judged += finding.right is not None
    except (ValueError, OSError) as error:
        say(f"FAILS {error}", file=sys.stderr)
        return FAILED
    say(
        f"{judged - failed} of {judged} are as they should be"
        + (f"; {failed} FAIL" if failed else "")
    )
    return FAILED if failed else DONE


def reference(options: argparse.Namespace) -> int:
    """Exchanges reference statistics with .npz files."""
    path, store = Path(options.file), _store(options)
    if options.do == "export":
        if options.dataset is None:
            say("export needs --dataset", file=sys.stderr)
            return WRONG
        if problem := _unknown(options.dataset, DATASETS, "data set"):
            say(problem, file=sys.stderr)
            return WRONG
        card = DATASETS[options.dataset]
        try:
            reasons = refuse_extractor(options.extractor, card)
        except ValueError as error:
            reasons = [str(error)]
        missing = [] if reasons else _absent(options.dataset, options.extractor)
        if reasons or missing:
            say("\n".join(reasons or missing), file=sys.stderr)
            return WRONG if reasons else FAILED
        if problem := _no_device(options.device):
            say(problem, file=sys.stderr)
            return WRONG
    from bench.metrics import references, statistics_file

    try:
        if options.do == "import":
            sha256 = statistics_file.import_statistics(store, path)
            say(statistics_file.describe_statistics(references.References(store).facts(sha256)))
            say(f"imported into {store.root}; in a suite: {{metric: fid, statistics: {sha256}}}")
            return DONE
        from bench.data.images import load_images
        from bench.metrics.extractors import load_extractor

        data = load_images(options.dataset)
        extractor = load_extractor(options.extractor, options.device, data)
        content = statistics_file.export_statistics(
            references.References(store), data, options.split, extractor, options.features
        )
    except ValueError as error:
        say(error, file=sys.stderr)
        return FAILED
    write(path, content)
    say(
        f"{path}: {options.dataset} {options.split} by {options.extractor}, {len(content) / 1e6:.1f} MB"
    )
    return DONE


def _store(options: argparse.Namespace) -> Store:
    return Store(Path(options.store) if options.store else Path(options.results) / "store")


def _unknown(name: str, known: Mapping[str, object], what: str) -> str:
    """Returns why a name is none, with a near miss; empty where it is one."""
    if name in known:
        return ""
    near = difflib.get_close_matches(name, known, 1)
    return f"there is no {what} {name!r}" + (
        f"; did you mean {near[0]}?" if near else f": {', '.join(known)}"
    )


def _no_device(name: str) -> str:
    """Returns why a device cannot be used; empty where it can."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        return f"--device {name}: cannot be used here: {why}; a device reads as cpu, cuda or cuda:1"
    return ""


def _absent(dataset: str, extractor: str) -> list[str]:
    """Returns what is missing of a data set and an extractor, and how to get it."""
    return assets.missing(
        [*assets.of_data(dataset, DATASETS[dataset]), *requirements.of_extractor(extractor)]
    )


def prune(options: argparse.Namespace) -> int:
    """Deletes what is no longer needed."""
    study = Study(options)
    facts = holder(study.results / "driver.lock")
    if facts is not None:
        remedy = clear_hint(study.results / "driver.lock", facts) or "prune when it is done"
        say(f"{study.results} is held by process {facts.get('pid')}: {remedy}", file=sys.stderr)
        return FAILED
    if options.unused and (overrides := _overrides(options)):
        say(
            f"--unused keeps what whole suites use: leave out {', '.join(overrides)}",
            file=sys.stderr,
        )
        return WRONG
    if options.samples is not None and options.samples < 0:
        say(f"--samples should be at least 0, got {options.samples}", file=sys.stderr)
        return WRONG
    keep = study.suite.keep if options.samples is None else options.samples
    freed = _prune(study, keep, dry=options.dry_run)
    if options.unused:
        freed += _prune_unused(study, options.dry_run)
    say(f"{freed / 1e6:.1f} MB {'could be ' if options.dry_run else ''}freed")
    return DONE


def _prune_unused(study: Study, dry: bool) -> int:
    """Deletes keys that neither this suite nor any other run into the same results folder uses."""
    used, freed = {f"{job.stage}/{job.key}" for job in study.jobs}, 0
    for folder in scan(study.results.parent):
        if folder != study.suite.name:
            try:
                used |= _noted_keys(study.results.parent / folder / "keys.json")
            except ValueError as error:
                say(f"{error}; nothing unused was deleted", file=sys.stderr)
                return 0
    for stage in STAGES:
        for name in scan(study.store.root / stage):
            folder = study.store.folder(stage, name)
            if f"{stage}/{name}" in used:
                continue
            if any(holder(path) is not None for path in folder.glob("*.lease")):
                say(f"kept, somebody works on it: {folder}")
                continue
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            say(f"{'would delete' if dry else 'deleting'} {folder} ({size / 1e6:.1f} MB)")
            freed += size if dry else study.store.remove(stage, name)
    return freed


def _prune(study: Study, keep: int | None, dry: bool = False) -> int:
    if keep is None:
        return 0
    units = to_prune(study.jobs, examine(study.jobs, study.store, reasons=False), keep)
    if dry:
        paths = [study.store.path(unit, ".npz") for unit in units]
        return sum(path.stat().st_size for path in paths if path.exists())
    return sum(study.store.prune(unit) for unit in units)


def _counts(jobs: Sequence[Job]) -> str:
    counts = {stage: sum(job.stage == stage for job in jobs) for stage in STAGES}
    words = {"train": "trainings", "samples": "sample sets", "likelihood": "likelihoods"}
    words |= {"inspect": "inspections", "scores": "scorings"}
    return ", ".join(f"{count} {words[stage]}" for stage, count in counts.items() if count)


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "plan": plan,
    "status": status,
    "report": report,
    "assets": show_assets,
    "cancel": cancel,
    "explain": explain,
    "check-metrics": check_metrics,
    "reference": reference,
    "list": listing._list,
    "show": show._show,
    "prune": prune,
}
