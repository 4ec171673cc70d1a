"""A real headless Chromium, and pages that tell what they did."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """One browser for a module's tests; closed with it, as its event loop is this process's."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing = f"no browser: none of {', '.join(BROWSERS)} is on the path"
        if os.environ.get("CI"):  # where everything is tested, nothing is left out unnoticed
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--disable-dev-shm-usage", "--enable-precise-memory-info"]
        started = playwright.chromium.launch(executable_path=found, args=options)
        yield started
        started.close()


class Visit:
    """An open page and everything it asked for, said or threw."""

    def __init__(self, context, folder):
        self.folder = folder
        self.requests, self.messages, self.dialogs = [], [], []
        context.on("request", lambda request: self.requests.append(request.url))
        self.page = context.new_page()
        self.page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"thrown: {error}"))
        self.page.on("dialog", self._dialog)

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def go(self, hash_=""):
        """Open the page at an address; returns once its table is drawn."""
        self.page.goto("about:blank")
        self.page.goto((self.folder / "index.html").as_uri() + hash_)
        self.page.wait_for_selector("#body tr")
        return self.page

    def names(self):
        """The predictors shown, from the top."""
        return self.page.locator("#body .opener").all_inner_texts()

    def column(self, heading):
        """One column's cells as shown, from the top."""
        headings = self.page.locator("#head th").all_inner_texts()
        cells = self.page.locator(f"#body > tr:not(.details) > :nth-child({headings.index(heading) + 1})")
        return cells.all_inner_texts()

    def clean(self):
        """Nothing was complained of and nothing but files was asked for."""
        assert self.messages == []
        assert self.dialogs == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "about:"))] == []


@pytest.fixture
def visit(browser):
    """`visit(folder, ...)` opens a browser context on a rendered site; what it did is checked at the end."""
    contexts, visits = [], []

    def start(folder, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        contexts[-1].set_default_timeout(20_000)
        visits.append(Visit(contexts[-1], folder))
        return visits[-1]

    yield start
    for made in visits:
        made.clean()
    for context in contexts:
        context.close()
