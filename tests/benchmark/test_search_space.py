"""What a search chooses from, and in which order, without runs."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tipl_bench.benchmark.tuning.space import all_of, count, parse_space
from tipl_bench.benchmark.tuning.study import Study
from tipl_bench.utils.errors import OptionError

SPACE = ("rate=1e-4..1e-2:log", "width=8..64:log", "loss=squared,absolute")


@pytest.mark.parametrize(
    ("searches", "message"),
    [
        ((), r"Nothing to search: name an option and its values \(`search=`\)"),
        (("width",), r"Search 'width' is not of the form name=low\.\.high, name=low\.\.high:log or name=a,b,c\."),
        (("=1..2",), "is not of the form"),
        (("width=",), "is not of the form"),
        (("width=16",), "has one value"),
        (("width=16,16",), "has one value"),
        (("width=16,,32",), "lists an empty value"),
        (("width=128..16",), r"the upper bound, 16, is not above the lower one, 128\."),
        (("width=16..16",), "the upper bound, 16, is not above"),
        (("rate=0..1:log",), r"a logarithmic range begins above 0, not at 0\."),
        (("rate=-1..1:log",), r"begins above 0, not at -1\."),
        (("rate=1..2:ln",), "unknown scale 'ln'"),
        (("rate=a..b",), r"a\.\.b is not a range of two numbers"),
        (("rate=1..",), "is not a range of two numbers"),
        (("rate=nan..1",), "the bounds are not finite"),
        (("rate=1..inf",), "the bounds are not finite"),
        (("rate=1..2", "rate=2..3"), "Option 'rate' is searched twice"),
    ],
)
def test_when_a_search_cannot_be_then_one_sentence_says_why(searches, message):
    with pytest.raises(OptionError, match=message) as caught:
        parse_space(searches)
    assert "\n" not in str(caught.value)


def test_values_are_typed_again_as_they_are_shown_and_stay_within_their_bounds():
    rate, width, _ = parse_space(SPACE)
    assert rate.setting(0.00123456789) == "rate=0.001235"
    assert rate.setting(1.00004e-4) == "rate=0.0001"
    assert width.setting(17) == "width=17"
    narrow = parse_space(["x=0.12345..0.12346"])[0]
    assert narrow.setting(0.123454) == "x=0.12346"  # four digits, 0.1235, would be beyond it
    assert parse_space(["x=0..1"])[0].decimal().setting(0.25) == "x=0.25"


def test_a_space_of_few_configurations_is_listed_and_one_of_decimal_numbers_is_not():
    few = parse_space(["width=2..4", "loss=squared,absolute"])
    assert count(few) == len([*all_of(few)]) == 6
    assert count(parse_space(SPACE)) is None


def suggested(journal, trials: int, stop: int | None = None) -> list[dict]:
    """What a study suggests and is told, up to where it stops: after a suggestion, before its outcome."""
    found = []
    study = Study(journal, parse_space(SPACE), seed=3)
    for number, values, is_finished in study.configurations(trials)[1]:
        found.append(values)
        if len(found) == stop:
            break
        if not is_finished:
            study.tell(number, float("nan") if number % 4 == 1 else values["rate"])
    return found


def test_when_a_search_is_interrupted_then_it_goes_on_with_what_a_whole_one_tries(tmp_path):
    whole = suggested(tmp_path / "whole", 14)
    assert len({values["rate"] for values in whole}) == 14
    assert suggested(tmp_path / "cut", 14, stop=12) == whole[:12]
    assert suggested(tmp_path / "cut", 14) == whole
    assert suggested(tmp_path / "cut", 16)[:14] == whole


def test_when_the_journals_end_is_cut_off_or_its_lock_was_left_then_the_search_goes_on(tmp_path):
    journal = tmp_path / "cut"
    whole = suggested(journal, 4)
    journal.write_bytes(journal.read_bytes()[:-7])
    (tmp_path / "cut.lock").symlink_to("nowhere")
    assert suggested(journal, 4) == whole


def test_when_the_journal_is_damaged_then_the_search_begins_anew_with_one_sentence(tmp_path):
    whole = suggested(tmp_path / "journal", 3)
    (tmp_path / "journal").write_bytes(b"\x00{\n[]\n")
    with pytest.warns(UserWarning, match=r"is damaged .* and is kept as journal\.damaged: the search begins anew"):
        assert suggested(tmp_path / "journal", 3) == whole
    assert (tmp_path / "journal.damaged").read_bytes() == b"\x00{\n[]\n"


def test_a_journal_that_cannot_be_read_is_left_as_it_is(tmp_path, monkeypatch):
    suggested(tmp_path / "journal", 3)
    whole = (tmp_path / "journal").read_bytes()

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        suggested(tmp_path / "journal", 3)
    monkeypatch.undo()
    assert (tmp_path / "journal").read_bytes() == whole
