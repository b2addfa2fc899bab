"""A browser for whoever asks for one. It ends with its file, so that other tests may run an event loop."""

import pytest


@pytest.fixture(scope="module")
def play():
    """Playwright, which starts browsers."""
    from tests.peers.browser import playwright

    with playwright.sync_playwright() as play:
        yield play


@pytest.fixture(scope="module")
def browser(play):
    """One without a screen."""
    from tests.peers.browser import CHROMIUM, FLAGS

    browser = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()
