"""A browser that may write on pages, without a browser: cookies and form tokens over HTTP."""

from __future__ import annotations

import re

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd.domain.model import events as e

ANSWER = "因为空气把蓝光散射得更多。"
KEY = "0123456789abcdef"


class Browser:
    """A browser: its cookies, and the form token of each page that it has open."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.cookies: dict[str, str] = {}
        self.forms: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def get(self, path: str):
        response = self.story.get(path, cookie=self.cookie)
        for page, form in re.findall(r'data-page="([^"]+)" data-form="([^"]+)"', response.body):
            self.forms[page] = form
        return response

    def claim(self, link: str, nonce: str = ""):
        path, _, secret = link.partition("#")
        response = self.post(path, "claim", {"secret": secret, "nonce": nonce})
        for header in response.headers.getRawHeaders("set-cookie", []):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        if response.code == 200:
            self.forms[path] = response.value["form"]
        return response

    def post(self, path: str, kind: str, body=None, key: str = KEY, **headers: str):
        sent = {
            "cookie": self.cookie,
            "x_form_token": self.forms.get(path, ""),
            "idempotency_key": key,
            **headers,
        }
        response = self.story.post_json(f"{path}/{kind}", body or {}, **sent)
        if response.code == 200 and "page" in (response.value or {}):
            self.forms[response.value["page"]] = response.value["form"]
        return response

    def ask(self, path: str, question: str, key: str = KEY):
        return self.post(path, "ask", {"question": question}, key)


def link_in(reply: str) -> str:
    return re.search(r"https://chat.example.com(/[ah]/[\w-]{22}#[\w-]{22})", reply)[1]


def story_with_link(script=None, **config) -> tuple[Story, str]:
    """Return a story with one late answer, and the link that the chat got."""
    story = Story(script or answer_at(16, ANSWER), configuration(**config))
    story.open()
    sent = story.send("为什么？")
    story.advance(17)
    return story, link_in(sent.reply)


def staged(**config) -> tuple[Story, Browser, str]:
    """Return a story, a browser that may write on the page of its answer, and the page's path."""
    story, link = story_with_link(**config)
    browser = Browser(story)
    assert browser.claim(link).code == 200
    story.model.respond = lambda _: answer_at(0.5, "海水吸收红光。")
    return story, browser, link.partition("#")[0]


def events(story: Story, kind: type[e.Event]) -> list[e.Event]:
    return [event for event in story.store.events() if type(event) is kind]
