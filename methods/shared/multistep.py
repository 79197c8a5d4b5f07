r"""DPM-Solver++(2M): the probability flow by a multistep method that predicts the clean image.

With :math:`\lambda = \log(m / s)`, half the log-SNR, the flow from t to s is exactly

.. math:: x_s = \frac{s_s}{s_t} x_t + s_s \int_{\lambda_t}^{\lambda_s} e^{\lambda}
\hat{x}_0(\lambda)\,d\lambda ,

and the method takes :math:`\hat{x}_0` as linear in lambda, through its last two values: one network
evaluation per step, order 2.

Shapes: B images, x is (B, C, H, W). Time: t = 0 is data, t = 1 is noise.

Source: Lu et al., 2022, https://arxiv.org/abs/2211.01095 (algorithm 2).
Departures: none known; the last step is of order 2 like the others.
"""

import torch
from torch import Tensor

from bench.method import Noise
from methods.shared.process import Process
from methods.shared.samplers import ScoreFn, denoise


def dpm_solver_2m(
    process: Process, score_fn: ScoreFn, x: Tensor, times: Tensor, noise: Noise | None = None
) -> Tensor:
    """Solves the probability flow along the times, K steps for K network evaluations.

    Args:
        x: The prior's draw, shape (B, C, H, W).
        times: Decreasing, float64, shape (K + 1,); the paper's are uniform in log-SNR.
    """
    widths = 0.5 * process.log_snr(times).diff()
    std = process.std(times)
    keep = std[1:] / std[:-1]
    gain = -process.mean_coefficient(times)[1:] * torch.expm1(-widths)
    # The weight of the last difference of predictions: half the new step over the old one.
    slope = torch.cat([widths.new_zeros(1), 0.5 * widths[1:] / widths[:-1]])
    previous = None
    for t, a, b, c in zip(
        times[:-1].tolist(), keep.tolist(), gain.tolist(), slope.tolist(), strict=True
    ):
        image = denoise(process, score_fn, x, t)
        ahead = image if previous is None else image.lerp(previous, -c)
        x = (a * x).add_(ahead, alpha=b)
        previous = image
    return x
