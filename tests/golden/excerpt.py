"""Copies a few files of the golden sets, every kind once, to tests/golden/data, with manifests of the same layout.

python tests/golden/excerpt.py FOLDER    (with FOLDER/sde, FOLDER/cld, FOLDER/oracle)
"""

import json
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent

CHOSEN = {
    "sde": (
        "sde_functions_*",
        "pc_analytic_*",
        "pc_net_t_ve_reverse_diffusion_langevin",
        "pc_net_t_subvp_euler_maruyama_none",
        "pc_net_ncsnpp_ve_discrete_positional_*",
        "pc_net_ddpm_vp_*_discrete",
        "ode_net_t_subvp",
        "lik_net_t_ve",
        "net_t_ve",
        "net_t_subvp",
        "net_ddpm_vp",
        "ode_analytic_*",
        "lik_analytic_*",
        "net_ncsnpp_ve_discrete_positional",
        "net_ddpmpp_vp",
        "loss_ncsnpp_ve_discrete_positional",
        "loss_ddpmpp_vp",
        "primitives",
        "inpaint_analytic_ve",
        "colorize_analytic_vp",
        "colorization_matrix",
        "ema_trace",
        "train_trace",
        "checkpoint_authors_format",
        "net_ddpm_vp_wide",
        "loss_ddpm_vp_wide",
    ),
    "oracle": (
        "data_gauss",
        "data_lowrank",
        "data_gmm",
        "point__lowrank__*vp",
        "point__lowrank__ve",
        "point__gmm__vp",
        "lik__gauss__ve",
        "lik__gauss__*vp",
        "loss__gmm",
        "sampler__lowrank__ve__*",
        "sampler__lowrank__*vp__*",
        "sampler__gauss__ve__ve_reverse_diffusion",
        "sampler__gauss__ve__ve_pc_ald",
        "sampler__gauss__ve__pf_heun",
        "sampler__gauss__*vp__pf_heun",
        "sampler__gauss__vp__em",
        "inception_score",
        "frechet",
    ),
}
"""Globs on the files' stems."""


def excerpt(source: Path, target: Path, globs: tuple[str, ...]) -> None:
    """Copies the files of one set that fit a glob, and the manifest with no other files in it."""
    manifest = json.loads((source / "manifest.json").read_text())
    stems = {name: Path(name).stem for name in manifest["files"]}
    chosen = [name for name, stem in stems.items() if any(fnmatchcase(stem, glob) for glob in globs)]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in chosen:
        shutil.copyfile(source / name, target / name)
    manifest["files"] = {name: manifest["files"][name] for name in chosen}
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    for name, globs in CHOSEN.items():
        excerpt(Path(sys.argv[1]) / name, HERE / "data" / name, globs)
