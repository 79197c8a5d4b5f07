"""No number moves without its version.

A training of a few steps with the tiny parameters, its samples by every sampler, its likelihood and
its inspection are boiled down to a few numbers each. ``tests/fingerprints/<method>.json`` holds
them as they were when the versions were set. They agree to 1e-3 of their size across machines and
torch builds, to 5e-3 where a solver chooses its steps; a change of the mathematics moves them
further. After raising a version on purpose, or for a new method:

    python tests/test_fingerprint.py --write
"""

import contextlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # of this checkout, whatever is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytest
import torch

from bench.card import BudgetError, cards
from bench.data.images import load_images
from bench.method import Noise, Run, Sampler, load_method

FOLDER = Path(__file__).with_name("fingerprints")
REMEDY = "python tests/test_fingerprint.py --write"
ADAPTIVE = 1e-4  # of solvers that choose their steps
TOLERANCE = 1e-3  # of the root mean square
ADAPTIVE_TOLERANCE = (
    5e-3  # rounding decides whether a step is taken, which moves more than ADAPTIVE
)
LEARNED_TOLERANCE = 1e-2  # Adam's first steps amplify rounding where a gradient nearly vanishes
BUDGET = 10


def numbers(values):
    """Returns root mean square, mean, and mean product with fixed random signs of a tensor's
    values.
    """
    values = values.detach().double().flatten()
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], len(values)))
    return {
        "size": values.square().mean().sqrt().item(),
        "mean": values.mean().item(),
        "signed": (values * signs).mean().item(),
    }


def sampler_of(sampler, name):
    """Returns the sampler as its card has it, at about BUDGET evaluations, or at tolerance
    ADAPTIVE.
    """
    params = sampler.params()
    if not sampler.effort.exact:
        params = replace(params, tolerance=ADAPTIVE) if hasattr(params, "tolerance") else params
    else:
        for budget in range(BUDGET, 10_000):
            try:
                params = replace(params, **sampler.effort.fit(budget, params))
                break
            except BudgetError:
                continue
    return Sampler(name, next(iter(sampler.times), ""), params)


class Stop(Exception):
    """The training was asked to stop."""


def trained(card, data, stop_after=None):
    """Returns a method after its training, or after that many steps of it, and the losses that it
    logged.
    """
    method, curve = load_method(card.name, card.tiny, data), []

    def checkpoint(step, tensors):
        if step == stop_after:
            raise Stop

    with contextlib.suppress(Stop):
        method.train(
            data,
            Run(
                seed=0,
                checkpoint=checkpoint,
                log=lambda images, **values: curve.append(values["loss"]),
            ),
        )
    return method, torch.tensor(curve)


def flat(method):
    return torch.cat([tensor.double().flatten() for _, tensor in sorted(method.state().items())])


def shake(networks, untrained):
    """Gives networks the weights of untrained ones, moved at random so that they have something to
    say.

    Trained weights differ from machine to machine by what Adam makes of rounding, enough to decide
    whether an adaptive solver takes a step; these do not.
    """
    noise = Noise(0, ("shake",))
    with torch.no_grad():
        for network, other in zip(networks, untrained, strict=True):
            network.load_state_dict(other.state_dict())
            for weight in network.parameters():
                weight.add_(0.1 * noise.normal(weight.shape).to(weight.device))


def fingerprint(card):
    """Returns version and numbers of a method's training, its samplers, its likelihood and its
    inspection, by name.
    """
    torch.set_num_threads(1)
    data = load_images("digits")
    torch.manual_seed(0)
    untrained = load_method(card.name, card.tiny, data).networks
    method, curve = trained(card, data)
    weights, first = flat(method), flat(trained(card, data, stop_after=1)[0])
    training = {
        "weights": numbers(weights),
        "learned": numbers(weights - first),
        "loss": numbers(curve),
    }
    found = {card.name: {"version": card.version, **training}}
    shake(method.networks, untrained)
    for name, sampler in card.samplers.items():
        images = method.sample(4, sampler_of(sampler, name), Noise(0))
        found[f"{card.name}.{name}"] = {"version": sampler.version, "images": numbers(images)}
    if card.likelihood is not None:
        params = card.likelihood.params()
        params = replace(params, tolerance=ADAPTIVE) if hasattr(params, "tolerance") else params
        scored = method.score(torch.from_numpy(data.test[:2].astype(np.int64)), Noise(0), params)
        values = {name: numbers(tensor) for name, tensor in scored.values.items()}
        found[f"likelihood of {card.name}"] = {"version": card.likelihood.version, **values}
    seen = method.inspect(data.scaled(torch.from_numpy(data.test[:4]).float()), Noise(0))
    values = {"losses": numbers(seen.losses), "times": numbers(seen.times)}
    found[f"inspection of {card.name}"] = {"version": card.inspection, **values}
    return found


def moved(now, then, tolerance=TOLERANCE):
    """Returns what differs by more than the tolerance: ``images.mean 0.48, was 0.51``."""
    found = []
    for what in now.keys() - {"version"}:
        share = LEARNED_TOLERANCE if what == "learned" else tolerance
        most = share * then[what]["size"]
        for name, value in now[what].items():
            if not abs(value - then[what][name]) <= most:
                found.append(f"{what}.{name} {value:.6g}, was {then[what][name]:.6g}")
    return sorted(found)


def tolerance_of(name, card):
    """Returns the tolerance for what a method's fingerprint calls ``name``."""
    sampler = card.samplers.get(name.removeprefix(f"{card.name}."))
    adaptive = name.startswith("likelihood") if sampler is None else not sampler.effort.exact
    return ADAPTIVE_TOLERANCE if adaptive else TOLERANCE


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_numbers_move_only_with_their_version(card):
    file = FOLDER / f"{card.name}.json"
    assert file.exists(), f"there is no {file.name} yet: {REMEDY}"
    tracked, current = json.loads(file.read_text()), fingerprint(card)
    assert tracked.keys() == current.keys(), f"samplers came or went: {REMEDY}"
    # A newly trained model moves all that is made from it: then only the method's own version has
    # to say so.
    assert current[card.name]["version"] == tracked[card.name]["version"], (
        f"{card.name} has a new version: {REMEDY}"
    )
    for name, now in current.items():
        then = tracked[name]
        assert now["version"] == then["version"], f"{name} has a new version: {REMEDY}"
        assert now.keys() == then.keys(), f"{name} gives other numbers than it did: {REMEDY}"
        found = moved(now, then, tolerance_of(name, card))
        assert not found, (
            f"numbers of {name} moved and its version is still {now['version']}: "
            f"{'; '.join(found)}. "
            f"If that is meant, raise the version and say so in the changelog; then {REMEDY}"
        )


def test_change_of_a_part_in_a_hundred_is_seen():
    values = torch.linspace(-1, 2, 100)
    first = {"images": numbers(values)}
    assert moved({"images": numbers(values * (1 + 1e-5))}, first) == []
    assert moved({"images": numbers(values * 1.01)}, first)
    assert moved({"images": numbers(values + 0.01)}, first)
    assert moved({"images": numbers(values.flip(0))}, first)
    assert moved({"images": numbers(values * math.nan)}, first)


if __name__ == "__main__" and "--write" in sys.argv:
    FOLDER.mkdir(exist_ok=True)
    for name, card in cards().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(fingerprint(card), indent=1) + "\n")
        print(f"wrote {FOLDER / name}.json")
