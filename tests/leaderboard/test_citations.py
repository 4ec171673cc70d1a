"""The BibTeX beside the board."""

from __future__ import annotations

import re

from helpers.board_records import record, write
from tipl_bench.baselines.plugins.sources import MethodCode
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.render.citations import bibliography
from tipl_bench.registry.catalog import catalog


def of(toys, *codes):
    records = [record(f"guest{number}", 0.5) for number in range(len(codes))]
    records = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"code": code})})
        for one, code in zip(records, codes, strict=True)
    ]
    return bibliography(document(write(toys / "records", record("tipl", 0.5), *records)))


def code(**facts):
    return MethodCode(**({"distribution": "forecaster", "version": "1", "files": {}} | facts))


def test_it_cites_the_suite_and_the_paper_of_tipl(toys):
    text = of(toys)
    assert re.findall(r"^@(\w+)\{(.+),$", text, re.MULTILINE) == [
        ("software", "tipl-bench"),
        ("article", "tang2025"),
        ("misc", "toy-ppo-v1-aaaaaaaa"),
    ]
    assert "author = {Tang, Hongyao}," in text
    assert "eprint = {2503.04074}," in text
    assert "author = {{The tipl-bench authors}}," in text


def test_each_paper_that_a_row_names_is_an_entry(toys):
    text = of(toys, code(paper="https://arxiv.org/abs/2302.01470", authors="A. Uthor"), code(url="https://example.org"))
    assert "@misc{guest0-v1,\n  author = {{A. Uthor}},\n" in text
    assert "eprint = {2302.01470}," in text
    assert "guest1" not in text


def test_a_strangers_text_stays_text(toys):
    text = of(toys, code(paper="https://example.org/x", authors=r"}}, \input{/etc/passwd} @string{a = 50% & #1_$~^"))
    (line,) = [line for line in text.splitlines() if "passwd" in line]
    assert line == (
        r"  author = {{\}\}, \textbackslash{}input\{/etc/passwd\} \char64{}string\{a = "
        r"50\% \& \#1\_\$\textasciitilde{}\textasciicircum{}}},"
    )
    assert text.count("\n@") == 3


def test_each_dataset_is_cited_once_with_its_digest_and_as_the_suites_only_if_it_is(toys):
    ours = {"dataset": "inverted-pendulum/ppo-v1", "digest": catalog()["inverted-pendulum/ppo-v1"].digest}
    records = [record("tipl", 0.5), record("mlp", 0.5), record("tipl", 0.5, **ours), record("mlp", 0.8, **ours)]
    text = bibliography(document(write(toys / "records", *records)))
    entries = re.split(r"\n(?=@)", text)[2:]
    (one, other) = sorted(entry for entry in entries)
    assert one.startswith(f"@misc{{inverted-pendulum-ppo-v1-{ours['digest'][:8]},\n")
    assert "author = {{The tipl-bench authors}}," in one
    assert "author" not in other
    for entry, digest in ((one, ours["digest"]), (other, "a" * 64)):
        assert f"digest {digest}}}," in entry
        assert "policy weight trajectories of InvertedPendulum-v4}}" in entry
