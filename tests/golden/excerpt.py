"""Copies a few files of the golden sets, every kind once, to tests/golden/data, with manifests of
the same layout.

python tests/golden/excerpt.py FOLDER    (with FOLDER/sde, FOLDER/cld, FOLDER/oracle)
"""

import json
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

CHOSEN = {
    "sde": (
        "sde_functions_[012]_*",
        "pc_analytic_ve_none_ald",
        "pc_analytic_ve_ancestral_sampling_langevin",
        "pc_analytic_ve_reverse_diffusion_langevin_nsteps3",
        "pc_analytic_vp_none_langevin",
        "pc_analytic_vp_ancestral_sampling_none",
        "pc_analytic_vp_euler_maruyama_ald",
        "pc_analytic_vp_reverse_diffusion_none_pflow",
        "pc_analytic_subvp_euler_maruyama_none",
        "pc_analytic_subvp_reverse_diffusion_none",
        "pc_net_t_ve_reverse_diffusion_langevin",
        "pc_net_ncsnpp_ve_discrete_positional_*",
        "pc_net_ddpm_vp_*_discrete",
        "ode_net_t_ve",
        "lik_net_t_ve",
        "net_t_ve",
        "net_ddpm_vp",
        "ode_analytic_ve_denoise1",
        "ode_analytic_vp_denoise0",
        "ode_analytic_subvp_denoise1",
        "lik_analytic_ve_rademacher",
        "lik_analytic_vp_gaussian",
        "lik_analytic_subvp_rademacher",
        "net_ncsnpp_ve_discrete_positional",
        "net_ddpmpp_vp",
        "net_ncsnpp_ve_unconditional_relu",
        "loss_ncsnpp_ve_discrete_positional",
        "loss_ddpmpp_vp",
        "primitives",
        "inpaint_analytic_ve",
        "colorize_analytic_vp",
        "colorization_matrix",
        "ema_trace",
        "train_trace",
        "checkpoint_authors_format",
        "preprocess_celeba",
        "net_ncsn_rgb16",
        "loss_ncsn_rgb16",
        "ald_ncsn_analytic",
        "ald_ncsn_rgb16",
        "inpaint_ncsn_analytic",
        "net_ncsnv2_16",
        "net_ncsnv2_deepest24",
        "loss_ncsnv2_16",
        "ald_ncsnv2_16_denoise1",
        "ncsnv2_samplers_analytic",
        "ema_ncsnv2",
    ),
    "cld": (
        "kernel",
        "ops",
        "arch",
        "checkpoint",
        "checkpoint_authors_format",
        "net_vplike",
        "net/vplike",
        "loss/lin_cifar_img_hsm_mixed1_*",
        "loss/lin_celeba_post_vec_dsm_*",
        "loss/lin_vp_img_hsm_mixed1_*",
        "loss/net_vplike_likelihood",
        "sampler/*_lin_cifar_quadratic_den1_vec",
        "sampler/*_gauss_celeba_post_linear_den0_vec",
        "sampler/ode_gauss_celeba_post_*",
        "sampler/em_lin_vp_quadratic_den1_vec",
        "sampler/ode_gauss_vp_*",
        "sampler/step_*",
        "nll/gauss_cifar_*",
        "nll/lin_celeba_post_gaussian_scipy_solver",
        "nll/gauss_vp_*",
        "nll/bpd_vplike",
        "train/resnet_adamw",
    ),
    "oracle": (
        "data_gauss",
        "data_lowrank",
        "data_gmm",
        "point__lowrank__subvp",
        "point__lowrank__ve",
        "point__gmm__vp",
        "lik__gauss__vp",
        "loss__gmm",
        "sampler__lowrank__ve__ve_*",
        "sampler__lowrank__vp__ddim",
        "sampler__lowrank__vp__vp_*",
        "sampler__lowrank__subvp__*",
        "sampler__gauss__vp__pf_heun",
        "sampler__lowrank__ncsn__*",
        "inception_score",
        "frechet",
        "cld_kernels",
        "point__lowrank__cld",
        "lik__gauss__cld",
        "sampler__lowrank__cld__*",
        "ops",
        "point__lowrank__soft_[bp]*",
        "point__lowrank__soft_matrix",
        "point__gmm__soft_mask",
        "lik__gauss__soft_plateau",
        "sampler__lowrank__soft_mask__ddim",
        "sampler__lowrank__soft_mask__naive",
        "sampler__lowrank__soft_mask__pf_euler",
        "sampler__lowrank__soft_matrix__momentum",
        "sampler__lowrank__soft_plateau__ancestral",
        "sampler__gauss__soft_blur__momentum",
        "sampler__gauss__soft_blur__pf_heun",
        "sampler__gauss__soft_plateau__churn1.0",
    ),
}
"""Globs on the files' stems, or on "stem/case" where a file has cases of which some will do."""


def excerpt(source: Path, target: Path, globs: tuple[str, ...]) -> None:
    """Copies the files of one set that fit a glob, and the manifest with no other files in it.

    A glob on "stem/case" takes those cases of a file alone, with what else the file holds under
    their names.
    """
    manifest = json.loads((source / "manifest.json").read_text())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for listed in {"files", "files_other"} & manifest.keys():
        entries = {name: _chosen(name, entry, globs) for name, entry in manifest[listed].items()}
        manifest[listed] = {name: entry for name, entry in entries.items() if entry is not None}
        for name, entry in manifest[listed].items():
            _copy(source / name, target / name, entry.get("cases"))
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _chosen(name: str, entry: dict, globs: tuple[str, ...]) -> dict | None:
    """Returns a file's entry with the chosen cases alone, None where nothing of the file is
    chosen.
    """
    stem = Path(name).stem
    if any(fnmatchcase(stem, glob) for glob in globs):
        return entry
    cases = entry.get("cases", {})
    kept = {
        case: value
        for case, value in cases.items()
        if any(fnmatchcase(f"{stem}/{case}", glob) for glob in globs)
    }
    return {**entry, "cases": kept} if kept else None


def _copy(source: Path, target: Path, cases: dict | None) -> None:
    if cases is None:
        shutil.copyfile(source, target)
        return
    with np.load(source) as arrays:
        np.savez_compressed(
            target, **{name: arrays[name] for name in arrays if name.split("/")[0] in cases}
        )


if __name__ == "__main__":
    for name, globs in CHOSEN.items():
        excerpt(Path(sys.argv[1]) / name, HERE / "data" / name, globs)
