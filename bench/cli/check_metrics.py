"""The command ``check-metrics``: do distances rise with known damage, and do libraries agree on
equal features?
"""

import argparse
import sys

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.cli.options import Command, add_device, add_folders, store_of, unusable
from bench.data.registry import DATASETS
from bench.data.subset import describe_part
from bench.metrics.extractor_cards import default_extractor, extractor_label
from bench.printable import say

VERDICTS = {True: "ok", False: "FAILS", None: "  "}


def _options(parser: argparse.ArgumentParser) -> None:
    add_folders(parser)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="digits",
        help="data set whose images are damaged (digits)",
    )
    parser.add_argument(
        "--extractor",
        metavar="NAME",
        help="in whose features (default: an installed extractor that fits)",
    )
    parser.add_argument(
        "--images", metavar="N", type=int, default=500, help="held-out images at most (500)"
    )
    add_device(parser)


def _check_metrics(options: argparse.Namespace) -> int:
    status, reasons = unusable(options.dataset, None, options.device)
    if not reasons and options.images < 2:
        status, reasons = WRONG, [f"--images should be at least 2, got {options.images}"]
    if not reasons:
        try:
            name = options.extractor or default_extractor(DATASETS[options.dataset])
        except ValueError as error:
            status, reasons = WRONG, [str(error)]
        else:
            status, reasons = unusable(options.dataset, name, options.device)
    if reasons:
        say("\n".join(reasons), file=sys.stderr)
        return status
    from bench.data.images import load_images
    from bench.metrics.audit import check
    from bench.metrics.references import References

    part = describe_part(options.images, DATASETS[options.dataset].splits["test"])
    held_out = f"held-out images ({part})" if part else "held-out images"
    label = extractor_label(name)
    say(f"{options.dataset} in the features of {label}, {held_out} against training images")
    verdicts = []
    try:
        for finding in check(
            load_images(options.dataset),
            name,
            count=options.images,
            device=options.device,
            references=References(store_of(options)),
        ):
            say(f"{VERDICTS[finding.right]:<6}{finding.what}: {finding.found}", flush=True)
            verdicts.append(finding.right)
    except (ValueError, OSError) as error:
        say(f"FAILS {error}", file=sys.stderr)
        return FAILED
    right, failed = verdicts.count(True), verdicts.count(False)
    say(f"{right} of {right + failed} are as they should be" + f"; {failed} FAIL" * bool(failed))
    return FAILED if failed else DONE


COMMAND = Command(_check_metrics, _options)
