r"""What a prediction of the clean image says of the distribution at its time: the score, and the
velocity of the flow.

With :math:`\hat{x}_0 = \mathbb{E}[x_0 \mid x_t = x]`,

.. math:: \nabla \log p_t(x) = \frac{C_t \hat{x}_0 - x}{s_t^2}, \qquad
          v(x, t) = \dot{C}_t \hat{x}_0 + \frac{\dot{s}_t}{s_t} (x - C_t \hat{x}_0)

Particles that move by dx/dt = v have the marginals of the corruption. It needs noise, s > 0, but no
inverse of C.

Shapes: B images, x is (B, C, H, W), t is (B,). Time: t = 0 is data, t = 1 is noise.

Source: Daras et al., 2022, https://arxiv.org/abs/2209.05442 (section 3) for the score; the velocity
is the mean of :math:`\dot{C}_t x_0 + \dot{s}_t z` given x_t, as in Lipman et al., 2022,
https://arxiv.org/abs/2210.02747 (theorem 1).
"""

from collections.abc import Callable

from torch import Tensor

from methods.shared.process import like
from methods.soft.corruption import Corruption

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""The clean image expected behind a corrupted one: (x of shape (B, C, H, W), t of shape (B,)) ->
x's shape.
"""


def residual(network: Denoiser) -> Denoiser:
    r"""Returns the denoiser :math:`x + \phi(x, t)`: the network undoes the corruption."""
    return lambda x, t: x + network(x, t)


def score(corruption: Corruption, clean: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Returns the score at x, given the clean image expected there."""
    return (corruption.apply(clean, t) - x) / like(corruption.std(t), x).square().to(x.dtype)


def velocity(corruption: Corruption, clean: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Returns the flow's velocity dx/dt at x, given its clean image; from the left at a kink."""
    return like(noise_rate(corruption, t), x).to(x.dtype) * x + velocity_of_clean(
        corruption, clean, t
    )


def velocity_of_clean(corruption: Corruption, clean: Tensor, t: Tensor) -> Tensor:
    """Returns the part of the velocity that depends on the clean image, linear in it."""
    rate = like(noise_rate(corruption, t), clean).to(clean.dtype)
    return corruption.derivative(clean, t) - rate * corruption.apply(clean, t)


def noise_rate(corruption: Corruption, t: Tensor) -> Tensor:
    """Returns the relative growth of the noise, (ds/dt) / s, of t's shape."""
    return corruption.std_derivative(t) / corruption.std(t)
