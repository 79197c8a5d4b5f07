"""A small suite whose cost is known, and executors for it."""

from bench.execute.slurm.resources import Resources

NETWORK = "{width: 8, multipliers: [1, 2], blocks: 1, attention: [4]}"


SUITE = f"""
name: small
dataset: digits
metrics: [{{metric: fd, allow_few: true}}]
samples: {{count: 40, batch: 20}}
likelihood: {{images: 30, batch: 20, tolerance: 1.0e-3, probes: 2}}
train:
  vp:
    method: sde
    seeds: [0]
    params: {{network: {NETWORK}, training: {{steps: 100, batch: 10}}}}
points:
  - {{train: vp, sampler: euler_maruyama, grid: {{nfe: [10, 100]}}}}
  - {{train: vp, sampler: flow_adaptive, grid: {{tolerance: [1.0e-5]}}}}
"""


STAGES = ("train", "samples", "likelihood", "inspect", "scores")


GPU = {stage: Resources(gpus=1, cpus=4, minutes=600) for stage in STAGES}


CPU = {stage: Resources(cpus=4, minutes=600) for stage in STAGES}


def of_stage(jobs, stage):
    return [job for job in jobs if job.stage == stage]


def made(**facts):
    return {
        "accelerator": "cpu",
        "threads": 1,
        "tf32": False,
        "compiled": False,
        "device": "Xeon",
        **facts,
    }
