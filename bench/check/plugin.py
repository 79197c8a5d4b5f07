"""Checks everything that a plugin declares."""

from collections.abc import Iterator
from functools import cache

from bench.card import cards
from bench.check.dataset import check_dataset
from bench.check.extractor import check_extractor
from bench.check.finding import Finding, findings
from bench.check.method import check_method, trained
from bench.check.metric import check_metric
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

    for kind, name in plugin.names:
        if kind == "metrics":
            yield (
                f"metric {name}",
                findings("metric", lambda n=name: check_metric(METRICS[n], dataset), file),
            )
        elif kind == "extractors":
            yield (
                f"extractor {name}",
                findings(
                    "extractor",
                    lambda n=name: check_extractor(EXTRACTORS[n], load_images(dataset)),
                    file,
                ),
            )
        elif kind == "datasets":
            yield (
                f"data set {name}",
                findings("data set", lambda n=name: check_dataset(n, DATASETS[n]), file),
            )
        elif kind == "samplers":
            method, _, sampler = name.partition(".")
            yield (
                f"sampler {name}",
                findings("sampler", lambda m=method, s=sampler: check_sampler(model(m), s), file),
            )
        else:
            yield (
                f"method {name}",
                findings(
                    "method", lambda n=name: check_method(model(n), load_images(dataset)), file
                ),
            )
            for sampler in cards()[name].samplers:
                yield (
                    f"sampler {name}.{sampler}",
                    findings("sampler", lambda n=name, s=sampler: check_sampler(model(n), s), file),
                )
