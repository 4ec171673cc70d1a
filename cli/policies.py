"""`tipl-bench policy` and `watch`: a stored policy, or a forecast one, as it acts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completion import complete_datasets
from .groups import Commands, examples
from .options import json_option
from .output import Bars, echo, print_fields, quiet_option

if TYPE_CHECKING:
    from ..registry.dataset import Dataset
    from ..rl.network import PolicyNetwork

FIRST_SEED = 10_001
"""Of the protocol's resets."""
LONGEST = 1000
"""Steps of the longest episodes, for the progress bar."""


@click.group(cls=Commands, short_help="Show, evaluate, export and film stored policies.")
def policy() -> None:
    """Show, evaluate, export and film stored policies.

    A policy is one checkpoint of one trial of a dataset.
    """


def _seed_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--seed", type=click.IntRange(0), default=FIRST_SEED, show_default=True, help=text)


def _of_a_checkpoint(command: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments that name a policy."""
    for argument in (
        click.argument("checkpoint", type=click.IntRange(0)),
        click.argument("trial", type=click.IntRange(0)),
        click.argument("dataset", shell_complete=complete_datasets),
    ):
        command = argument(command)
    return command


def _open(dataset: str, trial: int, checkpoint: int) -> tuple[Dataset, PolicyNetwork]:
    from ..benchmark.record import RECORD_NAME
    from .verification import open_dataset_of

    if (Path(dataset) / RECORD_NAME).is_file():
        raise click.UsageError(
            f"{dataset} is a run, not a dataset. `tipl-bench watch {dataset}` films a policy that it forecast beside "
            "the true one."
        )
    opened = open_dataset_of(dataset)
    opened.files([trial])  # says which trials there are
    return opened, opened.trial(trial).policy(checkpoint)


@policy.command(
    "show", short_help="Show what a policy needs.", epilog=examples("policy show inverted-pendulum/ppo-head-v1 0 400")
)
@_of_a_checkpoint
@json_option
def show(dataset: str, trial: int, checkpoint: int, as_json: bool) -> None:
    """Show what a policy is and what it needs to act."""
    import math

    from ..rl.forward import NORMALIZER_EPSILON

    opened, found = _open(dataset, trial, checkpoint)
    columns = {name: values[checkpoint].item() for name, values in opened.trial(trial).columns.items()}
    columns = {name: None if math.isnan(value) else value for name, value in columns.items()}
    clip = found.layout.observation_clip
    cut = "not cut" if clip is None else f"cut to +-{clip:g}"
    shown: dict[str, Any] = {
        "dataset": f"{opened.name}, trial {trial} (seed {opened.manifest.trial_seeds[trial]})",
        "environment": found.environment,
        "layers": " - ".join(map(str, found.layout.sizes)),
        "parameters": found.layout.parameter_count,
        **{name.replace("_", " "): value for name, value in columns.items()},
        "observation mean": found.observation_mean.tolist(),
        "observation variance": found.observation_variance.tolist(),
        "normaliser": f"(observation - mean) / sqrt(variance + {NORMALIZER_EPSILON}), {cut}",
    }
    if found.layout.categorical:
        shown["actions"] = f"{found.layout.action_size} discrete ones, the likeliest is taken"
    else:
        shown["action bounds"] = list(zip(found.action_low.tolist(), found.action_high.tolist(), strict=True))
        shown["standard deviation"] = found.log_std.exp().tolist()
    if as_json:
        click.echo(json.dumps(shown, indent=1))
        return
    print_fields({name: _text(value) for name, value in shown.items()})


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(f"[{_text(one)}]" if isinstance(one, tuple) else _text(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else "-" if value is None else str(value)


@policy.command(
    "evaluate",
    short_help="Play episodes, print returns.",
    epilog=examples("policy evaluate inverted-pendulum/ppo-head-v1 0 400 --episodes 20"),
)
@_of_a_checkpoint
@click.option("--episodes", type=click.IntRange(1), default=5, show_default=True, help="Episodes to play.")
@_seed_option("Seed of the first reset.")
@json_option
def evaluate(dataset: str, trial: int, checkpoint: int, episodes: int, seed: int, as_json: bool) -> None:
    """Play episodes with the mean or likeliest action, and print their returns.

    By default they are those of the protocol, and their mean is J.
    """
    import numpy as np

    found = _open(dataset, trial, checkpoint)[1]
    returns = [found.evaluate([one]) for one in range(seed, seed + episodes)]
    if as_json:
        click.echo(json.dumps({"seeds": [seed, seed + episodes - 1], "returns": returns, "mean": np.mean(returns)}))
        return
    for place, value in enumerate(returns):
        echo(f"{seed + place}  {value:.2f}")
    echo(f"mean   {np.mean(returns):.2f}")


@policy.command(
    "export",
    short_help="Write a policy to a file.",
    epilog=examples("policy export hopper/ppo-mini-v3 0 730 --out hopper.onnx"),
)
@_of_a_checkpoint
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write: .onnx or .safetensors.")
@click.option("--opset", type=int, metavar="N", help="Opset of an ONNX model. [default: torch's usual one]")
def export(dataset: str, trial: int, checkpoint: int, out: Path, opset: int | None) -> None:
    """Write a policy, with normaliser and clipping, to a file."""
    from ..benchmark.policies.files import export_policy

    export_policy(_open(dataset, trial, checkpoint)[1], out, opset)
    echo(f"wrote {out}")


def _film_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a film, which goes into a file of the name `default` by default."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        path = click.Path(path_type=Path)
        for option in (
            quiet_option,
            click.option("--steps", type=click.IntRange(1), metavar="N", help="Film so many steps at most."),
            _seed_option("Seed of the reset."),
            click.option("--out", type=path, default=default, show_default=True, help="A .gif or .mp4 file."),
        ):
            command = option(command)
        return command

    return add


@policy.command(
    "record", short_help="Film an episode.", epilog=examples("policy record hopper/ppo-mini-v3 0 730 --out hopper.gif")
)
@_of_a_checkpoint
@_film_options("policy.gif")
def record(dataset: str, trial: int, checkpoint: int, out: Path, seed: int, steps: int | None) -> None:
    """Film one episode of a policy, in real time.

    The forecasts of a run are filmed by `tipl-bench watch RUN`, beside the true policy.
    """
    found = _open(dataset, trial, checkpoint)[1]
    _film({f"trial {trial}, checkpoint {checkpoint}": found}, out, seed, steps)


def _film(policies: dict[str, PolicyNetwork], out: Path, seed: int, steps: int | None) -> None:
    from ..benchmark.policies.films import film

    with Bars() as bars:

        def report(done: int) -> None:
            bars.stage("film", done, steps or LONGEST, "")

        returns = film(policies, out, seed, steps=steps, report=report)
    for name, value in returns.items():
        echo(f"return {value:,.2f}  {name}")
    echo(f"wrote {out}")


@click.command(
    short_help="Film a forecast policy beside the true one.",
    epilog=examples("watch runs/A --horizon 10", "watch runs/A --window 3 --out forecast.mp4"),
)
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--window", type=click.IntRange(0), default=0, show_default=True, help="Which of the run's windows.")
@click.option("--horizon", type=click.IntRange(1), metavar="H", help="Checkpoints ahead. [default: the furthest]")
@_film_options("forecast.gif")
def watch(run_folder: Path, window: int, horizon: int | None, out: Path, seed: int, steps: int | None) -> None:
    """Film the true policy, its forecast, and the policy at the origin, side by side.

    All begin at one reset. The true policy acts with its own normaliser, the others with that of the origin, as in the
    protocol's returns.
    """
    from ..benchmark.training.record import is_training_record
    from ..leaderboard.verify.policies import policies_of_window
    from .verification import open_checked

    if is_training_record(run_folder):
        raise click.UsageError(
            f"{run_folder} is a run of the training track; only those of the forecast track forecast."
        )
    opened = open_checked(run_folder, None)
    chosen = policies_of_window(opened, window, horizon)
    _film(chosen, out, seed, steps)
