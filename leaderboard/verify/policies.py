"""The policies of a window of a run: the true one, its forecast, and the origin's, which persistence forecasts."""

from __future__ import annotations

from ...rl.network import PolicyNetwork
from ...utils.errors import OptionError
from .folder import RunFolder


def policies_of_window(run: RunFolder, window: int, horizon: int | None = None) -> dict[str, PolicyNetwork]:
    """Policies by what they are, as they act in the protocol's returns.

    The true policy acts with its own normaliser; the forecast and the origin's act with the origin's, unless the
    predictor forecasts the normaliser too.

    Parameters
    ----------
    run
        A run folder, opened.
    window
        Which of its windows, from 0.
    horizon
        Checkpoints ahead, from 1; as far as the run forecasts by default.

    Raises
    ------
    OptionError
        If there is no such window or horizon.
    """
    count, furthest = run.forecasts.shape[:2]
    if not 0 <= window < count:
        raise OptionError(f"{run.folder} has windows 0 to {count - 1}; there is no window {window}.")
    chosen = furthest if horizon is None else horizon
    if not 1 <= chosen <= furthest:
        raise OptionError(f"{run.folder} forecasts horizons 1 to {furthest}, not {chosen}.")
    place = run.windows[window]
    trial = run.dataset.trial(place.trial)
    origin, true = trial.policy(place.origin), trial.policy(place.origin + chosen)
    moments = (origin.observation_mean.numpy(), origin.observation_variance.numpy())
    if run.normaliser is not None:
        moments = (run.normaliser[window, chosen - 1, 0], run.normaliser[window, chosen - 1, 1])
    forecast = PolicyNetwork(origin.environment, origin.layout, run.forecasts[window, chosen - 1], *moments)
    return {
        f"true, checkpoint {place.origin + chosen}": true,
        f"forecast from {place.origin}": forecast,
        f"persistence, checkpoint {place.origin}": origin,
    }
