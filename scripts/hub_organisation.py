"""Write the files of an organisation on the Hugging Face Hub, and print the commands that would publish them.

    python scripts/hub_organisation.py OWNER --documentation https://OWNER.example/docs --out hub

One dataset repository a collection, one with the leaderboard's data and records, a static Space that shows the page,
and the organisation's card. Nothing is sent anywhere: the commands do that, with the account of whoever runs them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from tipl_bench.registry.catalog import catalog
from tipl_bench.registry.reference import family
from tipl_bench.utils.errors import TiplBenchError

ROOT = Path(__file__).parents[1]
BOARD, RESULTS = ROOT / "docs" / "board", ROOT / "leaderboard" / "results"
ORGANISATION = """\
---
title: tipl-bench
sdk: static
pinned: true
---

# tipl-bench

The benchmark for forecasting the weights of deep-RL policies as they train.

- [Leaderboard](https://huggingface.co/spaces/{owner}/leaderboard), and [its data](https://huggingface.co/datasets/{owner}/leaderboard)
- [Documentation]({documentation})

Datasets, a repository a collection and a tag a version:

{datasets}
"""
SPACE = """\
---
title: tipl-bench leaderboard
sdk: static
app_file: index.html
pinned: true
license: mit
datasets:
- {owner}/leaderboard
---

The leaderboard of tipl-bench, as `tipl-bench leaderboard build` writes it; its data are in the dataset repository of
the same name.
"""
DATA = """\
---
license: mit
pretty_name: tipl-bench leaderboard
tags:
- reinforcement-learning
- policy-weights
- leaderboard
configs:
- config_name: forecast
  default: true
  data_files: leaderboard.parquet
---

# The leaderboard of tipl-bench

`leaderboard.parquet` has a row for each method, board, phase and horizon of the forecast track; `training.json` is the
training track. `results/` holds every record, and the evidence that its numbers follow from: `tipl-bench leaderboard
build` gives these files again.
What each column means is in the [reference]({documentation}/reference/).
"""


@click.command()
@click.argument("owner")
@click.option("--documentation", metavar="URL", required=True, help="Where the documentation is published.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("hub"), show_default=True, help="A new folder.")
def main(owner: str, documentation: str, out: Path) -> None:
    """Write the files of OWNER's repositories into a folder, and print the commands that publish them."""
    try:
        datasets = _repositories()
    except TiplBenchError as error:
        raise click.ClickException(str(error)) from None
    if out.exists():
        raise click.ClickException(f"{out} is there already; give another folder, or remove it.")
    address = f"https://huggingface.co/datasets/{owner}"
    listed = "\n".join(f"- [{repo}]({address}/{repo}): {', '.join(names)}" for repo, names in datasets.items())
    facts = {"owner": owner, "documentation": documentation.rstrip("/"), "datasets": listed}
    cards = {"spaces/README": ORGANISATION, "spaces/leaderboard": SPACE, "datasets/leaderboard": DATA}
    shutil.copytree(BOARD, out / "spaces" / "leaderboard")
    page = out / "spaces" / "leaderboard" / "index.html"
    page.write_text(_absolute(page.read_text(encoding="utf-8"), facts["documentation"]), encoding="utf-8")
    shutil.copytree(BOARD, out / "datasets" / "leaderboard", ignore=shutil.ignore_patterns("*.html"))
    shutil.copytree(RESULTS, out / "datasets" / "leaderboard" / "results")
    for folder, card in cards.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / "README.md").write_text(card.format(**facts), encoding="utf-8")
    for repo, names in datasets.items():
        for name in names:
            click.echo(f"tipl-bench datasets publish {name} --repo {owner}/{repo} --dry-run")
    for kind, folder in (
        ("dataset", "datasets/leaderboard"),
        ("space", "spaces/leaderboard"),
        ("space", "spaces/README"),
    ):
        click.echo(f"hf upload {owner}/{folder.rpartition('/')[2]} {out / folder} --repo-type {kind}")


def _repositories() -> dict[str, list[str]]:
    """The catalogued versions of each collection by its repository, oldest first; none that was yanked."""
    found: dict[str, list[str]] = {}
    for name, entry in catalog().items():
        if not entry.yanked:
            found.setdefault(family(name).replace("/", "-"), []).append(name)
    return {repo: sorted(names) for repo, names in sorted(found.items())}


def _absolute(page: str, documentation: str) -> str:
    """The page with its links to the documentation beside it made absolute: a Space has no such files."""
    for name in ("reference", "intervals"):
        page = page.replace(f'href="../{name}.md"', f'href="{documentation}/{name}/"')
    return page.replace('href="../../leaderboard/README.md"', f'href="{documentation}/"')


if __name__ == "__main__":
    main()
