"""`tipl-bench leaderboard serve`, over a real socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import synthetic_documents
from tipl_bench.cli import main
from tipl_bench.leaderboard.render.site import render

SOCKETS = Path("/proc/net/tcp")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "site"
    render(synthetic_documents.typed(synthetic_documents.document()), folder, 0)
    for place in (folder.parent / "secret.txt", folder / "own.txt"):
        place.write_text("not of the page")
    return folder


def serve(*arguments):
    """Type the command without starting it."""
    return CliRunner().invoke(main, ["leaderboard", "serve", *map(str, arguments)])


@contextmanager
def serving(site):
    """The command as it is typed, in a process of its own; gives the process and its address."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tipl_bench", "leaderboard", "serve", "--out", str(site), "--port", "0"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    try:
        yield process, re.match(r"(http://127\.0\.0\.1:\d+)/ ", process.stdout.readline())[1]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def at(site):
    """The address of the served page."""
    with serving(site) as (_, address):
        yield address


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.headers, answer.read()


def test_the_page_and_its_scripts_are_served(at, site):
    headers, page = get(at + "/")
    assert page == (site / "index.html").read_bytes()
    assert headers["Content-Type"].startswith("text/html")
    headers, script = get(at + "/site/parts/rows-000.js?12345678")
    assert script == (site / "parts" / "rows-000.js").read_bytes()
    assert "javascript" in headers["Content-Type"]
    (site.parent / "intervals.md").write_text("what the page links to")
    assert get(at + "/intervals.md")[1] == b"what the page links to"
    (site / "leaderboard.csv").write_text("what stands beside it")
    assert get(at + "/site/leaderboard.csv")[1] == b"what stands beside it"


def test_ctrl_c_ends_it_without_a_word_of_failure(site):
    with serving(site) as (process, at):
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "ended\n", "")
    with socket.socket() as again:  # the port is free again
        assert again.connect_ex(("127.0.0.1", int(at.rsplit(":", 1)[1]))) != 0


@pytest.mark.parametrize(
    "path",
    [
        "/site/parts/",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/secret.txt",
        "/site/parts/rows-999.js",
        "/site/own.txt",
        "/site/../secret.txt",
    ],
)
def test_nothing_but_the_page_s_files_is_served(at, path):
    host, port = at.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.split(b" ", 2)[1] == b"404"
    assert b"not of the page" not in answer


@pytest.mark.skipif(not SOCKETS.exists(), reason="reads Linux's table of sockets")
def test_it_listens_on_the_loopback_address_alone(at):
    port = int(at.rsplit(":", 1)[1])
    listening = [line.split()[1] for line in SOCKETS.read_text().splitlines() if line.split()[3] == "0A"]
    assert [entry.split(":")[0] for entry in listening if int(entry.split(":")[1], 16) == port] == ["0100007F"]


def test_when_there_is_no_page_then_the_command_says_how_to_build_it(tmp_path):
    result = serve("--out", tmp_path)
    assert result.exit_code == 1
    assert "leaderboard build" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_when_the_port_is_taken_then_the_command_names_another_way(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = serve("--out", site, "--port", port)
    assert result.exit_code == 1
    assert f"Port {port} cannot be used" in result.stderr
    assert "--port" in result.stderr


def test_the_page_works_over_http_as_from_a_file(at, browser):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(at + "/#view=rows")
    page.locator(".opener").first.click()
    page.wait_for_selector(".inside .sections")
    page.close()
    assert said == []
