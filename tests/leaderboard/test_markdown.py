"""Strangers' text in Markdown is shown and never obeyed; an independent parser is the judge."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tipl_bench.leaderboard.render.escaping import MAX_LENGTH, markdown_text
from tipl_bench.leaderboard.render.markdown import listed

PARSER = MarkdownIt("commonmark").enable("table").enable("strikethrough")
visible = st.text(
    st.one_of(st.characters(exclude_categories=("C", "Z")), st.sampled_from(list(" |`\\*_[]()<>&#~$!@:/.w"))),
    max_size=MAX_LENGTH,
)


def cell(text):
    """Tokens of the middle one of three cells, and how many cells there are in the whole table."""
    tokens = PARSER.parse(f"| a | b | c |\n|---|---|---|\n| x | {markdown_text(text)} | z |\n\nafter\n")
    assert [token.type for token in tokens if token.type.endswith("_open")][-1] == "paragraph_open"
    cells = [tokens[number + 1] for number, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 3
    return cells[1].children


def shown(tokens):
    assert {token.type for token in tokens} <= {"text", "text_special", "html_inline"}
    markup = {token.content for token in tokens if token.type == "html_inline"}
    assert markup <= {"<span>", "</span>"}
    return "".join(token.content for token in tokens if token.type != "html_inline")


@given(visible)
def test_a_cell_shows_the_text_itself_and_no_markup(text):
    assert shown(cell(text)) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "a | b", "`x`", "[a](https://x.y)", "![a](x)", "<script>alert(1)</script>", "<b>", "&lt;", "**a**", "__a__",
        "~~a~~", "\\| \\` \\\\|", "a\\", "$x$", "<https://x.y>", "[a]: /x", "<!-- -->", "learning_rate=0.001",
    ],
)  # fmt: skip
def test_markup_is_shown_as_it_is_written(text):
    assert shown(cell(text)) == text


@pytest.mark.parametrize(
    "text", ["see https://evil.example/x", "www.evil.example", "WWW.evil.example", "me@evil.example"]
)
def test_addresses_are_not_what_a_renderer_would_link(text):
    assert shown(cell(text)) == text
    assert not re.search(r"://|www\.|[\w.]@\w", markdown_text(text), re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\r\n\r\n# b", "a\tb", "\u202eb", "\u2066", "\u200b", "\u2028", "\x00", "\x1b[31m", "\ufeff", "\u00a0"],
)
def test_characters_without_a_shape_are_spelled_out(text):
    found = shown(cell(text))
    assert "\\u" in found
    assert all(character == " " or character.isprintable() for character in found)
    assert len(markdown_text(text).splitlines()) == 1


def test_a_long_text_is_cut():
    assert shown(cell("x" * 10_000)) == "x" * (MAX_LENGTH - 1) + "…"


def test_names_in_a_row_are_cut_and_escaped_one_by_one():
    names = ["a" * 150, "b|c", "d" * (MAX_LENGTH + 1)]
    assert listed(names) == ", ".join(map(markdown_text, names))
    assert listed(names).endswith("\u2026")
    assert "b&#124;c" in listed(names, "; ")


def test_a_plain_name_stays_as_it_is():
    assert (
        markdown_text("tipl width=3, quick (v1) half-cheetah/ppo-v1") == "tipl width=3, quick (v1) half-cheetah/ppo-v1"
    )
