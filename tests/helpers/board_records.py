"""Records of synthetic runs, as a board is built from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from tipl_bench.benchmark.forecast.scoring import score
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import (
    Cost,
    DatasetIdentity,
    MethodIdentity,
    Provenance,
    Record,
    ReturnPair,
    RunKey,
    Status,
)
from tipl_bench.leaderboard.document.build import document

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
"""The committed records of this clone."""
PROTOCOL = PROTOCOLS[1].model_copy(update={"horizon": 3, "resamples": 499})
PROTOCOL_2 = PROTOCOLS[2].model_copy(update={"horizon": 3, "resamples": 499})
TRIALS, WINDOWS = 12, 4
NAMES = [f"env{number}" for number in range(3)]
"""Environments of a catalog of one's own; see `catalogue`."""


def record(
    name="tipl", ratio=0.5, noise=0.05, seed=0, dataset="toy/ppo-v1", tilt=0.0, keep=WINDOWS, trials=TRIALS,
    environment="InvertedPendulum-v4", digest="a" * 64, version=1, phase="learning", device="cpu",
    consumes="weights", protocol=PROTOCOL, repw=10.0, fitted_on=None, **options,
):  # fmt: skip
    """Errors of about `ratio` of persistence's, more by `tilt` on even trials, less on odd; `keep` of trial 0.

    Errors of returns are `repw` times those of weights; of protocol 2 the returns of the first half of windows move.
    """
    base = np.random.default_rng(0).uniform(0.5, 2.0, size=(trials, WINDOWS, PROTOCOL.horizon))
    own = np.random.default_rng([seed, *name.encode()]).normal(size=base.shape)
    lean = tilt * np.where(np.arange(trials) % 2, -1.0, 1.0)[:, None, None]
    error = base * np.clip(ratio + lean + noise * own, 0.01, None)
    index = pd.MultiIndex.from_product([range(trials), range(WINDOWS), range(1, PROTOCOL.horizon + 1)])
    rows = pd.DataFrame({"wpe": error.ravel(), "wpe_persistence": base.ravel(), "wpe_oracle": 0.1 * base.ravel()})
    rows["trial"], rows["origin"], rows["horizon"] = (index.get_level_values(level) for level in range(3))
    rows["phase"] = phase
    for column in ("repw", "repw_persistence", "noise", "gain", "wpe_of_layer0.weight"):
        rows[column] = rows["wpe"] * repw
    if protocol.origins_per_position:
        rows["position"] = rows["origin"] % 2
        rows["moving"] = (rows["origin"] < WINDOWS / 2).astype(int)
        rows["repw_perfect"] = 0.5
        for column in ("repw", "repw_persistence"):
            rows[column.replace("repw", "repw_moving")] = rows[column] * rows["moving"]
    rows = rows[(rows["trial"] > 0) | (rows["origin"] < keep)]
    return Record(
        format=2,
        track="forecast",
        status=Status(state="finished"),
        key=RunKey(
            protocol=protocol,
            dataset=DatasetIdentity(name=dataset, digest=digest, environment=environment),
            method=MethodIdentity(
                name=name, version=version, consumes=consumes, budget="quick", options=options, fitted_on=fitted_on
            ),
            seed=seed,
            device=device,
        ),
        parameter_count=7,
        artifacts={"forecasts": "b" * 64},
        provenance=Provenance(
            tipl_bench="0", git_commit=None, git_dirty=None, python="3", platform="p", cpu="c", gpu=None,
            torch_threads=1, isolation="none", packages={"numpy": "2"},
        ),
        cost=Cost(fit_seconds=1.0, forecast_seconds=0.0, evaluation_seconds=0.0, peak_memory_bytes=2**30),
        results=score(rows, protocol),
        returns=[ReturnPair("learning", 1, 10.0, 9.0), ReturnPair("learning", 3, 500.0, 480.25)],
    )  # fmt: skip


def write(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(records):
        (folder / f"{number}.json").write_text(one.model_dump_json())
    return folder


def document_of(folder, *records):
    return document(write(folder / "records", *records)).model_dump(mode="json")


def rows_of(board):
    return {row["method"]: row for row in board["rows"]}


def catalogue(store, **changes):
    """A catalog of this machine's own with one default dataset for each environment of `NAMES`."""
    store.mkdir(exist_ok=True)
    lines = []
    for name in NAMES:
        entry = {"environment": name, "summary": "A toy", "digest": "a" * 64, "default": True} | changes.get(name, {})
        lines += [f'["{name}/ppo-v1"]', *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (store / "catalog.toml").write_text("\n".join(lines))


def across(names=NAMES, predictors=(("mlp", 0.8), ("tipl", 0.5)), **more):
    return [
        record(name, ratio, dataset=f"{environment}/ppo-v1", environment=environment, **more)
        for environment in names
        for name, ratio in predictors
    ]


def under(protocol, one):
    return one.model_copy(update={"key": one.key.model_copy(update={"protocol": protocol})})
