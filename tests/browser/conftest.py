"""A phone with a real browser, the real daemon, and a model scripted by the test."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support.processes import Stage
from tests.support.scripted_model import Answer, ScriptedModel

CHROMIUM = shutil.which("chromium")
ARTEFACTS = Path(os.environ.get("WXGPTD_ARTEFACTS", "build/screenshots"))
SMALL = {"width": 360, "height": 740}
LARGE = {"width": 412, "height": 915}
PATIENCE_MS = 20_000


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.processes)
            item.add_marker(pytest.mark.xdist_group("browser"))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Theatre:
    """The daemon, a scripted model, and users with questions."""

    def __init__(self, directory: Path) -> None:
        self.model = ScriptedModel()
        self.stage = Stage(directory)
        # The first attempt gets the link at once, as the last one would, so tests need not wait.
        window = 'deliberate_timeouts_per_5min = 0\nreply_margin = "4s"'
        self.stage.configure(
            self.model.base_url,
            extra=f'show_reasoning = true\nmodels = ["demo", "demo-pro"]\n[window]\n{window}\n',
        )
        self.stage.start_daemon()
        self.origin = f"http://127.0.0.1:{self.stage.port}/"

    def ask(self, question: str, user: str, *, opens: bool = True) -> tuple[Answer, str]:
        """Ask a question; return the answer for the test to write, and the link to its page."""
        answer = self.model.expect(question)
        if opens:
            self.stage.say("/chatgpt", user)
        reply = self.stage.say(question, user)
        return answer, re.search(r"http://\S+/a/[\w-]+", reply).group()

    def answered(self, text: str, user: str, question: str = "请回答") -> str:
        """Return the link to a finished answer."""
        answer, link = self.ask(question, user)
        answer.write(text).end()
        self.wait_until_final(link)
        return link

    def wait_until_final(self, link: str) -> None:
        """Wait for the end of an answer: a `/stop` would cut it off."""
        while "aria-busy" in self.stage.get(link.partition("#")[0])[1]:
            time.sleep(0.05)

    def history(self, user: str) -> str:
        reply = self.stage.say("/history", user)
        return re.search(r"http://\S+/h/[\w-]+", reply).group()

    def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.stage.kill()
        self.stage.start_daemon()

    def end(self) -> None:
        self.model.close()
        self.stage.end()


@pytest.fixture(scope="session")
def theatre(tmp_path_factory):
    theatre = Theatre(tmp_path_factory.mktemp("browser"))
    yield theatre
    theatre.end()


class Phone:
    """A page on a phone, its requests and its errors."""

    def __init__(self, browser, origin: str, *, viewport: dict[str, int], **context) -> None:
        self.viewport = viewport
        self.context = browser.new_context(viewport=viewport, **context)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.excused = re.compile(r"(?!)")
        self.requests: list[str] = []
        self._origin = origin
        self.page.on(
            "console", lambda message: message.type == "error" and self.faults.append(message.text)
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, link: str) -> None:
        self.page.goto(link)

    def see(self, text: str | re.Pattern[str], where: str = "body") -> None:
        """Wait for `text`; the content security policy forbids what `wait_for_function` needs."""
        from playwright.sync_api import expect

        expect(self.page.locator(where)).to_contain_text(text, timeout=PATIENCE_MS)

    @property
    def answer(self) -> str:
        return self.page.locator("#answer").inner_text()

    @property
    def html(self) -> str:
        """The answer's HTML without the buttons that the script added."""
        answer = self.page.locator("#answer").inner_html()
        return re.sub(r"<button.*?</button>", "", answer)

    def look(self, name: str, *, full: bool = True) -> None:
        """Take a screenshot, and check the width and the accessibility of the page."""
        from axe_playwright_python.sync_playwright import Axe

        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(ARTEFACTS / f"{name}.png"), full_page=full)
        width = self.page.locator("html").evaluate("page => page.scrollWidth")
        assert width <= self.viewport["width"], f"{name} is {width} wide"
        violations = Axe().run(self.page).response["violations"]
        serious = [rule for rule in violations if rule["impact"] in ("serious", "critical")]
        assert not serious, [(rule["id"], rule["nodes"][0]["html"]) for rule in serious]

    def excuse(self, faults: str) -> None:
        """Expect console errors that match `faults`, such as those of a broken network."""
        self.excused = re.compile(faults)

    def close(self) -> None:
        self.context.close()
        assert [fault for fault in self.faults if not self.excused.search(fault)] == []
        assert all(url.startswith((self._origin, "blob:")) for url in self.requests)


@pytest.fixture
def phone(browser, theatre):
    phones: list[Phone] = []

    def take(viewport=SMALL, **context) -> Phone:
        phones.append(Phone(browser, theatre.origin, viewport=viewport, **context))
        return phones[-1]

    yield take
    for opened in phones:
        opened.close()


def answered_link(theatre, user: str, text: str = "因为空气把蓝光散射得更多。") -> str:
    """Return the link to a finished answer as the chat got it, with its secret."""
    answer = theatre.model.expect(f"为什么 {user}")
    theatre.stage.say("/chatgpt", user)
    reply = theatre.stage.say(f"为什么 {user}", user)
    answer.write(text).end()
    link = re.search(r"http://\S+/a/[\w-]{22}#[\w-]{22}", reply).group()
    theatre.wait_until_final(link)
    return link


def ask(page, question: str) -> None:
    page.page.locator("#ask textarea").fill(question)
    page.page.locator("#send").click()
