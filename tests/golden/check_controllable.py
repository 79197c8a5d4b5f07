"""Checks of golden/sde on inpainting and colourisation in the authors' way, with an analytic score
and on networks.
"""

from pathlib import Path

import torch
from check_adapter import method_of
from check_sde import (
    NAMES,
    RANGES,
    close,
    process_of,
    read,
    recorded_noise,
    score_of,
    spent,
    tolerance,
)
from exact import Replay

from methods.shared.controllable import Known, Replacement, grey_basis
from methods.shared.grids import published_grid
from methods.shared.predictor_corrector import predictor_corrector


def check_matrix(path: Path, entry: dict, manifest: dict) -> None:
    arrays, basis = read(path), grey_basis()
    close(basis, arrays["out/M"], tolerance(manifest))
    close(basis.T, arrays["out/invM"], tolerance(manifest))


def check_inpainting(path: Path, entry: dict, manifest: dict) -> None:
    arrays = read(path)
    check(path, entry, manifest, Known(arrays["in/data"], arrays["in/mask"]))


def check_colourisation(path: Path, entry: dict, manifest: dict) -> None:
    check(path, entry, manifest, Known.grey(read(path)["in/gray"]))


def check(path: Path, entry: dict, manifest: dict, known: Known) -> None:
    config, arrays = entry["config"], read(path)
    if "net_file" in config:
        method = method_of(path, config, manifest)
        process, score_fn, steps = (
            method.process,
            method.score_fn(method.average),
            config["sde"]["N"],
        )
    else:
        process, steps = process_of(entry)
        score_fn = score_of(config, process)
    prior, *draws = recorded_noise(arrays)
    hook, stream = (
        Replacement(process, known, published=True),
        Replay(*spent(draws, config, hooks=1)),
    )
    with torch.no_grad():
        x = predictor_corrector(
            process,
            score_fn,
            hook.begin(process.prior(prior.shape, Replay(prior)), stream),
            published_grid(steps, config["eps"]),
            stream,
            predictor=NAMES.get(config["predictor"], config["predictor"]),
            corrector=config["corrector"],
            snr=config["snr"],
            corrector_steps=config["n_steps"],
            norms="batch",
            variance="posterior" if config["sde"]["kind"] == "ve" else "transition",
            probability_flow=config.get("probability_flow", False),
            last_noise=True,
            published_steps=steps,
            hook=hook,
        )
    assert not stream.draws
    x = hook.finish(x, config["eps"]) if config["denoise"] else x
    back, _ = RANGES[config["inverse_scaler"]]
    close(back(x), arrays["out/x"], tolerance(manifest))


CHECKS = {
    "sde/colorization_matrix": check_matrix,
    "sde/inpaint_analytic_": check_inpainting,
    "sde/inpaint_net_": check_inpainting,
    "sde/colorize_": check_colourisation,
}
