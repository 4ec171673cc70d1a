"""Names of predictors and optimizers: of this package, and of those that installed packages announce in their metadata.

None of them is imported, and nothing heavy: the completion of names waits for this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata

from ...utils.text import SLUG_LENGTH, SLUG_PATTERN, one_line

IN_TREE = {
    "persistence": "persistence:Persistence",
    "linear": "linear:Linear",
    "autoregression": "autoregression:Autoregression",
    "mlp": "mlp:MLP",
    "tipl": "tipl:TIPL",
    "tipl-pooled": "tipl:TIPLPooled",
    "tipl-neuron": "neuron:TIPLNeuron",
    "tipl-neuron-statistics": "neuron:TIPLNeuronStatistics",
    "ensemble": "ensemble:Ensemble",
    "continuation": "continuation:Continuation",
    "holt": "field.holt:Holt",
    "dmd": "field.dmd:DMD",
    "ema": "field.averages:EMA",
    "lawa": "field.averages:LAWA",
    "mean-trajectory": "field.mean_trajectory:MeanTrajectory",
    "adam-moments": "field.adam_moments:AdamMoments",
    "introspection": "field.single_weights:Introspection",
    "farcasting": "field.single_weights:Farcasting",
    "wnn": "field.single_weights:WNN",
    "wnn-plus": "field.nowcasting.wnn_plus:WNNPlus",
    "nino": "field.nowcasting.nino:NiNo",
}
"""Predictors of this package, by name, as `module:class`."""
OPTIMIZERS = {
    "adam": "...rl.optimizer:FusedAdam",
    "sgd": ".gradient:SGD",
    "rmsprop": ".gradient:RMSProp",
    "adam-rel": ".gradient:AdamRel",
    "adam-reset": ".gradient:AdamReset",
    "open": ".open_optimizer:OPEN",
    "optim4rl": ".optim4rl.optimizer:Optim4RL",
}
"""Optimizers of this package, by name, as `module:class` seen from `baselines.optimizers`."""
OUTER_RULES = {
    "outer-step": ".outer_step:OuterStep",
    "outer-nesterov": ".outer_step:OuterNesterov",
    "ema": ".averages:EMA",
    "lawa": ".averages:LAWA",
    "pptb": ".pptb:PPTB",
    "jump": ".jump:Jump",
    "backtracking": ".backtracking:Backtracking",
}
"""Its outer rules likewise."""
SEES_THE_FUTURE = "tipl-published"
"""The model whose forecasts use the future of what they forecast: no predictor, and no predictor's name."""
BUDGETS = ("smoke", "quick", "standard", "paper")
"""Named amounts of training: seconds (for `models check`; its numbers mean nothing), minutes on two cores, an hour or
so, as much as the paper."""
ENTRY_POINTS = "tipl_bench.predictors"
OPTIMIZER_ENTRY_POINTS = "tipl_bench.optimizers"
PAPER_LABELS = ("paper", "arxiv", "doi", "publication", "preprint")
SOURCE_LABELS = ("source", "sourcecode", "repository", "github", "homepage", "documentation")
"""Labels of a package's Project-URLs that lead to its paper and to its code, the best first."""


@dataclass(frozen=True)
class Plugin:
    """A predictor that an installed package announces.

    Parameters
    ----------
    name
        The predictor's name.
    target
        Where it is, as `module:class`.
    package
        The package's metadata.
    problem
        Why it cannot be used; None if it can.
    """

    name: str
    target: str
    package: metadata.Distribution = field(repr=False)
    problem: str | None = None

    @property
    def distribution(self) -> str:
        """The package's name."""
        return self.header("Name") or "unknown"

    @property
    def version(self) -> str:
        """The package's version."""
        return self.header("Version") or "unknown"

    def header(self, name: str) -> str | None:
        """A field of the package's metadata on one line; None if there is none."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """Every value of a field of the package's metadata, each on one line."""
        try:
            values = self.package.metadata.get_all(name) or []
        except Exception:  # whatever reading a foreign package's damaged metadata raises
            return []
        return [text for text in (one_line(value).strip() for value in values) if text and text != "UNKNOWN"]

    def project_url(self, labels: tuple[str, ...]) -> str | None:
        """The address under the first of the labels that the package has one for (normalised as PyPI does)."""
        pairs = (entry.partition(",") for entry in self.headers("Project-URL"))
        known = {re.sub(r"[^a-z0-9]", "", label.lower()): address.strip() for label, _, address in pairs}
        if home := self.header("Home-page"):
            known.setdefault("homepage", home)
        return next((known[label] for label in labels if known.get(label)), None)


def predictor_names() -> list[str]:
    """All names, the in-tree ones first."""
    return [*IN_TREE, *(plugin.name for plugin in plugins(IN_TREE) if plugin.problem is None)]


def optimizer_names() -> list[str]:
    """All names of optimizers and outer rules, which share them, the in-tree ones first."""
    own = OPTIMIZERS | OUTER_RULES
    return [*own, *(plugin.name for plugin in plugins(own, OPTIMIZER_ENTRY_POINTS) if plugin.problem is None)]


def plugins(in_tree: Mapping[str, str], group: str = ENTRY_POINTS) -> list[Plugin]:
    """All predictors, or what else installed packages announce in a group of entry points, by name.

    Those that clash with another have a problem.
    """
    found = sorted(_announced(group), key=lambda plugin: plugin.name)
    return [replace(plugin, problem=plugin.problem or _clash(plugin, found, in_tree, group)) for plugin in found]


def _announced(group: str) -> Iterator[Plugin]:
    """The entry points of every installed package; the first on the path hides others of its name."""
    seen = set()
    for package in metadata.distributions():
        try:
            points = [point for point in package.entry_points if point.group == group]
            name = re.sub(r"[-_.]+", "-", str(package.metadata["Name"])).lower() if points else ""
        except Exception:  # damaged metadata of a package that may have nothing to do with this one
            continue
        if points and name not in seen:
            seen.add(name)
            yield from (Plugin(point.name, point.value, package) for point in points)


def _clash(plugin: Plugin, others: list[Plugin], in_tree: Mapping[str, str], group: str) -> str | None:
    """Why a name cannot be used: not a name, or not told apart from another's by people or file systems."""
    if len(plugin.name) > SLUG_LENGTH or not re.fullmatch(SLUG_PATTERN, plugin.name):
        return f"its name is not letters and digits joined by - . or _, {SLUG_LENGTH} at most"
    folded = plugin.name.casefold()
    taken, kind = (*in_tree, SEES_THE_FUTURE), "a predictor"
    if group == OPTIMIZER_ENTRY_POINTS:
        taken, kind = (*in_tree,), "an optimizer or outer rule"
    if name := next((name for name in taken if name.casefold() == folded), None):
        return f"{name!r} is {kind} of tipl-bench itself; rename the one of {plugin.distribution}"
    for other in others:
        if other.name.casefold() == folded and (other.name, other.distribution) != (plugin.name, plugin.distribution):
            both = sorted(f"{one.distribution} ({one_line(one.name, 60)})" for one in (plugin, other))
            return f"{' and '.join(both)} announce names that differ by case at most; uninstall one, or rename it"
    return None
