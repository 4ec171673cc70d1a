"""`tipl-bench forecast`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..completion import complete_states
from ..groups import examples
from ..options import build_limits, memory_option, timeout_option
from ..output import Bars, echo, quiet_option
from ..verification import dataset_option, open_dataset_of
from .options import device_option
from .run import print_run
from .summary import headline


@click.command(
    short_help="Forecast with a fitted state, without fitting.",
    epilog=examples("forecast", "forecast inverted-pendulum/tipl-neuron-v1", "forecast runs/A --out runs/B"),
)
@click.argument("state", required=False, shell_complete=complete_states)
@dataset_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<dataset>/<state>-<sha256>]")
@device_option
@timeout_option
@memory_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of the table.")
def forecast(
    state: str | None,
    dataset_name: str | None,
    out: Path | None,
    device: str,
    timeout: float | None,
    memory: float | None,
    as_json: bool,
) -> None:
    """Forecast and score with what a run learned, without fitting again.

    STATE is the name of one that ships with the package, or a run folder; without it, the shipped ones are listed.
    The dataset that its record names is forecast; a larger one that it was fitted on need not be here. The run can be
    verified, but not submitted: a leaderboard takes runs that can be made again whole.
    """
    from ...benchmark.fitted.forecasting import forecast_with
    from ...benchmark.fitted.states import fitted_state

    if state is None:
        if dataset_name or out:
            raise click.UsageError("Give a STATE to forecast with.")
        _list(as_json)
        return
    chosen, limits = fitted_state(state), build_limits(timeout, memory)
    dataset = open_dataset_of(dataset_name or chosen.record.key.dataset.name)
    with Bars() as bars:
        finished = forecast_with(chosen, dataset, out, device=device, limits=limits, progress=bars.stage)
    print_run(finished, as_json)
    same = finished.record.forecasts_sha256 == chosen.record.forecasts_sha256
    echo(
        f"{'the same bytes as' if same else 'not the same bytes as'} the forecasts of the run that fitted it, with "
        f"{headline(chosen.record)}",
        err=as_json,
    )


def _list(as_json: bool) -> None:
    """The states that ship, and what each is."""
    from ...benchmark.fitted.states import fitted_state, shipped_states

    states = [fitted_state(name) for name in shipped_states()]
    if as_json:
        click.echo(json.dumps([{"name": one.name, "key": one.record.key.model_dump(mode="json")} for one in states]))
        return
    for one in states:
        key = one.record.key
        method, fitted_on = key.method, key.method.fitted_on or key.dataset
        echo(f"{one.name}: {method.name} v{method.version}, {method.budget}, seed {key.seed}")
        echo(f"  fitted on {fitted_on.name}")
        echo(f"  forecasts {key.dataset.name}, {headline(one.record)}")
