"""Meets the authors' recorded numbers (sde, cld) and exact answers (oracle), one item a file of a manifest.

Each module ``check_*.py`` here has a table ``CHECKS``: the beginning of "set/file", as a glob, and the function that
checks such files, called with (path, manifest entry, manifest). The longest key that fits is the one that counts. In a
file of several cases each is an item of its own, and its entry tells its name by "case".
"""

import hashlib
import importlib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SKIPS = {
    "sde/net_ncsn_": "NCSN's network is not part of this project yet",
    "sde/net_ncsnv2": "NCSNv2's network is not part of this project yet",
    "sde/loss_ncsn_": "NCSN's loss is not part of this project yet",
    "sde/loss_ncsnv2": "NCSNv2's loss is not part of this project yet",
    "sde/ald_": "annealed Langevin dynamics are not part of this project yet",
    "sde/ncsnv2_samplers": "NCSNv2's samplers are not part of this project yet",
    "sde/ema_ncsnv2": "NCSNv2's average of weights is not part of this project yet",
    "sde/inpaint_ncsn_": "annealed Langevin dynamics are not part of this project yet",
    "sde/preprocess_celeba": "CelebA is not a data set of this project yet",
    "cld/": "CLD is not part of this project yet",
    "oracle/cld_kernels": "CLD is not part of this project yet",
    "oracle/*__cld": "CLD is not part of this project yet",
    "oracle/*__soft_": "Soft Diffusion is not part of this project yet",
    "oracle/*__ncsn": "annealed Langevin dynamics are not part of this project yet",
    "oracle/ops": "Soft Diffusion's operators are not part of this project yet",
}

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("check_*.py"))
CHECKS = {kind: check for name in MODULES for kind, check in importlib.import_module(name).CHECKS.items()}


def test_golden(golden):
    fitting = [kind for kind in {**SKIPS, **CHECKS} if fnmatchcase(f"{golden.set}/{golden.file}", kind + "*")]
    kind = max(fitting, key=len, default=None)
    assert kind is not None, "nothing here checks files of this kind"
    if kind not in CHECKS:
        pytest.skip(SKIPS[kind])
    if "sha256" in golden.entry:
        assert hashlib.sha256(golden.path.read_bytes()).hexdigest() == golden.entry["sha256"], "the file was altered"
    CHECKS[kind](golden.path, golden.entry, golden.manifest)
