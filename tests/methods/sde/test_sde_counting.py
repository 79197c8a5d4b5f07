"""What plans price the classifier that guides Score-SDE's samples by, against torch's own counter
on it.
"""

import pytest
from flops import counted

from bench.schema import build
from methods.sde.card import CARD
from methods.sde.card import Classifier as ClassifierParams
from methods.sde.classifier import Classifier


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        (
            "ve/cifar10_ncsnpp_deep_continuous",
            107_587_075 - 128,
        ),  # the frequencies of its embedding are not trained
        ("vp/cifar10_ddpmpp_deep_continuous", 106_632_579),
        ("vp/ddpm/church", 111_569_923),
        ("ve/ffhq_ncsnpp_continuous", 105_785_896 - 16),
    ],
)
def test_published_networks_have_as_many_weights_as_the_authors_tell(preset, parameters):
    (cost,) = CARD.networks(build(CARD.params, CARD.presets[preset]), CARD.shapes[preset], 10)
    assert cost.parameters == parameters


def test_classifiers_are_counted():
    settings = ClassifierParams(kind="resnet", steps=10, batch=4)
    cost = settings.cost((1, 8, 8), 10)
    flops, parameters = counted(lambda: Classifier(1, 10, **settings.keywords()), 1, (8, 8))
    assert (cost.flops, cost.parameters, cost.images) == (flops, parameters, 40)


def test_a_classifier_is_priced_beside_the_score():
    guided = build(CARD.params, {"classifier": {"kind": "resnet"}})
    assert len(CARD.networks(guided, (3, 32, 32), 10)) == 2
