"""Checks everything that a plugin declares."""

from collections.abc import Iterator
from functools import cache, partial

from bench.card import cards
from bench.check.dataset import check_dataset
from bench.check.extractor import check_extractor
from bench.check.finding import Finding, findings
from bench.check.method import check_method, trained
from bench.check.metric import check_metric
from bench.check.order import convergence
from bench.check.sampler import check_sampler
from bench.data.images import load_images
from bench.data.registry import DATASETS
from bench.method import Method
from bench.metrics.extractor_cards import EXTRACTORS
from bench.metrics.registry import METRICS
from bench.plugins import Plugin


def check_plugin(plugin: Plugin, dataset: str) -> Iterator[tuple[str, Iterator[Finding]]]:
    """Yields what the file declares, each with its findings.

    Args:
        dataset: Whose images methods and samplers train on and extractors and metrics read.
    """
    file = str(plugin.path)

    @cache
    def model(name: str) -> Method:
        return trained(cards()[name], load_images(dataset))

    def of_extractor(name: str) -> Iterator[Finding]:
        return check_extractor(EXTRACTORS[name], load_images(dataset))

    def of_sampler(method: str, name: str) -> Iterator[Finding]:
        yield from check_sampler(model(method), name)
        yield from convergence(method, name, cards()[method].samplers[name])

    def of_method(name: str) -> Iterator[Finding]:
        return check_method(model(name), load_images(dataset))

    for kind, name in plugin.names:
        if kind == "metrics":
            check = partial(check_metric, METRICS[name], dataset)
            yield f"metric {name}", findings("metric", check, file)
        elif kind == "extractors":
            check = partial(of_extractor, name)
            yield f"extractor {name}", findings("extractor", check, file)
        elif kind == "datasets":
            check = partial(check_dataset, name, DATASETS[name])
            yield f"data set {name}", findings("data set", check, file)
        elif kind == "samplers":
            method, _, sampler = name.partition(".")
            check = partial(of_sampler, method, sampler)
            yield f"sampler {name}", findings("sampler", check, file)
        else:
            yield f"method {name}", findings("method", partial(of_method, name), file)
            for sampler in cards()[name].samplers:
                check = partial(of_sampler, name, sampler)
                yield f"sampler {name}.{sampler}", findings("sampler", check, file)
