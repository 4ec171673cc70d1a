"""What is asked for: the method, the trials, the predictor, and the configurations to try; checked before any work."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from ...baselines import predictor_names
from ...baselines.optimizers.jump import Jump
from ...baselines.optimizers.lookup import build_optimizer
from ...baselines.options import as_settings, build_options
from ...baselines.plugins.lookup import predictor_type
from ...baselines.saving import options_dict
from ...registry.catalog import catalog
from ...registry.collection_config import CollectionConfig, CollectionMethod
from ...registry.reference import is_name
from ...rl import Composed
from ...utils.canonical import canonical_json
from ...utils.errors import DatasetArgumentError, OptionError, UnknownNameError
from ...utils.text import first_error
from ..protocol import CURRENT
from ..request import as_file_name, check_whole
from ..training.protocol import MAX_CONFIGURATIONS, TrainingProtocol, training_protocol
from ..training.request import PREDICTOR, WEIGHTS
from .record import JUMP, JumpFitKey

TRIALS, FIRST_TRIALS = 100, 50
"""Trials that are collected by default, and how many of them are a dataset by themselves, split in proportion: those
after them extend it, all for training, as in the shipped collections."""
FIRST_SEED = 100_001
"""That of the first collected trial by default: beyond the seeds of the training track and of catalogued datasets."""
ITERATIONS = {"InvertedPendulum-v4": 24}
"""PPO iterations of each collected trial by default: until nearly all are solved, where that is before the protocol's
end, as the rest of a trajectory would outweigh its learning."""
DEFAULTS = {"period": "1,2,4", "factor": "1,2"}
"""Settings of the jump that are tried by default."""


def request_key(
    environment: str,
    *,
    optimizer: str,
    outer: Sequence[str],
    settings: Sequence[str],
    predictor: str,
    budget: str,
    seed: int,
    dataset: str | None,
    trials: int | None,
    iterations: int | None,
    first_seed: int | None,
) -> JumpFitKey:
    """The key of a fit; parameters, and what is raised, are as for `fit_jump`."""
    protocol = training_protocol(environment)
    if predictor not in predictor_names():
        raise UnknownNameError("predictor", predictor, predictor_names())
    check_whole("seed", seed, 0)
    rules = (*outer, JUMP) if JUMP not in outer else tuple(outer)
    mine, options, jumps = _sorted_out(settings, predictor)
    configurations = _configurations(optimizer, rules, mine, jumps)
    build_options(predictor_type(predictor), budget, options, CURRENT.context)
    method = CollectionMethod(optimizer=optimizer, outer=tuple(r for r in rules if r != JUMP), settings=mine)
    given = {"trials": trials, "iterations": iterations, "first_seed": first_seed}
    collection = None
    if dataset is not None and (entry := catalog().get(dataset)):
        if entry.environment != environment:
            raise OptionError(f"{dataset} is of {entry.environment}, not of {environment}.")
        if several := [name for name, value in given.items() if value is not None]:
            raise OptionError(f"{dataset} is catalogued, and fitted on as it is: leave out `{several[0]}=`.")
    else:
        collection = _collection(protocol, method, trials, iterations, first_seed)
        dataset = dataset or collection_name(collection)
        if not is_name(dataset):
            raise DatasetArgumentError(
                f"{dataset!r} is not a dataset name; one looks like inverted-pendulum/ppo-outer-v1."
            )
    return JumpFitKey(
        protocol=protocol,
        optimizer=optimizer,
        outer=rules,
        settings=mine,
        dataset=dataset,
        collection=collection,
        predictor=predictor,
        budget=budget,
        options=options,
        seed=seed,
        jumps=configurations,
    )


def collection_name(config: CollectionConfig) -> str:
    """A name for a collection that nobody named: `<environment>/ppo-method-<trials>-<hash>-v1`."""
    environment = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", config.environment.rpartition("-v")[0]).lower()
    digest = hashlib.sha256(canonical_json(config.model_dump(mode="json")).encode()).hexdigest()[:8]
    return f"{environment}/ppo-method-{config.trials}-{digest}-v1"


def check_seeds(protocol: TrainingProtocol, seeds: Iterable[int], whose: str) -> None:
    """None of the seeds is one of the training track's trials; raises `OptionError`."""
    for split in ("test", "tuning"):
        track = protocol.seeds(split)
        if shared := sorted({*track}.intersection(seeds)):
            raise OptionError(
                f"{whose} has seed {shared[0]}, which is of a {split} trial of the training track ({track[0]} to "
                f"{track[-1]}): what is fitted on it cannot be scored there. Choose other seeds (`first_seed=`)."
            )


def default_folder(key: JumpFitKey) -> Path:
    """`runs/jumps/<environment>/<method>[-settings]-<predictor>[-options]-<budget>-on-<dataset>-seed<N>-<hash>`.

    The hash is of the jumps that are tried and of what is collected.
    """

    def spelt(settings: Iterable[str]) -> str:
        return "".join(f"-{as_file_name(one.replace('=', '-', 1).replace('/', '--'))}" for one in settings)

    method = "+".join((key.optimizer, *key.outer)) + spelt(key.settings)
    fitted = f"{key.predictor}{spelt(key.options)}-{key.budget}-on-{key.dataset.replace('/', '--')}"
    rest = key.model_dump(mode="json", include={"jumps", "collection"})
    digest = hashlib.sha256(canonical_json(rest).encode()).hexdigest()[:8]
    return Path("runs") / "jumps" / key.protocol.environment / f"{method}-{fitted}-seed{key.seed}-{digest}"


def _sorted_out(
    settings: Sequence[str], predictor: str
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, list[str]]]:
    """Settings of the method, the predictor's options, and the values of the jump's settings by name."""
    method, options, jumps = [], [], {name: [text] for name, text in DEFAULTS.items()}
    given: dict[str, list[str]] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        rule, _, name = path.rpartition(".")
        if rule == predictor:
            options.append(f"{name}{equals}{text}")
        elif rule != JUMP:
            method.append(setting)
        elif name in (PREDICTOR, "direction"):
            what = "which predictor is fitted is `predictor=`" if name == PREDICTOR else "forecasts are fitted"
            raise OptionError(f"{setting}: not a setting to choose here, as {what}.")
        else:
            given.setdefault(name, []).append(text)
    values = {
        name: [one.strip() for text in texts for one in text.split(",")] for name, texts in (jumps | given).items()
    }
    return tuple(sorted(method)), tuple(sorted(options)), values


def _configurations(
    optimizer: str, outer: Sequence[str], settings: Sequence[str], values: dict[str, list[str]]
) -> tuple[tuple[str, ...], ...]:
    """All combinations of values of the jump's settings, each spelt as it is recorded; raises as `build_optimizer`."""
    count = math.prod(map(len, values.values()))
    if count > MAX_CONFIGURATIONS:
        lists = ", ".join(f"{len(texts)} of {JUMP}.{name}" for name, texts in values.items() if len(texts) > 1)
        raise OptionError(
            f"{count} configurations ({lists}): the tuning trials may decide between at most {MAX_CONFIGURATIONS}. "
            "Give fewer values."
        )
    found: dict[tuple[str, ...], None] = {}
    for combination in itertools.product(*values.values()):
        chosen = [f"{JUMP}.{name}={text}" for name, text in zip(values, combination, strict=True)]
        built = build_optimizer(optimizer, outer, (*settings, f"{JUMP}.{PREDICTOR}=persistence", *chosen))
        assert isinstance(built, Composed)
        (jump,) = (one for one in built.parts if isinstance(one, Jump))
        options = options_dict(jump)
        found[as_settings({f"{JUMP}.{name}": options[name] for name in values})] = None
    return tuple(found)


def _collection(
    protocol: TrainingProtocol,
    method: CollectionMethod,
    trials: int | None,
    iterations: int | None,
    first_seed: int | None,
) -> CollectionConfig:
    """What to collect under a method: version 3, which gives the same bytes on every such processor."""
    for setting in method.settings:
        path, _, text = setting.partition("=")
        if path.rpartition(".")[2] == WEIGHTS and Path(text).is_file():
            raise OptionError(f"{setting}: a collection's method cannot name a file, which its digest would not cover.")
    usual = min(ITERATIONS.get(protocol.environment, protocol.iterations), protocol.iterations)
    wanted = {
        "trials": TRIALS if trials is None else trials,
        "iterations": usual if iterations is None else iterations,
        "first seed": FIRST_SEED if first_seed is None else first_seed,
    }
    for (name, value), least in zip(wanted.items(), (3, 1, 0), strict=True):
        check_whole(name, value, least)
    plain = method == CollectionMethod()
    try:
        config = CollectionConfig(
            environment=protocol.environment,
            hidden_sizes=protocol.hidden_sizes,
            environment_steps=protocol.environment_steps,
            trials=wanted["trials"],
            first_seed=wanted["first seed"],
            version=3,
            method=None if plain else method,
            iterations_trained=wanted["iterations"],
        )
    except ValidationError as error:
        raise OptionError(f"Nothing can be collected so: {first_error(error)}.") from None
    needed, per_iteration = CURRENT.context + CURRENT.horizon, config.training.checkpoints_per_iteration
    if config.checkpoints < needed:
        raise OptionError(
            f"{wanted['iterations']} iterations give {config.checkpoints} checkpoints a trial, and a window has "
            f"{needed}: give at least {math.ceil((needed - 1) / per_iteration)} (`iterations=`)."
        )
    check_seeds(protocol, config.seeds, "A trial to collect")
    return config
