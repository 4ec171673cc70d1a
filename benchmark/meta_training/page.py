"""The numbers of docs/optim4rl.md, from meta-training records, gridworld results and training records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...baselines.options import as_settings, describe_options
from ...utils.bootstrap import Float64
from ...utils.errors import ProtocolError
from ...utils.files import write_text
from ..intervals import crossed
from ..training.record import TrainingRecord, read_training_record
from . import figures
from .gridworlds import FURTHER, HAND_MADE, RATES, GridworldProtocol, Method, Study
from .record import MetaRecord
from .run import LEARNED, read_meta_record, shipped_records

PAGE = "optim4rl.md"
BEGIN = "<!-- the rest is written by `python scripts/optim4rl.py` -->\n"
TRAINING, TRANSFER = "small_dense_long", ("small_dense_short", "small_sparse_long", "small_sparse_short")
LEVEL = 0.95
"""Of every interval."""
UNNAMED = ("validate_every", "probes")
"""Options that no variant is named by."""


def render(folder: Path, training: Path | None = None) -> str:
    """Write the numbers into the page in a folder; returns what was done.

    They are of `optim4rl/` beside the page, of what ships, and of the table's records in the folder `training`.
    """
    kept, page = folder / "optim4rl", folder / PAGE
    if not page.is_file():
        raise ProtocolError(f"{page}: the page is not there, of which a part is written. Copy it from docs/ first.")
    shipped = shipped_records()
    others = [read_meta_record(path) for path in sorted(kept.glob("variants/*.json"))]
    study = Study(kept / "results.json", GridworldProtocol())
    sections = [*_meta_training([*shipped.values(), *others])]
    for world in (TRAINING, *TRANSFER):
        sections += _gridworld(study, [*HAND_MADE, *learned(shipped)], world)
    runs = [read_training_record(path) for path in sorted(training.glob("*.json"))] if training else []
    for environment in sorted({one.key.protocol.environment for one in runs}):
        sections += _inside_ppo(runs, shipped, environment)
    text = page.read_text(encoding="utf-8").partition(BEGIN)[0]
    write_text(page, text + BEGIN + "\n" + "\n".join(sections) + "\n")
    kept.mkdir(exist_ok=True)
    figures.draw(shipped, kept / "curve")
    return f"wrote {page}: {len(shipped)} shipped records, {len(others)} variants, {len(study.results)} results"


def learned(shipped: Mapping[str, MetaRecord]) -> tuple[Method, ...]:
    """The shipped meta-parameters as methods, the seeds of one variant together, and what they began as."""
    found = []
    for group, names in _variants(shipped).items():
        rates = {float(shipped[name].key.options["rate"]) for name in names}
        if len(rates) > 1:
            raise ProtocolError(f"{', '.join(names)}: meta-trained at different rates, so they are different variants.")
        states = tuple(shipped[name].artifacts["parameters"] for name in names)
        for label, trained in ((f"Optim4RL {group}", "true"), (f"Optim4RL {group}, untrained", "false")):
            settings = tuple((f"weights={name}", f"trained={trained}") for name in names)
            found.append(Method(label, LEARNED.name, settings, min(rates), states))
    return tuple(found)


def _variants(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of shipped meta-parameters, `variant-seed`, by variant."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("-")[0], []).append(name)
    return groups


def complete(folder: Path, worlds: Sequence[str] = (TRAINING, *TRANSFER)) -> Iterator[str]:
    """Run what the page's tables lack, one result after another; yields what was run."""
    study = Study(folder / "optim4rl" / "results.json", GridworldProtocol())
    for world in worlds:
        for method in (*HAND_MADE, *learned(shipped_records())):
            rate = study.tuned(world, method)
            for one in {method.default, rate}:
                study.scores(world, method, one)
            yield f"{world}: {method.label}, best rate {rate:g}"


def variant(record: MetaRecord) -> str:
    """A record's options that are not the default."""
    known = describe_options(LEARNED)
    found = as_settings(
        {
            name: value
            for name, value in record.key.options.items()
            if name not in UNNAMED and (name not in known or known[name].default != value)
        }
    )
    return ", ".join(found) or "default"


def _meta_training(records: Sequence[MetaRecord]) -> Iterator[str]:
    yield "## Meta-training\n"
    yield (
        "Reward of a step of validation agents, the mean over the second half of their lives (± its standard error "
        "over agents): of the meta-parameters as meta-training begins, of those that are kept, and at the end.\n"
    )
    yield "| variant | meta-seed | before | kept (meta-iteration) | at the end | environment steps | CPU seconds |"
    yield "|---|---|---|---|---|---|---|"
    for record in records:
        cells = []
        for place in (0, record.selected, record.validations[-1].iteration):
            rewards = np.array(record.validation(place).rewards)
            error = rewards.std(ddof=1) / np.sqrt(len(rewards)) if len(rewards) > 1 else 0.0
            cells.append(f"{rewards.mean():.4f} ± {error:.4f}")
        yield (
            f"| {variant(record)} | {record.key.seed} | {cells[0]} | {cells[1]} ({record.selected}) | {cells[2]} "
            f"| {record.environment_steps:,} | {record.cpu_seconds:,.0f} |"
        )
    yield "\n![rewards of training and validation agents through meta-training](optim4rl/curve.svg)\n"


def _gridworld(study: Study, methods: Sequence[Method], world: str) -> Iterator[str]:
    """A gridworld's table, of the methods whose results are all there."""
    protocol = study.protocol
    ready = [one for one in methods if study.is_complete(world, one)]
    if not ready or ready[0] is not methods[0]:  # Adam, which all others are compared with
        return
    yield f"\n## {world}\n"
    yield (
        f"{protocol.agents} test agents of {protocol.environments} environments each, {protocol.updates} updates; "
        "reward of a step in the last sixth, with its 95% interval over agents, and over meta-seeds where "
        "there are several ([Student's, both being random](intervals.md)). The default rate of a learned optimizer is "
        "the one that it was meta-trained at; the best "
        f"rate is that of other agents, among {', '.join(f'{one:g}' for one in RATES)} and, while the highest is best, "
        f"{', '.join(f'{one:g}' for one in FURTHER)}.\n"
    )
    yield "| method | meta-seeds | default rate | reward | best rate | reward | best less tuned Adam's |"
    yield "|---|---|---|---|---|---|---|"
    reference = study.scores(world, ready[0], study.tuned(world, ready[0]))
    for method in ready:
        rate = study.tuned(world, method)
        default, best = (study.scores(world, method, one) for one in (method.default, rate))
        against = "-" if method is ready[0] else _interval(best - reference, sign="+")
        yield (
            f"| {method.label} | {len(method.settings)} | {method.default:g} | {_interval(default)} | {rate:g} "
            f"| {_interval(best)} | {against} |"
        )
    pairs = [(one, other) for one in ready for other in ready if other.label == f"{one.label}, untrained"]
    yield "\nAt the rate of meta-training, paired by agent and meta-seed:\n"
    for one, other in pairs:
        ours = study.scores(world, one, one.default)
        yield (
            f"- {one.label} less its untrained self: "
            f"{_interval(ours - study.scores(world, other, one.default), sign='+')}; less Adam at its default: "
            f"{_interval(ours - study.scores(world, ready[0], ready[0].default), sign='+')}."
        )


def _inside_ppo(records: Sequence[TrainingRecord], names: Iterable[str], environment: str) -> Iterator[str]:
    """An environment's table of the training track, of the variants whose meta-seeds were all run and tuned there."""
    runs = [one for one in records if one.key.protocol.environment == environment and not one.key.outer]
    adam = _at_best_rate([_by_rate(runs, "adam")])
    if adam is None:
        return
    rates, (reference,) = adam
    rows, contrasts = [f"| Adam | - | {rates} | {_interval(reference[None], 3)} | - |"], []
    for variant, seeds in _variants(names).items():
        scores = {}
        for label, trained in ((f"Optim4RL {variant}", True), (f"Optim4RL {variant}, untrained", False)):
            found = _at_best_rate([_by_rate(runs, LEARNED.name, weights=name, trained=trained) for name in seeds])
            if found is not None:
                rates, scores[trained] = found
                rows.append(
                    f"| {label} | {len(seeds)} | {rates} | {_interval(scores[trained], 3)} "
                    f"| {_interval(scores[trained] - reference, 3, sign='+')} |"
                )
        if len(scores) == 2:
            difference = _interval(scores[True] - scores[False], 3, sign="+")
            contrasts.append(f"- Optim4RL {variant} less its untrained self: {difference}.")
    if len(rows) == 1:
        return
    yield f"\n## Inside PPO: {environment}\n"
    yield (
        f"AUC of the {len(reference)} test trials of the [training track](training-track.md), with its 95% interval "
        "over trials, and over meta-seeds where there are several. Rates are chosen on the tuning trials, each "
        "meta-seed's its own.\n"
    )
    yield "| method | meta-seeds | rates | AUC | less tuned Adam's |"
    yield "|---|---|---|---|---|"
    yield from (*rows, "", *contrasts)


ByRate = Mapping[str, Mapping[float, Float64]]
"""AUC by trial of one method's runs, by split and learning rate."""


def _by_rate(runs: Sequence[TrainingRecord], optimizer: str, **options: object) -> ByRate:
    found: dict[str, dict[float, Float64]] = {"test": {}, "tuning": {}}
    for run in runs:
        own = run.key.optimizer
        if own.name == optimizer and options.items() <= own.options.items():
            found[run.key.split][float(str(own.options["learning_rate"]))] = run.columns["auc"]
    return found


def _at_best_rate(seeds: Sequence[ByRate]) -> tuple[str, Float64] | None:
    """Each seed's rate with the highest AUC on the tuning trials, and AUC [S, N] of the test trials at it."""
    best = [max((float(auc.mean()), rate) for rate, auc in one["tuning"].items())[1] for one in seeds if one["tuning"]]
    if len(best) < len(seeds) or any(rate not in one["test"] for one, rate in zip(seeds, best, strict=True)):
        return None
    scores = np.stack([one["test"][rate] for one, rate in zip(seeds, best, strict=True)])
    return ", ".join(f"{rate:g}" for rate in best), scores


def _interval(values: Float64, digits: int = 4, sign: str = "") -> str:
    found = crossed(values, LEVEL)
    return f"{found.value:{sign}.{digits}f} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"
