import numpy as np
import pytest
import torch

from bench.metrics.inception import inception_score


def test_inception_score_of_sure_and_even_answers_is_the_number_of_classes():
    assert inception_score(np.tile(np.eye(10), (5, 1))) == (pytest.approx(10), pytest.approx(0))
    assert inception_score(np.full((20, 10), 0.1)) == (pytest.approx(1), pytest.approx(0))


def test_split_mean_and_deviation_are_those_of_contiguous_parts(rng):
    probabilities = rng.dirichlet(np.full(10, 0.3), 203)
    parts = [inception_score(probabilities[k * 203 // 4 : (k + 1) * 203 // 4])[0] for k in range(4)]
    assert inception_score(probabilities, 4) == (
        pytest.approx(np.mean(parts)),
        pytest.approx(np.std(parts)),
    )


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_equals_torch_fidelity(rng, splits):
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.from_numpy(rng.normal(0, 3, (203, 10)))
    expected = isc_features_to_metric(logits, splits, False, 0)
    mean, std = inception_score(logits.softmax(1).numpy(), splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-9, abs=1e-12)


def test_inception_score_errors_name_their_cause():
    even = np.full((4, 10), 0.1)
    with pytest.raises(ValueError, match="5 splits need as many rows"):
        inception_score(even, 5)
    with pytest.raises(ValueError, match="NaN"):
        inception_score(even * np.nan)
    with pytest.raises(ValueError, match="summing to 1"):
        inception_score(even * 2)
    with pytest.raises(ValueError, match="not negative"):
        inception_score(np.array([[1.5, -0.5]]))
