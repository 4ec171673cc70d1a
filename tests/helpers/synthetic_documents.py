"""Data documents of any size that keep the contract of `leaderboard.json`, with made-up numbers."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import random

from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.leaderboard.document.metric_values import SHOWN
from tipl_bench.leaderboard.document.schema import LeaderboardDocument

H = PROTOCOLS[1].horizon
ENVIRONMENTS = ("InvertedPendulum-v4", "HalfCheetah-v4", "Hopper-v4", "Walker2d-v4", "Swimmer-v4")
PREDICTORS = ("persistence", "linear", "autoregression", "mlp", "tipl", "nino", "wnn", "koopman", "holt", "pptb")
LAYERS = {name: [1e-6 * (h + 1) for h in range(H)] for name in ("layer0.weight", "layer0.bias", "log_std")}
PERSISTENCE = [1e-6 * 1.5**trial for trial in range(15)]
STATES = ("claimed", "rescored", "reproduced")
ALIKE = "bitwise, on the same kind of machine (AMD EPYC)"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "<!--<script>",
    "'); alert(4); ('",
    "${alert(5)}{{7*7}}",
    "javascript:alert(6)",
    "__proto__",
    "constructor",
    "\u202egnp.lpit",
    "a\u2066b\u2028c\u2029d\x00e\x1b[31mf\u200bg\ufeffh",
    "z\u0351\u0352\u0353\u0354\u0355\u0356\u0357\u0358\u0359\u035a\u035b" * 8,
    "long" * 500,
    "<svg/onload=alert(7)>",
    "\\u003cimg src=x onerror=alert(8)\\u003e",
)


def typed(document):
    """The document as what renders it takes it."""
    return LeaderboardDocument.model_validate(document)


def document(rows=24, boards=3, *, seed=0, phases=("learning", "converged", "all"), comparisons=None, returns=40):
    """A document of `rows` rows dealt to `boards` boards.

    `comparisons` limits each row's comparisons to its nearest neighbours: all of them are as many as the rows squared.
    """
    rng = random.Random(seed)
    places = [_board(number, phases) for number in range(boards)]
    made = []
    for number, board in enumerate(places):
        count = rows // boards + (number < rows % boards)
        made += _rows(board, count, rng, phases, comparisons, returns)
    return {
        "format": 4,
        "version": "0.1.0",
        "protocols": {"1": PROTOCOLS[1].model_dump()},
        "metrics": [metric.model_dump() for metric in SHOWN],
        "boards": places,
        "rows": made,
        "overall": [_overall(places, made)],
    }


def hostile(boards=2):
    """A document in which every free text is one of `HOSTILE`."""
    made = copy.deepcopy(document(len(HOSTILE), boards, returns=5))  # its rows share what is cached
    for number, row in enumerate(made["rows"]):
        text = HOSTILE[number % len(HOSTILE)]
        row.update(
            method=text, variant=text, consumes=text, budget=text, device=text, options={text: text},
            greyed=text if number % 3 == 0 else None, disputed=text if number % 3 == 1 else None,
            reproduction=text, evidence=[{"kind": text, "text": text, text: text}],
            commands={"run": [text] * 2, "verify": [text] * 2, "reproduce": [text] * 2},
        )  # fmt: skip
        row["layers"] = {phase: {text: [1e-6] * H} for phase in row["phases"]}
        for origin in row["provenance"]:
            origin.update(
                commit=text, cpu=text, gpu=text, isolation=text, python=text, platform=text, record=text,
                packages={text: text},
            )  # fmt: skip
    for number, board in enumerate(made["boards"]):
        text = HOSTILE[number]
        for row in made["rows"]:
            if row["board"] == board["id"]:
                row["board"] = text
        board.update(id=text, environment=text, dataset=text, repo=text, commit=text, yanked=text)
    for number, entry in enumerate(made["overall"][0]["rows"]):
        text = HOSTILE[number % len(HOSTILE)]
        entry.update(method=text, variant=text, environments=[text], consumes=text, budget=text, disputed=text)
    made["overall"][0].update(environments=[HOSTILE[0]], left_out=[HOSTILE[1]])
    return made


def sparse():
    """A document in which every number that may be missing is."""
    made = copy.deepcopy(document(6, 2, returns=0))
    nothing = {"value": None, "low": None, "high": None}
    for board in made["boards"]:
        board.update(repo=None, commit=None, ranked=False)
        references = {name: {"mean": None, "by_horizon": [None] * H} for name in board["phases"]["all"]["references"]}
        nowhere = {"references": references, "positions": {}}
        board.update(headline="all", phases={"all": {**board["phases"]["all"], **nowhere}})
    for row in made["rows"]:
        row.update(
            rank=None, tied=[], ranks={}, positions={}, comparisons=[], evidence=[], seeds=[0], seed_skills=[0.0],
            spread=None, options={},
        )  # fmt: skip
        row["cost"].update(fit_seconds=0.0, parameters=0)
        row["commands"] = {name: commands[:1] for name, commands in row["commands"].items()}
        row["provenance"] = [{**row["provenance"][0], "commit": None, "dirty": None}]
        series = {"mean": None, "by_horizon": [nothing] * H}
        row.update(phases={"all": dict.fromkeys(row["phases"]["all"], series)}, layers={"all": {}})
    for entry in made["overall"][0]["rows"]:
        entry.update(rank=None, skill=nothing, share=None, error_ratio=nothing)
    return made


def _board(number, phases):
    environment = ENVIRONMENTS[number % len(ENVIRONMENTS)]
    dataset = f"{environment.removesuffix('-v4').lower()}/ppo-v{1 + number // len(ENVIRONMENTS)}"
    digest = hashlib.sha256(dataset.encode()).hexdigest()
    references = {
        "oracle_skill": [round(0.95 - 0.02 * h, 4) for h in range(H)],
        "reset_noise": [1.3 + 0.1 * h for h in range(H)],
        "repw_persistence": [7.5 + 10.0 * h for h in range(H)],
        "wpe_persistence": [1e-5 * (h + 1) for h in range(H)],
        "repw_perfect": [0.5 + 0.2 * h for h in range(H)],
        "repw_moving_persistence": [30.0 + 10.0 * h for h in range(H)],
    }
    table = {
        "windows": 150,
        "trials": 15,
        "references": {name: {"mean": sum(at) / H, "by_horizon": at} for name, at in references.items()},
        "positions": {"oracle_skill": _by_position(0.95)},
    }
    return {
        "id": f"{dataset}@{digest[:12]}/p1", "dataset": dataset, "digest": digest, "environment": environment,
        "repo": "tipl/trajectories", "commit": digest[:40], "published": number % 3 != 1, "yanked": None,
        "superseded": "a newer one" if number >= len(ENVIRONMENTS) else None, "protocol": 1, "trials": 15,
        "ranked": True, "headline": phases[0],
        "ranking": {"metrics": ["skill", "repw"], "correction": "holm", "practical_tie": 0.01},
        "phases": dict.fromkeys(phases, table), "trial_errors": PERSISTENCE,
    }  # fmt: skip


def _rows(board, count, rng, phases, comparisons, returns):
    skills = sorted((round(rng.uniform(-0.4, 0.9), 4) for _ in range(count)), reverse=True)
    slug = board["dataset"].replace("/", "-")
    identifiers = [f"{slug}-{PREDICTORS[i % len(PREDICTORS)]}-{i}" for i in range(count)]
    rows = []
    for place, skill in enumerate(skills):
        others = [other for other in range(count) if other != place]
        if comparisons is not None:
            others = sorted(others, key=lambda other: abs(other - place))[:comparisons]
        tied = [other for other in others if abs(skills[other] - skill) < 0.01]
        greyed = "the dataset is yanked" if place % 11 == 7 else None
        rows.append({
            "id": identifiers[place], "board": board["id"], "method": PREDICTORS[place % len(PREDICTORS)],
            "version": 1 + place // 100, "consumes": "weights" if place % 4 else "gradients",
            "budget": "quick" if place % 3 else "paper",
            "variant": "" if place < 10 and place % 2 == 0 else f"width={64 + place}",
            "options": {"layers": 3, "width": 64 + place}, "device": "cpu" if place % 5 else "cuda",
            "state": STATES[place % 3],
            "reproduction": ALIKE if STATES[place % 3] == "reproduced" else None, "greyed": greyed,
            "disputed": "another machine measured 0.2 less" if place % 13 == 5 else None,
            "evidence": [{"kind": "rescored", "text": "scored again from its forecasts", "at": "2026-11-01"}],
            "rank": None if greyed else place + 1, "tied": [identifiers[other] for other in tied],
            "ranks": {} if greyed else {"repw": {"rank": count - place, "tied": []}},
            "above_ceiling": place % 17 == 3,
            "positions": {phases[0]: {"skill": _by_position(skill), "repw": _by_position(60 * (1.2 - skill))}},
            "phases": {phase: _phase(round(skill - 0.05 * n, 2), n) for n, phase in enumerate(phases)},
            "layers": dict.fromkeys(phases, LAYERS),
            "trial_errors": [error * (1 - skill + 0.02 * (n % 3 - 1)) for n, error in enumerate(PERSISTENCE)],
            "comparisons": [
                {
                    "row": identifiers[other],
                    **_pair(round(skill - skills[other], 4), 0.02),
                    "others": {"repw": _pair(round(skills[other] - skill, 4) * 60, 2.0)},
                    "win_rate": _estimate(0.5 + 0.5 * math.tanh(skill - skills[other]), 0.05),
                }
                for other in others
            ],
            "seeds": [0, 1, 2], "seed_skills": [skill - 0.01, skill, skill + 0.01], "spread": 0.01,
            "cost": {
                "fit_seconds": 0.0 if place % 10 == 0 else round(10 ** rng.uniform(-2, 4), 3),
                "forecast_seconds": 0.7, "evaluation_seconds": 96.7, "peak_memory_bytes": 897826816,
                "parameters": 10 * place,
            },
            "returns": _returns(returns), "provenance": _provenance(),
            "commands": {
                "run": [f"tipl-bench run --model {PREDICTORS[place % len(PREDICTORS)]} --seed {n}" for n in range(3)],
                "reproduce": [f"tipl-bench reproduce records/{identifiers[place]}-{n}.json" for n in range(3)],
                "verify": [f"tipl-bench verify runs/{identifiers[place]}-{n}" for n in range(3)],
            },
        })  # fmt: skip
    return rows


def _pair(value, width):
    """A paired difference, told apart where its interval excludes 0, a positive one being better."""
    verdict = "better" if value > width else "worse" if value < -width else "tied"
    return {"difference": _estimate(value, width), "p": 0.5 if verdict == "tied" else 0.001, "verdict": verdict}


def _by_position(value):
    mean = [round(value - 0.02 * position, 4) for position in range(5)]
    return {"mean": mean, "by_horizon": [mean] * H}


def _estimate(value, width):
    return {"value": value, "low": round(value - width, 6), "high": round(value + width, 6)}


@functools.cache
def _phase(skill, number):
    """One phase's numbers; rows of the same skill share them, which keeps large documents small in memory."""
    by_horizon = [round(skill * (1.1 - 0.03 * h), 4) for h in range(H)]
    repw = round(60 * (1.2 - skill) / (1 + number), 3)
    series = {
        "skill": [_estimate(value, 0.04) for value in by_horizon],
        "span_share": [_estimate(value / 0.9, 0.04) for value in by_horizon],
        "wpe": [_estimate(1e-5 * (h + 1) * (1 - value), 5e-7) for h, value in enumerate(by_horizon)],
        "repw": [_estimate(round((7 + 10 * h) * (1.2 - skill), 3), 2.0) for h in range(H)],
        "gain": [_estimate(round(skill * h, 3), 1.0) for h in range(H)],
        "repw_moving": [_estimate(round((30 + 10 * h) * (1.2 - skill), 3), 2.0) for h in range(H)],
    }
    means = {"skill": _estimate(skill, 0.03), "span_share": _estimate(skill / 0.9, 0.03), "repw": _estimate(repw, 5.0)}
    means["repw_moving"] = means["repw"]
    return {name: {"mean": means.get(name), "by_horizon": at} for name, at in series.items()}


@functools.cache
def _returns(count):
    rng = random.Random(count)
    points = []
    for number in range(count):
        true = rng.uniform(0, 1000)
        phase = "learning" if number % 2 else "converged"
        points.append([phase, 1 + number % H, round(true, 1), round(true + rng.gauss(0, 60), 1)])
    return points


@functools.cache
def _provenance():
    return [
        {
            "seed": seed, "record": f"toy__seed{seed}.json", "commit": "85ffe6ba3229e6a9e086e12861610ae35fcc893b",
            "dirty": False, "forecasts_sha256": "6" * 64, "cpu": "AMD EPYC", "gpu": None, "threads": 2,
            "isolation": "none", "python": "3.11.7", "platform": "Linux", "packages": {"numpy": "2.4.6"},
        }
        for seed in range(3)
    ]  # fmt: skip


def _overall(boards, rows):
    """Across the first board of every environment: entries of equal label together."""
    default = {}
    for board in boards:
        default.setdefault(board["environment"], board["id"])
    groups = {}
    for row in rows:
        if row["board"] in default.values():
            label = (row["method"], row["version"], row["consumes"], row["budget"], row["variant"])
            groups.setdefault(label, []).append(row)
    names = {identifier: environment for environment, identifier in default.items()}
    entries = []
    for (method, version, consumes, budget, variant), group in groups.items():
        mean = sum(next(iter(row["phases"].values()))["skill"]["mean"]["value"] for row in group) / len(group)
        entries.append({
            "label": f"{method} v{version} {budget} {variant} {consumes}", "method": method,
            "version": version, "consumes": consumes, "budget": budget, "variant": variant,
            "environments": [names[row["board"]] for row in group], "skill": _estimate(round(mean, 4), 0.03),
            "share": _estimate(round(mean / 0.9, 4), 0.03), "error_ratio": _estimate(round(1 - mean, 4), 0.03),
            "tied": [], "comparisons": [], "rows": [row["id"] for row in group],
            "state": min((row["state"] for row in group), key=STATES.index),
            "disputed": "; ".join(row["disputed"] for row in group if row["disputed"]) or None,
        })  # fmt: skip
    for entry in entries:
        for other in entries[:3]:
            if other is not entry:
                difference = round(entry["skill"]["value"] - other["skill"]["value"], 4)
                entry["comparisons"].append({
                    "label": other["label"], **_pair(difference, 0.02), "share": _estimate(difference, 0.03),
                    "error_ratio": _estimate(round(1 - difference, 4), 0.03),
                })  # fmt: skip
    entries.sort(key=lambda entry: -entry["skill"]["value"])
    for place, entry in enumerate(entries):
        entry["rank"] = place + 1
    return {
        "protocol": 1, "environments": sorted(default), "left_out": [], "resampled": "trials",
        "ranking": {"metrics": ["skill"], "correction": "holm", "practical_tie": 0.01}, "rows": entries,
    }  # fmt: skip
