"""Records to pages: `LEADERBOARD.md` and one static `index.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from .. import __version__
from ..baselines import predictor_type
from ..baselines.options import build_options
from ..benchmark.intervals import Estimate
from ..benchmark.record import Record
from ..benchmark.table import interval, number
from ..registry.catalog import catalog
from ..registry.errors import TiplBenchError
from ..registry.files import write_text
from . import records as stored
from .entries import FEWEST_TRIALS, HEADLINE_PHASE, Entry, entries

HORIZONS = (1, 2, 5, 10)


def build(records: Path | None, out: Path) -> list[Path]:
    """Render the board; returns the files written.

    Parameters
    ----------
    records
        Folder of records; the package's own by default.
    out
        Folder to write `LEADERBOARD.md` and `index.html` into.
    """
    boards = [_board(name, board) for name, board in _ordered(entries(stored.load(records)))]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for target, template in (("LEADERBOARD.md", "board.md.j2"), ("index.html", "board.html.j2")):
        page = environment.get_template(template).render(boards=boards, horizons=HORIZONS, version=__version__)
        write_text(out / target, page)
        written.append(out / target)
    return written


def _ordered(boards: dict[str, list[Entry]]) -> list[tuple[str, list[Entry]]]:
    """Bundled datasets first, then by name."""

    def place(item: tuple[str, list[Entry]]) -> tuple[bool, str]:
        entry = catalog().get(item[1][0].records[0].key.dataset.name)
        return not (entry and entry.bundled), item[0]

    return sorted(boards.items(), key=place)


def _board(anchor: str, board: list[Entry]) -> dict[str, Any]:
    record = board[0].records[0]
    key = record.key
    catalogued = catalog().get(key.dataset.name)
    first = [metric for metric in record.metrics if metric.phase == HEADLINE_PHASE] or list(record.metrics)
    ceilings = {metric.horizon: metric.oracle_skill.value for metric in first}
    floors = [metric.noise_floor.value for metric in first if metric.noise_floor.value is not None]
    persistence = [metric.repw_persistence.value for metric in first if metric.repw_persistence.value is not None]
    return {
        "anchor": anchor.replace("/", "-").replace("@", "-"),
        "dataset": key.dataset.name,
        "digest": key.dataset.digest,
        "environment": key.dataset.environment,
        "published": bool(catalogued and (catalogued.bundled or catalogued.repo)),
        "yanked": catalogued.yanked if catalogued and catalogued.digest == key.dataset.digest else None,
        "protocol": key.protocol.version,
        "phase": first[0].phase,
        "trials": first[0].trials,
        "ranked": first[0].trials >= FEWEST_TRIALS,
        "fewest": FEWEST_TRIALS,
        "windows": first[0].windows,
        "ceilings": {horizon: number(ceilings.get(horizon), 2) for horizon in HORIZONS},
        "ceiling": number(_mean([c for c in ceilings.values() if c is not None]), 3),
        "noise_floor": number(_mean(floors), 1),
        "repw_persistence": number(_mean(persistence), 1),
        "rows": [_row(entry) for entry in board],
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _row(entry: Entry) -> dict[str, Any]:
    record = entry.records[0]
    key = record.key
    skill, repw = entry.skill(), entry.return_error()
    by_horizon = {horizon: entry.skill(horizon) for horizon in HORIZONS}
    fit = _mean([r.cost.fit_seconds for r in entry.records]) or 0.0
    memory = max(r.cost.peak_memory_bytes for r in entry.records)
    return {
        "rank": entry.rank,
        "tied": ", ".join(entry.tied_with),
        "name": entry.label,
        "variant": _variant(record),
        "version": key.predictor.version,
        "consumes": key.predictor.consumes,
        "budget": key.predictor.budget,
        "skill": number(skill.value, 3),
        "skill_interval": interval(skill, 3),
        "skill_sort": skill.value or 0.0,
        "verdict": _verdict(skill),
        "by_horizon": {h: {"value": number(e.value, 3), "interval": interval(e, 3)} for h, e in by_horizon.items()},
        "spread": number(entry.seed_spread, 3),
        "seeds": [r.key.seed for r in entry.records],
        "repw": number(repw.value, 1),
        "repw_sort": repw.value or 0.0,
        "repw_interval": interval(repw, 1),
        "fit_seconds": number(fit, 1),
        "fit_sort": fit,
        "parameters": record.parameter_count,
        "memory": number(memory / 2**30, 2),
        "memory_sort": memory,
        "device": key.device,
        "options": ", ".join(f"{name}={value}" for name, value in key.predictor.options.items()) or "none",
        "provenance": [_provenance(r) for r in entry.records],
        "command": _command(record),
    }


def _verdict(skill: Estimate) -> str:
    """Whether the interval excludes 0, for colour."""
    if skill.low is None or skill.high is None:
        return "open"
    return "better" if skill.low > 0 else "worse" if skill.high < 0 else "open"


def _variant(record: Record) -> str:
    """The options by which this entry differs from its predictor's budget, as `--set` takes them."""
    stated = record.key.predictor
    try:
        kind = predictor_type(stated.name)
        usual = vars(build_options(kind, stated.budget, ()))
    except TiplBenchError:  # a predictor that is not installed here
        return ""
    return " ".join(f"{name}={value}" for name, value in stated.options.items() if usual.get(name) != value)


def _provenance(record: Record) -> dict[str, Any]:
    origin = record.provenance
    commit = (origin.git_commit or "wheel")[:12] + ("+dirty" if origin.git_dirty else "")
    packages = ", ".join(f"{name} {version}" for name, version in origin.packages.items())
    return {
        "seed": record.key.seed,
        "commit": commit,
        "forecasts": record.forecasts_sha256[:12],
        "machine": f"{origin.gpu or origin.cpu}, {origin.torch_threads} threads",
        "versions": f"tipl-bench {origin.tipl_bench}, Python {origin.python}, {packages}",
    }


def _command(record: Record) -> str:
    key = record.key
    settings = "".join(f" --set {setting}" for setting in _variant(record).split())
    return (
        f"tipl-bench run --model {key.predictor.name} --dataset {key.dataset.name} --budget {key.predictor.budget}"
        f" --seed {key.seed}{settings}"
    )
