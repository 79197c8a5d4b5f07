"""What plans price the classifier that guides Score-SDE's samples by, against torch's own counter on it."""

from flops import counted

from bench.card import build
from methods.sde.card import CARD
from methods.sde.card import Classifier as ClassifierParams
from methods.sde.classifier import Classifier


def test_classifiers_are_counted():
    settings = ClassifierParams(kind="resnet", steps=10, batch=4)
    cost = settings.cost((1, 8, 8), 10)
    flops, parameters = counted(lambda: Classifier(1, 10, **settings.keywords()), 1, (8, 8))
    assert (cost.flops, cost.parameters, cost.images) == (flops, parameters, 40)


def test_a_classifier_is_priced_beside_the_score():
    guided = build(CARD.params, {"classifier": {"kind": "resnet"}})
    assert len(CARD.networks(guided, (3, 32, 32), 10)) == 2
