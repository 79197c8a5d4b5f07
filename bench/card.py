"""The types in which a method declares itself, so that a suite can be checked and planned without
torch.

Every folder of ``methods/`` has a ``card.py`` with one ``CARD``. Parameters are frozen dataclasses
(nested if that reads better) of plain annotated values: bool, int, float, str, ``Literal[...]``,
tuples of these, unions of these, other such dataclasses.

Standard library only.
"""

import importlib
import importlib.util
import pkgutil
import types
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import cache
from typing import Any, Literal

from bench.frozen import dataclass
from bench.spec import Values

TIMES = ("uniform", "quadratic", "log_snr", "rho7")
"""Time grids by name: uniform in t, quadratic in t, uniform in log-SNR, and EDM's sigma grid with
rho = 7.
"""


class BudgetError(ValueError):
    """No number of steps fits into the budget; the message says what the least is."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many network evaluations per image a sampler spends, and which parameter sets them.

    Args:
        evaluations: Their number, given the sampler's parameters; None if only a run can tell.
        exact: Whether a run spends exactly as many, which the harness checks by counting. False for
            adaptive solvers: then the number is an estimate for plans, and budgets are refused.
        parameter: The parameter that a budget sets, or a rule that names it for given parameters.
        least: Its smallest value, by name, unless that is 1.
    """

    evaluations: Callable[[Any], float] | None = lambda params: params.steps
    exact: bool = True
    parameter: str | Callable[[Any], str] = "steps"
    least: Mapping[str, int] = field(default_factory=dict)

    def name(self, params: Any) -> str:
        """Returns the parameter that sets the effort."""
        return self.parameter(params) if callable(self.parameter) else self.parameter

    def stated(self, params: Any) -> Values:
        """Returns the value that labels and keys hold even if it is the default.

        It is empty if other parameters decide which one sets the effort.
        """
        if callable(self.parameter) or not hasattr(params, self.parameter):
            return {}
        return {self.parameter: getattr(params, self.parameter)}

    def fit(self, budget: int, params: Any) -> Values:
        """Returns the value to set so that the most of ``budget`` evaluations per image is spent.

        Raises:
            BudgetError: Not even the least value fits, or the sampler is adaptive.
        """
        if not self.exact or self.evaluations is None:
            raise BudgetError("an adaptive sampler has no budget: give it a tolerance")
        name, evaluations = self.name(params), self.evaluations

        def cost(value: int) -> float:
            return evaluations(replace(params, **{name: value}))

        low, high = self.least.get(name, 1), budget + 1
        if cost(low) > budget:
            what = "one step" if name == "steps" else f"{name} {low}"
            least = cost(low)
            raise BudgetError(f"{what} costs {least} evaluation{'' if least == 1 else 's'}")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= budget else (low, middle)
        return {name: low}


def adaptive(estimate: Callable[[Any], float] | None = None) -> Effort:
    """Returns the effort of a solver that chooses its steps by a tolerance, with an estimate."""
    return Effort(evaluations=estimate, exact=False, parameter="tolerance")


@dataclass(frozen=True, kw_only=True)
class SamplerCard:
    """What the harness must know of a sampler. The defaults are those of one evaluation per step.

    Args:
        params: Frozen dataclass of the sampler's parameters, all with defaults.
        function: ``package.module:function`` of the sampler, or the function itself if its file
            imports no torch outside functions; empty for an adapter that runs its own samplers.
        effort: What it spends of a budget.
        times: Time grids that the sampler accepts, its default first; empty if it takes none.
        batch_coupled: Whether one image of a batch changes another, or a rule that says so of the
            parameters.
        conditions: What it can sample under (tasks of :mod:`bench.data.conditioning`), with the
            network evaluations that each of ``effort`` then takes: 2 if a classifier is evaluated
            beside the score.
        refuse: Reasons why these method parameters, sampler parameters and time grid cannot go
            together (none: an empty list).
    """

    version: int
    summary: str
    params: type
    function: str | Callable[..., Any] = ""
    effort: Effort = Effort()
    times: tuple[str, ...] = ()
    batch_coupled: bool | Callable[[Any], bool] = False
    conditions: Mapping[str, int] = field(default_factory=dict)
    refuse: Callable[[Any, Any, str], list[str]] = lambda method_params, sampler_params, times: []

    def couples(self, params: Any) -> bool:
        """Tells whether one image of a batch changes another with these parameters."""
        return self.batch_coupled(params) if callable(self.batch_coupled) else self.batch_coupled

    def load(self) -> Callable[..., Any]:
        """Returns the sampler's function; this imports its module."""
        return load(self.function)


def sampler_card(
    function: Callable[..., Any], params: type, *, per_step: int = 1, **more: Any
) -> SamplerCard:
    """Returns the card of a sampler of fixed steps, with the usual in place of what is not given.

    Args:
        function: The sampler; the first line of its docstring is the summary.
        params: Its parameters, with ``steps``.
        per_step: Network evaluations of a step.
        more: Other fields of :class:`SamplerCard`; ``times`` are all of :data:`TIMES` by default.
    """
    usual: dict[str, Any] = {
        "version": 1,
        "summary": (function.__doc__ or function.__name__).strip().splitlines()[0],
        "effort": Effort(evaluations=lambda chosen: per_step * chosen.steps),
        "times": TIMES,
    }
    return SamplerCard(function=function, params=params, **usual | more)


@dataclass(frozen=True, kw_only=True)
class LikelihoodCard:
    """What the harness must know of a method's likelihood.

    Args:
        params: Frozen dataclass of its parameters (eps, tolerance, probes, ...), all with defaults.
        kind: "exact" along the flow, or a "bound", which never competes with exact values.
        refuse: Reasons why models of these parameters have none, shown in its place in tables
            (none: an empty list).
        guess: About how many network evaluations per image its parameters take, and how many
            backward passes go with each, given (parameters, numbers in an image), for plans.
    """

    version: int
    params: type
    kind: Literal["exact", "bound"] = "exact"
    guess: Callable[[Any, int], tuple[float, float]] | None = None
    refuse: Callable[[Any], list[str]] = lambda params: []


@dataclass(frozen=True, kw_only=True)
class TrainingCard:
    """What the harness must know of a method's training to keep snapshots of it, and to go on from
    a shorter one.

    Args:
        images: Training images that the parameters see, counted with repetition.
        prefix: The parameters without their length, if a longer training begins exactly as a
            shorter one does; None if the length matters from the start (a learning rate that falls
            to 0 at the end).
        averages: Training images after which averages of the weights are kept, rising and its end
            the last, given (parameters, images of the training); from them averages of other
            lengths are made. Empty for none.
    """

    images: Callable[[Any], int]
    prefix: Callable[[Any], Values | None] = lambda params: None
    averages: Callable[[Any, int], tuple[int, ...]] = lambda params, images: ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """How the authors of a preset sample from it, and where its weights are to be had.

    Args:
        sampler: Its name on the card.
        params: What they set of its parameters.
        times: Their time grid; empty for the sampler's first.
        weights: Where their checkpoint comes from; empty if they published none.
    """

    sampler: str
    params: Values = field(default_factory=dict)
    times: str = ""
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What a network costs, counted from its settings.

    Args:
        flops: Of one row forward, as torch's counter has them: 2 for each multiplication with an
            addition.
        parameters: How many weights are trained.
        layers: Convolutions and linear maps: a small network takes as long as they take to be
            called.
        images: Training images that it sees if it is trained beside the score; None: those of
            the method's training.
    """

    flops: int
    parameters: int
    layers: int
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the harness must know of a method before torch is imported.

    Args:
        title: What a person reads in tables and legends.
        version: Raised by hand when equal inputs would give other numbers.
        paper: URL.
        adapter: ``package.module:Class`` of the :class:`bench.method.Method`, or a function that
            returns the class, so that torch is imported inside it.
        params: Frozen dataclass; bare defaults are what is right.
        presets: Published configurations by name: differences from the defaults.
        shapes: Image shape (C, H, W) that a preset is for; one that is not here fits any that
            ``refuse`` lets pass.
        published: How the authors sample from a preset: what ``sampler: published`` stands for.
        checkpoints: Whether the adapter imports published weights
            (:meth:`bench.method.Method.import_checkpoint`).
        variant: A word for the kind of model that the parameters make ("vp"), a column of the
            tables.
        networks: What the networks cost, given (parameters, image shape, classes): the score's
            first, then what guides it; none for an exact score. None where it is
            not known before a run.
        training: None if training keeps no snapshots.
        likelihood: None if the method has none; then ``no_likelihood`` gives the reason shown in
            tables.
        inspection: Version of :meth:`bench.method.Method.inspect`, raised when it would give other
            numbers; None if the method has none.
        refuse: Reasons why (parameters, image shape) cannot be (none: an empty list).
        needs_classes: Whether models of these parameters are trained on the images' classes too.
        needs_levels: Whether these parameters ask for images of discrete levels (to dequantise
            them).
        refuse_condition: Reasons why a model of these parameters cannot sample under a task of
            :mod:`bench.data.conditioning`.
        no_condition: Why none of the samplers samples under a task, or only few do, by task.
        tiny: Parameters with which the contract suite runs in seconds.
        smoke: Parameters that cut training to a few steps, and nothing else (``--smoke``).
    """

    name: str
    title: str
    version: int
    paper: str
    adapter: str | Callable[[], type]
    params: type
    samplers: Mapping[str, SamplerCard]
    variant: Callable[[Any], str]
    presets: Mapping[str, Values] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    published: Mapping[str, Published] = field(default_factory=dict)
    checkpoints: bool = False
    networks: Callable[[Any, tuple[int, int, int], int], tuple[NetworkCost, ...]] | None = None
    training: TrainingCard | None = None
    likelihood: LikelihoodCard | None = None
    no_likelihood: str = ""
    inspection: int | None = 1
    refuse: Callable[[Any, tuple[int, int, int]], list[str]] = lambda params, shape: []
    needs_classes: Callable[[Any], bool] = lambda params: False
    needs_levels: Callable[[Any], bool] = lambda params: False
    refuse_condition: Callable[[Any, str], list[str]] = lambda params, task: []
    no_condition: Mapping[str, str] = field(default_factory=dict)
    tiny: Values = field(default_factory=dict)
    smoke: Values = field(default_factory=dict)


def load(named: str | Callable[..., Any]) -> Callable[..., Any]:
    """Returns the object that ``package.module:name`` names; an object given instead as it is."""
    if callable(named):
        return named
    module, _, name = named.partition(":")
    return getattr(importlib.import_module(module), name)


def cards() -> Mapping[str, Card]:
    """Returns the card of every method: of each folder of ``methods/`` that has a ``card.py``, and
    those that plugins declare.
    """
    return types.MappingProxyType(registry())


@cache
def registry() -> dict[str, Card]:
    """Returns the cards by name, for :mod:`bench.plugins` to add to."""
    import methods

    found = {}
    for entry in pkgutil.iter_modules(methods.__path__):
        if entry.ispkg and importlib.util.find_spec(f"methods.{entry.name}.card") is not None:
            found[entry.name] = importlib.import_module(f"methods.{entry.name}.card").CARD
    return found
