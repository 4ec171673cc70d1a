"""Options of the commands that make runs: on which dataset, with which budget, where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..completion import complete_datasets, complete_devices, complete_environments
from ..datasets.hub import downloading
from ..output import Bars, echo

if TYPE_CHECKING:
    from ...benchmark.protocol import Protocol
    from ...registry.dataset import Dataset

environment_option = click.option(
    "--env",
    "environment",
    metavar="ID",
    shell_complete=complete_environments,
    help="Gymnasium environment, such as Hopper-v4: its default dataset is used.",
)
dataset_option = click.option(
    "--dataset",
    "dataset_name",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder, instead of --env; `tipl-bench datasets list` lists names.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_devices,
    help="Where to train and forecast: auto, cpu or cuda.",
)
fit_on_option = click.option(
    "--fit-on",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Fit on the training trials of another dataset: more of the same kind, or another environment's.",
)
collect_option = click.option(
    "--collect", is_flag=True, help="Collect a dataset first that is neither here nor published."
)


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--env` and `--dataset`, of which one has to be given; see `open_dataset`."""
    return environment_option(dataset_option(command))


def open_dataset(name: str | None, environment: str | None, collect: bool, protocol: Protocol) -> Dataset:
    """The dataset of that name, or else the environment's default; see `load`."""
    from ...registry.catalog import default_dataset

    if not environment and not name:
        raise click.UsageError("Give --env ENVIRONMENT or --dataset NAME.")
    if environment and name:
        raise click.UsageError("Give --env or --dataset, not both.")
    return load(name or default_dataset(str(environment)), collect, protocol)


def load(name: str, collect: bool, protocol: Protocol) -> Dataset:
    """A dataset; collected first if that was asked for."""
    from ...benchmark.collection import load_or_collect

    with Bars() as bars:
        return load_or_collect(name, collect, protocol, downloading(bars), announce=lambda text: echo(text, err=True))
