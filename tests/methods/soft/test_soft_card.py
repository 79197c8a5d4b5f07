"""What the card of Soft Diffusion refuses, with the reason, and its presets."""

import pytest
from soft_methods import KINDS

from bench.schema import build, merge
from methods.soft.card import CARD, SAMPLERS


def refused(values, shape=(1, 8, 8)):
    return CARD.refuse(build(CARD.params, merge(CARD.tiny, values)), shape)


def test_the_card_refuses_what_cannot_be_with_the_reason():
    points = {"network": {"architecture": "mlp", "multipliers": [1, 2, 2, 2], "attention": [16]}}
    assert "nothing to blur" in refused(points, (2, 1, 1))[0]
    assert refused({**points, "corruption": {"kind": "straight"}}, (2, 1, 1)) == []
    assert "256" in refused({"selection": {"covariance": "full"}}, (3, 16, 16))[-1]
    pixelate = {"corruption": {"kind": "pixelate", "pixelate": {"size": 3}}}
    assert "blocks of 3 do not fill" in refused(pixelate)[0]
    with pytest.raises(ValueError, match="dequantise"):
        build(CARD.params, {"exact": True, "dequantise": True})
    with pytest.raises(ValueError, match="diagonal"):
        build(CARD.params, {"exact": True, "corruption": {"kind": "blur_mask"}})


def test_flows_are_refused_where_there_is_none():
    def reasons(name, corruption, **values):
        params = build(CARD.params, {"corruption": corruption})
        return SAMPLERS[name].refuse(params, build(SAMPLERS[name].params, values), "uniform")

    switched = {"kind": "mask", "mask": {"width": 0.0}}
    for name in ("churn", "flow_euler", "flow_heun", "flow_adaptive"):
        assert "no flow" in reasons(name, switched)[0]
        assert reasons(name, {"kind": "mask"}) == []
    assert reasons("momentum", switched) == []
    assert "t_min" in reasons("flow_adaptive", {"kind": "straight"})[0]
    assert reasons("flow_adaptive", {"kind": "straight"}, t_min=1e-3) == []
    assert "t_min" in reasons("flow_heun", {"kind": "vp"}, last="heun")[0]
    assert reasons("flow_heun", {"kind": "vp"}) == []


def test_fast_solvers_are_refused_where_polynomials_say_nothing():
    def reasons(name, corruption, **values):
        params = build(CARD.params, {"corruption": corruption})
        return SAMPLERS[name].refuse(params, build(SAMPLERS[name].params, values), "uniform")

    for name in ("deis", "dpm_solver_2m", "dpm_solver_3m", "sde_dpm_solver_2m", "unipc"):
        assert "diagonal in one basis" in reasons(name, {"kind": "blur_mask"})[0]
        assert "diagonal in one basis" in reasons(name, {"kind": "pixelate"})[0]
        assert "switches at once" in reasons(name, {"kind": "mask", "mask": {"width": 0.0}})[0]
        assert reasons(name, {"kind": "blur"}) == []
    assert "wipes out" in reasons("deis", {"kind": "blur"}, prediction="noise")[0]
    assert reasons("deis", {"kind": "straight"}, prediction="noise") == []


def test_times_of_even_log_snr_are_refused_where_it_is_infinite():
    def reasons(corruption, times="log_snr", **values):
        params = build(CARD.params, {"corruption": corruption})
        card = SAMPLERS["ddim"]
        return card.refuse(params, build(card.params, values), times)

    assert reasons({"kind": "straight"}, "uniform") == []
    assert "t = 1" in reasons({"kind": "straight"})[0]
    assert "t = 1" in reasons({"kind": "mask", "mask": {"floor": 0.0}}, "rho7")[0]
    assert "t = 0" in reasons({"kind": "vp"})[0]
    assert reasons({"kind": "vp"}, t_min=1e-3) == []
    assert "no log-SNR" in reasons({"kind": "pixelate"})[0]
    assert reasons({"kind": "blur"}) == []


def test_a_likelihood_is_refused_only_where_there_is_no_flow():
    def reasons(**corruption):
        return CARD.likelihood.refuse(build(CARD.params, {"corruption": corruption}))

    assert "no flow" in reasons(kind="mask", mask={"width": 0.0})[0]
    assert "no flow" in reasons(kind="blur_mask", mask={"width": 0.0})[0]
    assert all(reasons(kind=kind) == [] for kind in KINDS)


def test_a_model_says_in_its_tables_that_it_starts_from_training_images():
    def variant(**values):
        return CARD.variant(build(CARD.params, values))

    assert variant() == "blur"
    assert "training images" in variant(prior={"kind": "training"})
    assert "exact" in variant(exact=True)


def test_presets_blur_from_a_hundredth_of_a_pixel_as_widely_as_the_paper_through_32_levels():
    for name, pixels in (("celeba64", 64), ("cifar10", 32)):
        params = build(CARD.params, CARD.presets[name])
        assert params.selects
        assert pixels * params.corruption.blur.least == pytest.approx(0.01)
        assert pixels * params.corruption.blur.most == pytest.approx(23 * pixels / 64)
        assert (params.selection.candidates, params.selection.levels) == (256, 32)
