"""A busy Hub: waited for as long as it asks, up to a limit, wherever a request is made."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate

import huggingface_hub
import pytest
from helpers.hub import Status
from helpers.hub_commands import PLACE, catalogue, published
from hypothesis import example, given
from hypothesis import strategies as st
from tipl_bench.registry.hub.waiting import bounded_waits, requested_wait, seconds
from tipl_bench.registry.hub.yank import yank
from tipl_bench.registry.loading import load_dataset, parse_reference
from tipl_bench.utils.errors import HubError, OptionError


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """Every wait, of ours and of the client's; none is slept."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def in_a_minute() -> str:
    return formatdate(time.time() + 60, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"RateLimit": '"api";r=0;t=60'}, 60),
        ({"ratelimit": '"api";r=12;t=60'}, None),
        ({"ratelimit": '"resolvers";r=0;t=60', "Retry-After": "90"}, 90),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Wed, 99 Oct 99999 07:28:00 GMT"}, None),
    ],
    ids=str,
)
def test_headers_say_how_long_to_wait(headers, wait):
    import httpx2

    assert requested_wait(httpx2.Headers(headers)) == wait


def test_a_date_says_how_long_to_wait():
    assert 55 < requested_wait({"Retry-After": in_a_minute()}) <= 60


OFFSETS = st.sampled_from(["GMT", "-0000", "+2359", "-2359", "+999999999999", "", "soon"])
DATES = st.builds("{}, {:02d} {} {:04d} {:02d}:28:00 {}".format, st.just("Wed"), st.integers(0, 99),
    st.sampled_from(["Jan", "Dec", "Foo"]), st.integers(0, 99999), st.integers(0, 30), OFFSETS)  # fmt: skip
NUMBERS = st.one_of(st.integers().map(str), st.floats().map(str), st.integers(1, 9000).map(lambda n: "9" * n))


@given(after=st.one_of(st.text(), NUMBERS, DATES), reset=st.one_of(st.text(), NUMBERS))
@example(after="nan", reset="nan")
@example(after="-inf", reset="1e99")
@example(after="\u00b2", reset="9" * 5000)
def test_whatever_the_headers_say_the_wait_is_a_number_that_can_be_compared_and_printed(after, reset):
    wait = requested_wait({"Retry-After": after, "RateLimit": f'"api";r=0;t={reset}'})
    assert wait is None or 0 <= wait <= 1e9
    assert wait is None or seconds(wait).endswith(" s")


def test_a_wait_of_more_digits_than_a_limit_has_is_a_wait_beyond_it():
    for digits in (10, 400, 5000):
        assert requested_wait({"Retry-After": "9" * digits}) == 1e9


ASKING = {
    "seconds": lambda: Status(429, retry_after=60),
    "a date": lambda: Status(429, retry_after=in_a_minute()),
    "the draft's header": lambda: Status(429, ratelimit=60),
    "unavailable": lambda: Status(503, retry_after=60),
}
READING = (
    "GET .*/api/datasets/.*/revision|GET /api/datasets/alice/tiny$",
    "GET .*/resolve/.*manifest",
    "GET .*/resolve/.*trial",
    "POST .*/paths-info/",
)


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("request_line", READING)
def test_when_the_hub_asks_to_wait_then_downloads_wait_once_and_that_long(
    hub, place, request_line, asking, waits, caplog
):
    hub.faults.add(request_line, ASKING[asking](), times=1)
    load_dataset(PLACE).verify()
    (wait,) = waits
    assert 55 < wait <= 62
    assert "the Hub asks to wait 60 s" in caplog.text or "the Hub asks to wait 59 s" in caplog.text


WRITING = (
    "POST /api/repos/create",
    "POST .*/preupload/",
    "POST .*/objects/batch",
    "POST .*/commit/",
    "POST .*/tag/",
    "GET .*/refs",
    "GET .*/tree/",
)


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("request_line", WRITING)
def test_when_the_hub_asks_to_wait_then_publishing_waits_that_long(hub, dataset, request_line, asking, waits):
    hub.faults.add(request_line, ASKING[asking](), times=1)
    location = published(dataset)
    assert 55 < max(waits) <= 62
    assert len(waits) == 1
    assert load_dataset(str(location)).digest == dataset.digest


def test_when_the_hub_asks_to_wait_then_yanking_waits(hub, dataset, place, waits):
    catalogue(dataset, place)
    hub.faults.add("POST .*/commit/", Status(429, ratelimit=30), times=1)
    _, _, commit = yank(parse_reference("inverted-pendulum/tiny-v1"), "wrong seeds")
    assert commit
    assert waits == [31.0]


@pytest.mark.parametrize("request_line", READING)
def test_when_the_wait_is_longer_than_the_limit_then_it_is_said_and_not_waited(hub, place, request_line, waits):
    hub.faults.add(request_line, Status(429, retry_after=7200))
    with pytest.raises(HubError, match=r"asks to wait 7,200 s, more than 300 s \(TIPL_BENCH_HUB_WAIT\); repeat"):
        load_dataset(PLACE)
    assert waits == []


@pytest.mark.parametrize("request_line", WRITING)
def test_when_publishing_would_wait_longer_than_the_limit_then_it_is_said(hub, dataset, request_line, waits):
    hub.faults.add(request_line, Status(503, ratelimit=7200))
    with pytest.raises(HubError, match=r"\(503\) and asks to wait 7,200 s, more than 300 s"):
        published(dataset)
    assert waits == []


HOSTILE = {
    "twelve digits": (Status(429, retry_after="9" * 12), "asks to wait 1,000,000,000 s, more than 300 s"),
    "thousands of digits": (Status(503, retry_after="9" * 5000), "asks to wait 1,000,000,000 s, more than 300 s"),
    "a far date": (Status(429, retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), "asks to wait 1,000,000,000 s"),
    "an unreadable limit": (Status(429, ratelimit=10**4000), "asks to wait 1,000,000,000 s"),
    "no number": (Status(429, retry_after="inf"), "429"),
    "below zero": (Status(503, retry_after="-99"), "503"),
    "an error that asks": (Status(500, retry_after=86400), "500"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("request_line", [READING[1], "POST .*/preupload/"])
def test_when_the_hub_asks_for_a_hostile_wait_then_it_ends_in_one_sentence(hub, dataset, kind, request_line, waits):
    answer, message = HOSTILE[kind]
    location = published(dataset) if request_line in READING else None
    hub.faults.add(request_line, answer)
    with pytest.raises(HubError, match=message):
        load_dataset(str(location)) if location else published(dataset)
    assert all(wait <= 300 for wait in waits)


def test_a_client_that_replaces_another_holds_to_the_limit_too_and_only_for_our_requests(hub):
    hub.faults.add("GET .*/whoami-v2", Status(429, retry_after=7200))
    url = f"{hub.url}/api/whoami-v2"
    with bounded_waits():
        huggingface_hub.close_session()
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError):
            huggingface_hub.get_session().get(url)
    assert huggingface_hub.get_session().get(url).status_code == 429
    huggingface_hub.set_client_factory(made := huggingface_hub.utils._http.default_client_factory)
    with bounded_waits(), pytest.raises(huggingface_hub.errors.HfHubHTTPError):
        huggingface_hub.get_session().get(url)
    assert made().event_hooks["response"] == []


def test_threads_do_not_change_the_hooks_that_others_go_through():
    with bounded_waits():
        before = list(huggingface_hub.get_session().event_hooks["response"])
        seen: list[object] = []

        def ask() -> None:
            with bounded_waits():
                seen.append(list(huggingface_hub.get_session().event_hooks["response"]))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [before] * 8


def test_the_limit_is_on_all_waits_of_a_request_together(hub, place, waits):
    hub.faults.add(READING[1], Status(429, ratelimit=120))
    with pytest.raises(HubError, match=r"busy \(429\) and asks to wait 120 s; repeat"):
        load_dataset(PLACE)
    assert waits == [121.0, 121.0]


def test_the_limit_can_be_set(hub, place, waits, monkeypatch):
    hub.faults.add(READING[1], Status(429, ratelimit=600), times=1)
    monkeypatch.setenv("TIPL_BENCH_HUB_WAIT", "900")
    load_dataset(PLACE)
    assert waits == [601.0]
    monkeypatch.setenv("TIPL_BENCH_HUB_WAIT", "an hour")
    hub.faults.add(READING[1], Status(429, ratelimit=600), times=1)
    with pytest.raises(OptionError, match="TIPL_BENCH_HUB_WAIT='an hour' is not a number of seconds"):
        load_dataset(f"{PLACE}@v1")
