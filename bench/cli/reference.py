"""The command ``reference``: exchange reference statistics with .npz files."""

import argparse
import sys
from pathlib import Path

from bench.cli.exit_status import DONE, FAILED, WRONG
from bench.cli.options import Command, add_device, add_folders, store_of, unusable
from bench.files import write
from bench.printable import say


def _options(parser: argparse.ArgumentParser) -> None:
    add_folders(parser)
    parser.add_argument(
        "do",
        choices=("export", "import"),
        help="export: write FILE; import: read it into the store",
    )
    parser.add_argument("file", metavar="FILE", help="an .npz file")
    parser.add_argument("--dataset", metavar="NAME", help="export: whose images")
    parser.add_argument(
        "--split", choices=("train", "test"), default="train", help="export: which of them (train)"
    )
    parser.add_argument(
        "--extractor",
        metavar="NAME",
        default="inception",
        help="export: in whose features (inception)",
    )
    parser.add_argument(
        "--features", action="store_true", help="export: each image's features too, as pool_3"
    )
    add_device(parser, "export: ")


def _reference(options: argparse.Namespace) -> int:
    return _import(options) if options.do == "import" else _export(options)


def _import(options: argparse.Namespace) -> int:
    from bench.metrics.references import References
    from bench.metrics.statistics_file import describe_statistics, import_statistics

    store = store_of(options)
    try:
        sha256 = import_statistics(store, Path(options.file))
    except ValueError as error:
        say(error, file=sys.stderr)
        return FAILED
    say(describe_statistics(References(store).facts(sha256)))
    say(f"imported into {store.root}; in a suite: {{metric: fid, statistics: {sha256}}}")
    return DONE


def _export(options: argparse.Namespace) -> int:
    if options.dataset is None:
        status, reasons = WRONG, ["export needs --dataset"]
    else:
        status, reasons = unusable(options.dataset, options.extractor, options.device)
    if reasons:
        say("\n".join(reasons), file=sys.stderr)
        return status
    from bench.data.images import load_images
    from bench.metrics.extractors import load_extractor
    from bench.metrics.references import References
    from bench.metrics.statistics_file import export_statistics

    try:
        data = load_images(options.dataset)
        extractor = load_extractor(options.extractor, options.device, data)
        references = References(store_of(options))
        content = export_statistics(references, data, options.split, extractor, options.features)
    except ValueError as error:
        say(error, file=sys.stderr)
        return FAILED
    write(Path(options.file), content)
    of = f"{options.dataset} {options.split} by {options.extractor}"
    say(f"{options.file}: {of}, {len(content) / 1e6:.1f} MB")
    return DONE


COMMAND = Command(_reference, _options)
