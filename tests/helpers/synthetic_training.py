"""A table of the training track with made-up numbers."""

from __future__ import annotations

from tipl_bench.benchmark.training.metrics import METRICS
from tipl_bench.leaderboard.training.table import COMPARISON_METRICS, TrainingTable

ENVIRONMENT = "InvertedPendulum-v4"
STEPS = [2048 * number for number in range(13)]
AUC = {"adam+jump-0a": 0.9, "adam+outer-step-0b": 0.85, "adam+jump-0c": 0.8, "adam-0d": 0.7, "sgd-0e": 0.4}
"""By the short name of a row; the forecast first, then the best plain method, the forecast's control and tuned Adam."""
FORECAST, PLAIN, CONTROL, ADAM, SGD = AUC


def identifier(short: str) -> str:
    """A row's id."""
    return f"{ENVIRONMENT}__{short}__test"


def table() -> TrainingTable:
    """The table of one environment."""
    return TrainingTable.model_validate({
        "environment": ENVIRONMENT, "protocol": 1, "trials": 50, "environment_steps": STEPS[-1],
        "references": {"tuned adam": identifier(ADAM), "best plain": identifier(PLAIN)},
        "rows": [_row(short) for short in AUC],
    })  # fmt: skip


def _row(short):
    others = {"tuned adam": ADAM, "best plain": PLAIN} | ({"control": CONTROL} if short == FORECAST else {})
    mean = [min(1.0, AUC[short] * number / 8) for number in range(len(STEPS))]
    return {
        "id": identifier(short), "method": short[:-3].replace("+", " + "), "role": "tuned", "configurations": 3,
        "rests_on": "gradients", "fitted_steps": 0, "forecast": short == FORECAST, "diverged": 0,
        "seconds_per_million": 9.5, "state_bytes": 100,
        "estimates": {metric.name: _estimate(AUC[short]) for metric in METRICS},
        "against": {name: _against(short, other) for name, other in others.items() if other != short},
        "curve": {
            "steps": STEPS, "mean": mean, "low": [value - 0.05 for value in mean],
            "high": [value + 0.05 for value in mean],
        },
    }  # fmt: skip


def _against(short, other):
    difference = round(AUC[short] - AUC[other], 4)
    return {
        "other": identifier(other), "p": 0.001 if abs(difference) > 0.06 else 0.4,
        "estimates": {name: _estimate(difference) for name in COMPARISON_METRICS},
    }  # fmt: skip


def _estimate(value):
    return {"value": value, "low": round(value - 0.03, 4), "high": round(value + 0.03, 4)}
