"""What the harness must know of Score-SDE before torch is imported.

The bare parameters are the paper's continuous DDPM++ run on CIFAR-10 with the VP process; a suite
overrides any of them by name. Standard library only.
"""

from dataclasses import field, replace
from typing import Any, Literal

from bench.card import LikelihoodCard, NetworkCost
from bench.frozen import dataclass
from methods.sde.presets import PRESETS, PUBLISHED, SHAPES
from methods.sde.sampling import SAMPLERS
from methods.shared.architecture import norm_groups
from methods.shared.counting import Tally
from methods.shared.declaration import network_card, network_cost
from methods.shared.hyperparameters import (
    ExactParams,
    LikelihoodParams,
    Prior,
    Training,
    likelihood_evaluations,
)


@dataclass(frozen=True, kw_only=True)
class Edm:
    """EDM's denoiser and noise levels (Karras et al., 2022, table 1), in its units: images in [-1,
    1].

    Args:
        sigma_data: Standard deviation of the data.
        p_mean: Mean of the log-normal noise levels' logarithm in training.
        p_std: Its standard deviation.
    """

    sigma_data: float = 0.5
    p_mean: float = -1.2
    p_std: float = 1.2

    def __post_init__(self) -> None:
        if self.sigma_data <= 0 or self.p_std <= 0:
            raise ValueError("sigma_data and p_std should be positive")


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classifier of noisy images that guides samples to a class
    (:class:`methods.sde.classifier.Classifier`).

    Args:
        kind: None, or residual blocks.
        steps: Updates.
        batch: Images per update.
        learning_rate: Adam's at its largest: it rises over a tenth of the updates and falls to 0 as
            a cosine.
        ema_half_life_images: Images after which an update's weight in the average has halved.
        width: Channels at full resolution.
        multipliers: Channels of each resolution, from full to lowest, in multiples of ``width``.
        blocks: Residual blocks per resolution.
        fourier_scale: Standard deviation of the Fourier frequencies that see the noise level's
            logarithm: small, since few of the times that it is trained at are near 0, where it
            should not lose what it knows of later ones.
        dropout: Probability of dropping an activation in training.
    """

    kind: Literal["none", "resnet"] = "none"
    steps: int = 2000
    batch: int = 128
    learning_rate: float = 1e-3
    ema_half_life_images: float = 10_000.0
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    fourier_scale: float = 0.2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 4 or not self.multipliers or min(self.multipliers) < 1 or self.blocks < 1:
            raise ValueError(
                "width should be at least 4; multipliers, at least one, and blocks at least 1"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout should be in [0, 1)")
        if self.fourier_scale <= 0:
            raise ValueError("fourier_scale should be positive")
        for channels in (self.width, *(self.width * multiplier for multiplier in self.multipliers)):
            if channels % norm_groups(channels):
                raise ValueError(
                    f"width: {norm_groups(channels)} groups do not divide {channels} channels"
                )
        _ = self.training  # which states rules of its own

    @property
    def training(self) -> Training:
        """How it is trained."""
        return Training(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup_steps=self.steps // 10,
            schedule="cosine",
            ema_half_life_images=self.ema_half_life_images,
        )

    def keywords(self) -> dict[str, Any]:
        """Returns the keywords of the network's class."""
        return {
            name: getattr(self, name)
            for name in ("width", "multipliers", "blocks", "fourier_scale", "dropout")
        }

    def cost(self, shape: tuple[int, int, int], classes: int) -> NetworkCost:
        """Returns what it costs for images of shape (C, H, W)."""
        channels, at, tally = shape[0], shape[1:], Tally()
        features, inputs = 4 * self.width, self.width
        tally.dense(2 * self.width, features)
        tally.dense(features, features)
        tally.conv(channels, self.width, at)
        for i, multiplier in enumerate(self.multipliers):
            if i > 0:
                at = tally.residual(inputs, inputs, features, at, "down")
            for _ in range(self.blocks):
                tally.residual(inputs, self.width * multiplier, features, at)
                inputs = self.width * multiplier
        tally.norm(inputs)
        tally.dense(inputs, classes)
        return replace(tally.cost, images=self.training.images)


@dataclass(frozen=True, kw_only=True)
class Params(ExactParams):
    """Score-SDE's process, network and training.

    Args:
        process: Variance exploding, variance preserving or sub-variance preserving.
        sigma_min: Least noise of VE, in units of the data range [0, 1].
        sigma_max: Largest noise of VE; "data" is the largest distance between two training images.
        beta_min: Rate of VP and sub-VP at t = 0.
        beta_max: Rate of VP and sub-VP at t = 1.
        published_rounding: Compute VP's and sub-VP's noise in the authors' order of operations,
            which loses digits near t = 0 in float32.
        time: Noise levels of the training: all times in [t_min, 1], or the ``scales`` levels of
            SMLD (VE) and DDPM (VP), whose index the network embeds.
        scales: Noise levels in discrete time.
        parametrisation: What the network stands for: the score, times the standard deviation; what
            is left of it beside the score of the prior ("mixed", the VP baseline of CLD; VP and
            sub-VP in continuous time); or EDM's denoiser, with EDM's noise levels and weights in
            the loss (VE alone).
        edm: Constants of EDM's denoiser and loss.
        weighting: Of the loss over time: "std" (equally loud noise levels) or "likelihood".
        t_sampling: Times of the loss: uniform, or with "likelihood" weighting in proportion to the
            weight, which leaves the expectation as it is and takes out the weight's share of the
            variance.
        reduction: The loss of an image: the mean over dimensions, or the authors' half of the sum.
        t_min: Least time of the loss.
        prior: Where sampling starts and the likelihood ends.
        classifier: A classifier trained beside the score network, for samples of a class.
        class_dropout: The network is trained on the images' classes too, and with this probability
            on none of them, for samples of a class by classifier-free guidance; null trains it
            without classes.
    """

    process: Literal["ve", "vp", "subvp"] = "vp"
    sigma_min: float = 0.01
    sigma_max: Literal["data"] | float = "data"
    beta_min: float = 0.1
    beta_max: float = 20.0
    published_rounding: bool = False
    time: Literal["continuous", "discrete"] = "continuous"
    scales: int = 1000
    parametrisation: Literal["score", "mixed", "edm"] = "score"
    edm: Edm = field(default_factory=Edm)
    weighting: Literal["std", "likelihood"] = "std"
    t_sampling: Literal["uniform", "importance"] = "uniform"
    reduction: Literal["mean", "sum"] = "mean"
    t_min: float = 1e-5
    prior: Prior = field(default_factory=Prior)
    classifier: Classifier = field(default_factory=Classifier)
    class_dropout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_min <= 0 or (self.sigma_max != "data" and self.sigma_max <= self.sigma_min):
            raise ValueError("0 < sigma_min < sigma_max should hold")
        if not 0 <= self.beta_min < self.beta_max:
            raise ValueError("0 <= beta_min < beta_max should hold")
        if not 0 < self.t_min < 1:
            raise ValueError("t_min should be in (0, 1)")
        self._check_objective()
        if self.class_dropout is not None:
            self._check_classes()
        if self.exact:
            self._check_exact()

    def _check_objective(self) -> None:
        if self.scales < 2:
            raise ValueError("scales should be at least 2")
        if self.t_sampling == "importance" and self.weighting != "likelihood":
            raise ValueError("t_sampling importance goes with weighting likelihood")
        if self.parametrisation == "edm":
            self._check_edm()
        if self.parametrisation == "mixed" and (self.process == "ve" or self.time == "discrete"):
            raise ValueError(
                "parametrisation mixed goes with process vp or subvp, and time continuous"
            )
        if self.time == "discrete":
            self._check_discrete()

    def _check_classes(self) -> None:
        if self.class_dropout is None or not 0 < self.class_dropout < 1:
            raise ValueError("class_dropout should be in (0, 1), or null to train without classes")
        if self.classifier.kind != "none":
            raise ValueError("class_dropout guides without a classifier: classifier.kind be none")
        if self.network.architecture != "ncsnpp" or not self.network.conditional:
            raise ValueError("class_dropout goes with network.architecture ncsnpp, conditional")

    def _check_exact(self) -> None:
        usual = {"time": "continuous", "parametrisation": "score"}
        for name, value in usual.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"exact is the score in continuous time: {name} should stay {value}"
                )
        if self.classifier.kind != "none" or self.class_dropout is not None:
            raise ValueError(
                "exact trains nothing: classifier.kind should stay none, class_dropout null"
            )

    def _check_edm(self) -> None:
        if self.process != "ve":
            raise ValueError("parametrisation edm goes with process ve")
        usual = {
            "time": "continuous",
            "weighting": "std",
            "t_sampling": "uniform",
            "reduction": "mean",
        }
        for name, value in usual.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"parametrisation edm has a loss of its own: {name} should stay {value}"
                )

    def _check_discrete(self) -> None:
        if self.process == "subvp":
            raise ValueError("sub-VP has no discrete time: SMLD is of ve, DDPM of vp")
        if self.weighting != "std":
            raise ValueError("time discrete has weighting std alone")
        if self.network.condition == "log":
            raise ValueError("time discrete embeds an index: the embedding should be positional")
        if self.process == "vp" and self.scales <= self.beta_max:
            raise ValueError(
                f"DDPM's betas go up to beta_max / scales: scales should exceed {self.beta_max}"
            )

    def refuse(self, shape: tuple[int, int, int]) -> list[str]:
        """Returns the reasons why these cannot be for images of shape (C, H, W)."""
        reasons, halvings = super().refuse(shape), len(self.classifier.multipliers) - 1
        guided = self.classifier.kind != "none"
        if guided and (shape[1] % 2**halvings or shape[2] % 2**halvings):
            reasons.append(
                f"classifier.multipliers halve the image {halvings} times, which "
                f"{shape[1]}x{shape[2]} does not allow"
            )
        return reasons


def _variant(params: Params) -> str:
    named = [f"exact{params.mistakes.label}"] if params.exact else []
    named += [] if params.parametrisation == "score" else [params.parametrisation]
    named += [params.time] if params.time == "discrete" else []
    return ", ".join([params.process, *named])


def _networks(params: Params, shape: tuple[int, int, int], classes: int) -> tuple[NetworkCost, ...]:
    score = network_cost(params, shape, told=0 if params.class_dropout is None else classes)
    guide = params.classifier
    return score if guide.kind == "none" else (*score, guide.cost(shape, classes))


def _refuse_condition(params: Params, task: str) -> list[str]:
    if task == "class" and not needs_classes(params):
        return [
            "samples of a class are guided by a classifier or by a network that knows classes, and "
            "none is trained: set params.classifier.kind or params.class_dropout"
        ]
    return []


def needs_classes(params: Params) -> bool:
    """Tells whether training reads the images' classes."""
    return params.classifier.kind != "none" or params.class_dropout is not None


CARD = network_card(
    name="sde",
    title="Score-SDE",
    version=2,
    paper="https://arxiv.org/abs/2011.13456",
    adapter="methods.sde.adapter:ScoreSDE",
    params=Params,
    samplers=SAMPLERS,
    variant=_variant,
    presets=PRESETS,
    shapes=SHAPES,
    published=PUBLISHED,
    checkpoints=True,
    networks=_networks,
    likelihood=LikelihoodCard(version=1, params=LikelihoodParams, guess=likelihood_evaluations),
    needs_classes=needs_classes,
    refuse_condition=_refuse_condition,
    smoke={"training": {"steps": 3}, "classifier": {"steps": 3}},
)
