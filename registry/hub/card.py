"""The dataset card: front matter for the Hub, and a description of every field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from ..manifest import Manifest
from ..views.index import INDEX_NAME
from ..views.statistics import ReturnStatistics

CARD_NAME = "README.md"
FIGURE_NAME = "returns.png"


def render_card(manifest: Manifest, repo: str, statistics: ReturnStatistics, yanked: Mapping[str, str]) -> str:
    """The card's text.

    Parameters
    ----------
    manifest
        The version that is published.
    repo
        `OWNER/NAME`.
    statistics
        Of its training returns.
    yanked
        Reasons by version (`v1`) for the versions of this repository that are yanked.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # Markdown, of a validated manifest
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    config = manifest.collection
    return environment.get_template("card.md.j2").render(
        manifest=manifest,
        repo=repo,
        licence=manifest.licence,
        pretty_name=f"{manifest.environment} policy-weight trajectories ({manifest.name})",
        parameters=manifest.layout.parameter_count,
        imported=config.algorithm == "external",
        hyperparameters={} if config.algorithm == "external" else config.hyperparameters.model_dump(),
        size_category=_size_category(len(manifest.trials) * manifest.checkpoints),
        statistics=statistics,
        index_name=INDEX_NAME,
        figure_name=FIGURE_NAME,
        yanked=yanked,
    )


def _size_category(rows: int) -> str:
    """The Hub's category of a number of rows."""
    steps = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6))
    return next((category for category, bound in steps if rows < bound), "1M<n<10M")
