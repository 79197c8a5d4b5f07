"""The resolved suite."""

import json

import yaml
from synthetic_suite import GOOD


def test_resolved_suite_holds_every_default_and_version(read):
    resolved = read(GOOD + "keep: {samples: 16}\n").resolved
    assert resolved["train"]["vp"] == {
        "method": "sde",
        "version": 3,
        "likelihood_version": 4,
        "inspection_version": 1,
        "paper": "https://example.org",
        "preset": None,
        "params": {
            "process": "vp",
            "sigma_min": 0.01,
            "sigma_max": "data",
            "steps": 100,
            "net": {"width": 8, "multipliers": [1, 2]},
        },
        "seeds": [0],
    }
    assert resolved["samples"] == {
        "count": 256,
        "batch": 128,
        "seeds": [0],
        "quantise": "round",
        "precision": "float32",
    }
    assert resolved["points"] == [
        {
            "train": "vp",
            "sampler": "heun",
            "version": 2,
            "times": "rho7",
            "params": {"steps": 18, "snr": 0.16},
            "grid": {"nfe": [5, 10]},
        }
    ]
    assert resolved["metrics"] == {
        "fd(train)": {"metric": "fd", "version": 5, "reference": "train"}
    }
    assert resolved["likelihood"]["methods"] == {"sde": {"tolerance": 1e-5, "probes": 1}}
    assert resolved["keep"] == {"samples": 16}
    assert yaml.safe_load(yaml.safe_dump(resolved)) == json.loads(json.dumps(resolved)) == resolved
