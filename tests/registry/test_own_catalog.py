"""A catalog of one's own beside the shipped one, and versions that were withdrawn."""

from __future__ import annotations

import json
import logging
import tomllib

import pytest
from helpers.small_collections import TINY
from tipl_bench.registry import catalog as catalog_module
from tipl_bench.registry.catalog import catalog, write_yanked
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import SHIPPED_CATALOG, own_catalog
from tipl_bench.registry.reference import HubLocation
from tipl_bench.utils.errors import DatasetError, UnknownNameError

DIGEST, COMMIT = "0" * 64, "c" * 40
SHIPPED = tomllib.loads(SHIPPED_CATALOG.read_text(encoding="utf-8"))
BUNDLED = "inverted-pendulum/ppo-head-v1"


def own(entries):
    """Write the person's catalog: a text as it is, or entries over a valid one's fields (None leaves a field out)."""
    own_catalog().parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(entries, str):
        basic = {"environment": "InvertedPendulum-v4", "summary": "one's own", "digest": DIGEST}
        filled = {
            name: {k: v for k, v in (basic | entry).items() if v is not None} if isinstance(entry, dict) else entry
            for name, entry in entries.items()
        }
        plain = [f'"{name}" = {json.dumps(entry)}' for name, entry in filled.items() if not isinstance(entry, dict)]
        tables = [
            "\n".join([f'["{name}"]', *(f"{key} = {json.dumps(value)}" for key, value in entry.items())])
            for name, entry in filled.items()
            if isinstance(entry, dict)
        ]
        entries = "\n".join([*plain, *tables]) + "\n"
    own_catalog().write_text(entries, encoding="utf-8")
    return own_catalog()


def test_without_a_catalog_of_ones_own_there_is_the_shipped_one(store):
    assert own_catalog() == store / "catalog.toml"
    assert catalog().keys() == SHIPPED.keys()
    assert {name: entry.digest for name, entry in catalog().items()} == {n: e["digest"] for n, e in SHIPPED.items()}


def test_own_entries_stand_beside_the_shipped_ones_and_are_read_anew_each_time():
    own({TINY: {"repo": "someone/pendulum", "commit": COMMIT}})
    assert catalog().keys() == {*SHIPPED, TINY}
    assert catalog()[TINY].location == HubLocation("someone/pendulum", COMMIT)
    own({"my-env/mine-v2": {}})
    assert catalog().keys() == {*SHIPPED, "my-env/mine-v2"}
    assert catalog()["my-env/mine-v2"].location is None


def test_an_own_entry_may_say_where_a_shipped_name_is_published_but_not_what_it_is():
    own({BUNDLED: {"digest": SHIPPED[BUNDLED]["digest"], "repo": "someone/pendulum", "commit": COMMIT}})
    assert catalog()[BUNDLED].repo == "someone/pendulum"
    elsewhere = {"digest": SHIPPED[BUNDLED]["digest"], "environment": "Hopper-v4"}
    own({BUNDLED: elsewhere})
    assert catalog()[BUNDLED].environment == "InvertedPendulum-v4"
    path = own({BUNDLED: {"digest": DIGEST}})
    with pytest.raises(DatasetError, match=f"{BUNDLED} has another digest than the catalog that ships") as caught:
        catalog()
    assert str(path) in str(caught.value)
    with pytest.raises(DatasetError, match="another digest"):
        load_dataset(BUNDLED, download=False)


def test_an_own_entry_does_not_hide_that_a_shipped_version_was_yanked(monkeypatch):
    yanked = {BUNDLED: catalog()[BUNDLED].model_copy(update={"yanked": "wrong seeds"})}
    monkeypatch.setattr(catalog_module, "_shipped", lambda: yanked)
    own({BUNDLED: {"digest": SHIPPED[BUNDLED]["digest"]}})
    assert catalog()[BUNDLED].yanked == "wrong seeds"


MALFORMED = {
    "no TOML": ("[[[", "not a readable catalog"),
    "a name without version": ({"my-env/mine": {}}, "'my-env/mine' is not a dataset name"),
    "a name leading out": ({"../mine-v1": {}}, "'../mine-v1' is not a dataset name"),
    "a name too long": ({"x/" + "y" * 76 + "-v1": {}}, "is not a dataset name"),
    "a name ending in a newline": ('["a/b-v1\\n"]', "is not a dataset name"),
    "no table": ({TINY: 3}, f"{TINY}: Input should be"),
    "no digest": ({TINY: {"digest": None}}, f"{TINY}.digest: is missing"),
    "a short digest": ({TINY: {"digest": "0" * 63}}, f"{TINY}.digest: "),
    "a digest in capitals": ({TINY: {"digest": "A" * 64}}, f"{TINY}.digest: "),
    "a digest ending in a newline": ({TINY: {"digest": DIGEST + "\n"}}, f"{TINY}.digest: "),
    "an unknown field": ({TINY: {"url": "x"}}, f"{TINY}.url: no such field"),
    "a repo without commit": ({TINY: {"repo": "o/n"}}, f"{TINY}: a published dataset has both"),
    "a commit without repo": ({TINY: {"commit": COMMIT}}, f"{TINY}: a published dataset has both"),
    "a short commit": ({TINY: {"repo": "o/n", "commit": "c" * 39}}, f"{TINY}.commit: "),
    "a commit ending in a newline": ({TINY: {"repo": "o/n", "commit": COMMIT + "\n"}}, f"{TINY}.commit: "),
    "a repo leading out": ({TINY: {"repo": "../n", "commit": COMMIT}}, "repo '../n' is not of the form OWNER/NAME"),
    "a repo ending in a newline": ({TINY: {"repo": "o/n\n", "commit": COMMIT}}, "is not of the form OWNER/NAME"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_catalog_is_refused_with_its_path_the_entry_and_the_reason(what):
    entries, reason = MALFORMED[what]
    path = own(entries)
    with pytest.raises(DatasetError) as caught:
        catalog()
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_a_catalog_that_is_no_text_is_refused():
    own("").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="not a readable catalog"):
        catalog()


def test_opening_a_yanked_dataset_warns_with_the_reason_and_opening_another_does_not(stored, caplog):
    own({TINY: {"digest": stored.digest}})
    with caplog.at_level(logging.WARNING):
        load_dataset(TINY, download=False)
        assert not caplog.records
        write_yanked(TINY, "seeds were mixed up")
        assert load_dataset(TINY, download=False).digest == stored.digest
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{TINY} was yanked: seeds were mixed up.")


TWO = f"""# My datasets.

["my-env/mine-v1"]  # the first
environment = "E-v1"   # spaced
summary = 'quoted otherwise'
digest = "{DIGEST}"

# What follows is about the second version.

["my-env/mine-v2"]
environment = "E-v1"
summary = "second"
digest = "{DIGEST}"

# The end.
"""


@pytest.mark.parametrize("name", ["my-env/mine-v1", "my-env/mine-v2"])
def test_yanking_adds_one_line_to_its_entry_and_leaves_every_other_as_it_was(name):
    shipped = SHIPPED_CATALOG.read_bytes()
    path = own(TWO)
    others = {n: entry for n, entry in catalog().items() if n != name}
    assert write_yanked(name, 'it is "wrong" # really') == path
    lines, before = path.read_text(encoding="utf-8").splitlines(), TWO.splitlines()
    (added,) = (i for i, line in enumerate(lines) if line.startswith("yanked"))
    assert lines[added - 1] == f'digest = "{DIGEST}"'
    assert lines[:added] + lines[added + 1 :] == before
    assert catalog()[name].yanked == 'it is "wrong" # really'
    assert {n: entry for n, entry in catalog().items() if n != name} == others
    assert SHIPPED_CATALOG.read_bytes() == shipped


def test_yanking_again_changes_the_reason_only():
    path = own(TWO)
    write_yanked("my-env/mine-v1", "first")
    once = path.read_text()
    write_yanked("my-env/mine-v1", "second")
    assert path.read_text() == once.replace('yanked = "first"', 'yanked = "second"')


ODD = {
    "on one line": f'"{TINY}" = {{environment = "E-v1", summary = "s", digest = "{DIGEST}"}} # short\n',
    "a text over lines": f'["{TINY}"]\nenvironment = "E"\ndigest = "{DIGEST}"\nsummary = """\nx = 1\n"""\n',
    "a header in a text": f'["a/b-v1"]\nenvironment = "E"\ndigest = "{DIGEST}"\nsummary = """\n["{TINY}"]\n"""\n'
    f'["{TINY}"]\nenvironment = "E"\ndigest = "{DIGEST}"\nsummary = "s"\n',
}


@pytest.mark.parametrize("form", ODD)
def test_an_entry_that_cannot_be_edited_by_lines_is_left_as_it_is_and_the_line_to_add_is_told(form):
    path = own(ODD[form])
    with pytest.raises(DatasetError, match='add to it by hand: yanked = "why"') as caught:
        write_yanked(TINY, "why")
    assert str(path) in str(caught.value)
    assert path.read_text() == ODD[form]


def test_yanking_what_no_catalog_holds_names_the_nearest():
    path = own(TWO)
    with pytest.raises(UnknownNameError, match="Did you mean 'my-env/mine-v"):
        write_yanked("my-env/mine-v3", "why")
    assert path.read_text() == TWO
