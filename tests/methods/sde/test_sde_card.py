"""What Score-SDE's card says of its samplers and its classifier: costs, couplings, and what cannot
be.
"""

import itertools

import pytest
import torch
from test_adaptive import SOLVERS, Counted, prior
from test_predictor_corrector import PREDICTORS, each_process, gaussian_score, normal

from bench.method import Noise
from bench.schema import build
from bench.suite.fault import SuiteError
from bench.suite.reader import read_suite
from methods.sde.card import CARD, Classifier, Params
from methods.shared.adaptive import flow_adaptive
from methods.shared.grids import grid
from methods.shared.predictor_corrector import predictor_corrector
from methods.shared.process import VP

CARDED = CARD.samplers["predictor_corrector"]


@each_process
@pytest.mark.parametrize("first", ["corrector", "predictor"])
@pytest.mark.parametrize("last_noise", [False, True])
@pytest.mark.parametrize("predictor", [*PREDICTORS, "none"])
@pytest.mark.parametrize("corrector", ["langevin", "none"])
def test_evaluations_are_as_the_card_counts_them_and_every_one_is_used(
    process, predictor, corrector, first, last_noise
):
    if predictor == corrector == "none":
        return
    gradients, exact = [], gaussian_score(process)

    def score_fn(x, t):
        gradients.append(exact(x, t).requires_grad_())
        return gradients[-1]

    knobs = {
        "predictor": predictor,
        "corrector": corrector,
        "first": first,
        "last_noise": last_noise,
    }
    knobs["corrector_steps"] = 2
    with torch.enable_grad():
        # Each score gets a gradient of its own, so one whose value never reached the images has
        # none.
        x = predictor_corrector(
            process,
            score_fn,
            normal(2),
            grid("uniform", process, 5),
            Noise(1, dtype=torch.float64),
            **knobs,
        )
        used = torch.autograd.grad(x.sum(), gradients, allow_unused=True)
    assert all(gradient is not None for gradient in used)
    assert len(gradients) == CARDED.effort.evaluations(build(CARDED.params, {"steps": 5, **knobs}))


def reasons(method, times="uniform", **values):
    return CARDED.refuse(build(Params, method), build(CARDED.params, values), times)


def test_what_cannot_be_is_refused_with_the_reason():
    assert "no discrete chain" in reasons({"process": "subvp"}, predictor="ancestral")[0]
    assert "more than 20 steps" in reasons({}, published=True, steps=20)[0]
    assert (
        "more than 20 steps"
        in reasons({}, published=True, steps=20, predictor="euler_maruyama", corrector="ald")[0]
    )
    assert "uniform times, not of rho7" in reasons({}, "rho7", published=True)[0]
    assert "no corrector for sub-VP" in reasons({"process": "subvp"}, published=True)[0]
    assert (
        "no discrete chain"
        in CARD.samplers["ancestral"].refuse(
            build(Params, {"process": "subvp"}), CARD.samplers["ancestral"].params(), "uniform"
        )[0]
    )
    for values, why in (
        ({"predictor": "none", "corrector": "none"}, "nothing is left to do"),
        ({"predictor": "ancestral", "probability_flow": True}, "no probability flow"),
        ({"published": True, "first": "predictor"}, "correct before they predict"),
        ({"snr": 0.0}, "snr should be positive"),
    ):
        with pytest.raises(ValueError, match=why):
            build(CARDED.params, values)


@pytest.mark.parametrize(
    ("process", "point", "why"),
    [
        ("subvp", "{train: m, sampler: ancestral, grid: {nfe: [10]}}", "no ancestral steps"),
        (
            "subvp",
            "{train: m, sampler: predictor_corrector, params: {predictor: ancestral}}",
            "no ancestral steps",
        ),
        (
            "vp",
            "{train: m, sampler: predictor_corrector, params: {published: true}, grid: {nfe: "
            "[40]}}",
            "20 steps",
        ),
        (
            "vp",
            "{train: m, sampler: predictor_corrector, times: rho7, params: {published: true}}",
            "uniform times",
        ),
        (
            "ve",
            "{train: m, sampler: predictor_corrector, params: {predictor: none, corrector: none}}",
            "nothing",
        ),
    ],
)
def test_a_suite_that_asks_for_what_cannot_be_dies_when_it_is_read(tmp_path, process, point, why):
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"name: s\ndataset: digits\nmetrics: [{{metric: fd, allow_few: true}}]\nsamples: "
        f"{{count: 8, batch: 8}}\n"
        f"train:\n  m: {{method: sde, params: {{process: {process}}}}}\npoints:\n  - {point}\n"
    )
    with pytest.raises(SuiteError, match=why):
        read_suite(path)


def test_what_can_be_is_not_refused():
    assert reasons({"process": "subvp"}) == []
    assert reasons({"process": "ve"}, published=True, steps=2) == []
    assert reasons({}, published=True, steps=21) == []
    assert reasons({}, published=True, steps=5, predictor="euler_maruyama", corrector="none") == []
    assert reasons({"process": "subvp"}, published=True, corrector="none") == []
    for times, predictor in itertools.product(
        CARDED.times, ("euler_maruyama", "reverse_diffusion", "ancestral")
    ):
        assert reasons({}, times, predictor=predictor) == []


def test_the_card_refuses_steps_of_each_image_from_scipy_and_knows_what_couples_a_batch():
    card = CARD.samplers["flow_adaptive"]
    with pytest.raises(ValueError, match="needs solver device"):
        build(card.params, {"error_norm": "image"})
    with pytest.raises(ValueError, match="device's"):
        flow_adaptive(VP(), Counted(VP()), prior(VP()), error_norm="image")
    assert card.couples(card.params())
    assert not card.couples(build(card.params, SOLVERS["image"]))


def test_images_of_a_batch_are_coupled_by_the_batchs_norms_alone():
    for norms in ("image", "batch"):
        assert CARDED.couples(build(CARDED.params, {"norms": norms})) == (norms == "batch")
    assert not CARDED.couples(build(CARDED.params, {"norms": "batch", "corrector": "ald"}))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"width": 14}, "width: 3 groups do not divide 14 channels"),
        ({"fourier_scale": 0.0}, "fourier_scale should be positive"),
    ],
)
def test_classifier_that_cannot_be_is_refused(values, why):
    with pytest.raises(ValueError, match=why):
        build(Classifier, values)
