"""Names that the shell completes, from metadata and catalogs alone: nothing heavy is imported."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


def complete_predictors(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Predictors of this package and of installed ones."""
    from ..baselines import predictor_names

    return [name for name in predictor_names() if name.startswith(typed)]


def complete_datasets(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Datasets of the catalogs and of the store."""
    from ..registry.locations import cache_root

    root, names = cache_root() / "datasets", set(_entries())
    with contextlib.suppress(OSError):
        names |= {path.parent.relative_to(root).as_posix() for path in root.glob("*/*/manifest.json")}
    return sorted(name for name in names if name.startswith(typed))


def complete_environments(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Environments that have a default dataset."""
    found = {str(entry.get("environment")) for entry in _entries().values() if entry.get("default")}
    return sorted(name for name in found if name.startswith(typed))


def complete_states(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Fitted states of this package."""
    from ..benchmark.fitted import CATALOG

    return [name for name in tomllib.loads(CATALOG.read_text(encoding="utf-8")) if name.startswith(typed)]


def complete_optimizers(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Optimizers of this package."""
    from ..baselines.optimizers import OPTIMIZERS

    return [name for name in OPTIMIZERS if name.startswith(typed)]


def complete_outer_rules(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Outer rules of this package."""
    from ..baselines.optimizers import OUTER_RULES

    return [name for name in OUTER_RULES if name.startswith(typed)]


def complete_optimizers_and_rules(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Optimizers and outer rules, those of installed packages among them."""
    from ..baselines.plugins.discovery import optimizer_names

    return [name for name in optimizer_names() if name.startswith(typed)]


def complete_budgets(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Training budgets, the shortest first."""
    from ..baselines.plugins.discovery import BUDGETS

    return [name for name in BUDGETS if name.startswith(typed)]


def complete_devices(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
    """Devices."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(typed)]


def _entries() -> dict[str, dict[str, Any]]:
    """The catalogs' entries; a catalog that cannot be read has none, as commands report that."""
    from ..registry.locations import SHIPPED_CATALOG, own_catalog

    found: dict[str, dict[str, Any]] = {}
    for path in (SHIPPED_CATALOG, own_catalog()):
        with contextlib.suppress(OSError, ValueError):
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
            found |= {name: entry for name, entry in entries.items() if isinstance(entry, dict)}
    return found


def complete_suites(context: click.Context, option: click.Parameter, typed: str) -> list[CompletionItem]:
    """Suites of this package, and files; where no suite's name fits, the shell completes files as it does elsewhere."""
    folder = Path(__file__).parents[1] / "benchmark" / "suites"
    names = sorted(path.stem for path in folder.glob("*.toml") if path.stem.startswith(typed))
    if not names:
        return [CompletionItem(typed, type="file")]
    return [CompletionItem(name) for name in (*names, *sorted(map(str, Path().glob(f"{typed}*.toml"))))]
