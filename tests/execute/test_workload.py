"""What units compute, counted from the cards."""

from pathlib import Path

import pytest
from priced_suite import CPU, SUITE, of_stage

from bench.execute.slurm.forecast import forecast
from bench.execute.slurm.resources import Slurm
from bench.execute.workload import EXACT_CALLS, Workload, evaluations, networks
from bench.plan import Job, expand
from bench.spec import SnapshotSpec, TrainSpec
from bench.store import Store, UnitId
from bench.suite.reader import read_suite

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("no_cluster")


def test_work_is_evaluations_times_images_times_the_network(priced):
    jobs, *_ = priced
    work = Workload({(job.stage, job.key): job for job in jobs})
    (train,), (likelihood,), (inspect,) = (
        of_stage(jobs, stage) for stage in ("train", "likelihood", "inspect")
    )
    (net,) = networks(train.specs[0])
    ten, hundred, adaptive = (work.of(job.units[0]) for job in of_stage(jobs, "samples"))
    assert work.of(train.units[0]).flops == 3 * 100 * 10 * net.flops
    assert (ten.flops, ten.nfe, ten.guessed) == (10 * 20 * net.flops, 10, False)
    assert hundred.flops == 100 * 20 * net.flops
    assert (adaptive.flops, adaptive.guessed) == (pytest.approx(150 * 20 * net.flops), True)
    nfe = 15 * 1e-3**-0.2  # each with two passes back to the image, for 30 images in two batches
    assert work.of(likelihood.units[0]).flops == pytest.approx(3 * nfe * 15 * net.flops)
    assert work.of(inspect.units[0]).flops == 10 * inspect.images * net.flops
    scores = work.of(of_stage(jobs, "scores")[0].units[0])
    assert (scores.flops, scores.host_flops) == (
        pytest.approx(40 * 6e5),
        2 * 40 * 24**2 + 30 * 24**3,
    )


def test_a_snapshot_costs_what_lies_between_it_and_the_one_before(priced):
    train = of_stage(priced[0], "train")[0].specs[0]
    specs = {"early": SnapshotSpec(train=train, images=400), "late": train}
    jobs = [
        Job(stage="train", key="early", label="", specs=(specs["early"],), parts=("weights",)),
        Job(
            stage="train",
            key="late",
            label="",
            specs=(specs["late"],),
            parts=("weights",),
            needs=(UnitId("train", "early", "weights"),),
        ),
    ]
    work = Workload({(job.stage, job.key): job for job in jobs})
    early, late = (work.of(job.units[0]).rows for job in jobs)
    assert (early, late) == (3 * 400, 3 * 600)
    taken = TrainSpec(
        method="sde", method_version=1, dataset="digits", dataset_version=1, checkpoint="ab"
    )
    job = Job(stage="train", key="taken", label="", specs=(taken,), parts=("weights",))
    assert Workload({("train", "taken"): job}).of(job.units[0]).flops == 0


def test_guided_samples_cost_a_pass_back_through_the_classifier_too(tmp_path):
    text = SUITE.replace("params: {network", "params: {classifier: {kind: resnet}, network")
    text = text.replace("grid: {nfe", "given: {task: class, label: 3}, grid: {nfe")
    (tmp_path / "guided.yaml").write_text(text)
    jobs = expand(read_suite(tmp_path / "guided.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    score, classifier = networks(of_stage(jobs, "train")[0].specs[0])
    guided = work.of(
        of_stage(jobs, "samples")[0].units[0]
    )  # its 10 evaluations are five of each network
    assert (guided.flops, guided.nfe) == (5 * 20 * (score.flops + 2 * classifier.flops), 10)
    trained = work.of(of_stage(jobs, "train")[0].units[0]).flops
    assert trained == 3 * (1000 * score.flops + classifier.images * classifier.flops)


def test_every_sampler_of_every_method_says_what_it_costs_or_guesses():
    from bench.card import cards

    for method, card in cards().items():
        for name, sampler in card.samplers.items():
            assert sampler.effort.exact or sampler.effort.evaluations(sampler.params()) > 1, (
                method,
                name,
            )
        assert card.likelihood is None or card.likelihood.guess(card.likelihood.params(), 64)[0] > 1
    assert callable(evaluations)


def test_exact_scores_are_not_trained_and_cost_calls_alone(tmp_path):
    text = SUITE.replace("params: {network", "params: {exact: true, network")
    (tmp_path / "exact.yaml").write_text(text)
    jobs = expand(read_suite(tmp_path / "exact.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    found = {job.stage: work.of(job.units[0]) for job in jobs}
    assert found["train"].flops == 0
    for stage in ("samples", "likelihood", "inspect"):
        assert found[stage].flops == 0 < found[stage].calls
    samples = found["samples"]
    assert samples.calls == EXACT_CALLS * samples.nfe
    plan = forecast(jobs, Store(tmp_path / "store"), tmp_path / "exact", Slurm(**CPU))
    assert "60 s per unit" not in plan


def test_a_sweep_of_the_four_papers_at_equal_budgets_costs_two_hundred_exaflops():
    """Every sampler at every budget: an independent count of the networks and budgets of this suite
    came to 196: 1,300 A100-hours at 40 TFLOP/s, 5,400 at 10.
    """
    jobs = expand(read_suite(ROOT / "tests/support/cifar10_equal_budgets.yaml"))
    work = Workload({(job.stage, job.key): job for job in jobs})
    total = sum(work.of(job.units[0]).flops * len(job.units) for job in jobs)
    assert total == pytest.approx(196e18, rel=0.03)
    at_budget = dict.fromkeys((1000, 2000), 0.0)
    for job in of_stage(jobs, "samples"):
        for budget in at_budget:
            if f"nfe {budget} " in job.label:
                at_budget[budget] += work.of(job.units[0]).flops * len(job.units)
    assert at_budget[2000] / total == pytest.approx(0.357, abs=0.01)
    assert at_budget[1000] / total == pytest.approx(0.179, abs=0.01)
