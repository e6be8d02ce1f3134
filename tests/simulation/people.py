"""Users with habits, readers of pages, and the operator."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.network import Message, Network
from tests.simulation.node import Node
from tests.support.story import URL
from wxgpt.wechat import messages

HABITS = {
    "ask": 40, "continue": 16, "tap continue": 6, "ask twice": 7, "stop answer": 5, "stop": 3,
    "clear": 3, "retry": 4, "open page": 8, "read live": 6, "history": 4, "help": 2, "leave": 2, "open": 4,
    "flood": 1, "nonsense": 2, "picture": 1,
}  # fmt: skip
FLOOD = 12


class Person:
    """One user of the account, who acts every few seconds."""

    def __init__(
        self, name: str, node: Node, network: Network, random: Random, tell: Callable[[str], None]
    ) -> None:
        self.name = name
        self._node = node
        self._network = network
        self._random = random
        self._tell = tell
        self.asked = 0
        self.idle = False
        self.pages: list[str] = []
        """The bodies of pages that this user opened."""
        self.pace_s = random.choice([2.0, 6.0, 15.0])
        self._next()

    def _next(self) -> None:
        pause = self._random.expovariate(1 / self.pace_s)
        self._node.world_clock.callLater(pause, self._act)

    def _act(self) -> None:
        if self.idle:
            return
        habit = self._random.choices(list(HABITS), list(HABITS.values()))[0]
        getattr(self, "_" + habit.replace(" ", "_"))()
        self._next()

    def _say(self, text: str, *, tapped: bool = False) -> Message:
        self._tell(f"{self.name} {'taps' if tapped else 'says'} {text}")
        return self._network.deliver(self.name, messages.text_message(text, tapped=tapped), text)

    def _ask(self) -> None:
        self.asked += 1
        self._say(f"【{self.name}#{self.asked}】请回答")

    def _ask_twice(self) -> None:
        self._ask()
        self._ask()

    def _flood(self) -> None:
        for _ in range(FLOOD):
            self._ask()

    def _open(self) -> None:
        self._say("/chatgpt")

    def _continue(self) -> None:
        self._say("继续")

    def _tap_continue(self) -> None:
        self._say("继续", tapped=True)

    def _stop_answer(self) -> None:
        self._say("停止")

    def _stop(self) -> None:
        self._say("/stop")

    def _clear(self) -> None:
        self._say("/clear")

    def _retry(self) -> None:
        self._say("重试")

    def _history(self) -> None:
        self._say("/history")

    def _help(self) -> None:
        self._say("/help")

    def _nonsense(self) -> None:
        self._say("/histroy")

    def _picture(self) -> None:
        fields = messages.image_message("http://mmbiz.qpic.cn/x")
        self._tell(f"{self.name} sends a picture")
        self._network.deliver(self.name, fields, "[picture]")

    def _leave(self) -> None:
        self._tell(f"{self.name} leaves, and returns")
        self._network.deliver(self.name, messages.event_message("unsubscribe"), "unsubscribe")
        later = self._random.uniform(1, 30)
        self._node.world_clock.callLater(
            later,
            lambda: self._network.deliver(
                self.name, messages.event_message("subscribe"), "subscribe"
            ),
        )

    def _open_page(self) -> None:
        if not (path := self._link()):
            return
        self._tell(f"{self.name} opens a page")
        response = self._node.http.get(URL + path)
        response.addCallback(self._node.http.text_content)
        response.addCallbacks(self.pages.append, lambda _: None)

    def _read_live(self) -> None:
        """Read an answer while it is written, until it is complete or the daemon dies."""
        path = self._link()
        if not path.startswith("/a/"):
            return
        self._tell(f"{self.name} reads an answer live")
        http = self._node.http
        response = http.get(f"{URL}{path}/events")
        response.addCallback(http.collect, lambda data: self.pages.append(data.decode()))
        response.addErrback(lambda _: None)

    def _link(self) -> str:
        """Return the path of one of the newest links, or "" if no page can be opened."""
        links = [
            link
            for message in self._network.messages
            if message.user == self.name and message.delivery and message.delivery.shown
            for link in re.findall(
                r"https://chat.example.com(/[ah]/[\w-]+)", message.delivery.shown
            )
        ]
        return self._random.choice(links[-4:]) if links and self._node.is_up else ""


class Operator:
    """Reloads the configuration, erases and blocks users, vacuums the log."""

    def __init__(
        self,
        node: Node,
        users: list[str],
        configurations: list[Any],
        random: Random,
        tell: Callable[[str], None],
    ) -> None:
        self._node = node
        self._users = users
        self._configurations = configurations
        self._random = random
        self._tell = tell
        self.idle = False
        self._next()

    def _next(self) -> None:
        self._node.world_clock.callLater(self._random.expovariate(1 / 40.0), self._act)

    def _act(self) -> None:
        if self.idle:
            return
        if self._node.is_up:
            draw = self._random.random()
            user = self._random.choice(self._users)
            if draw < 0.25:
                self._node.use(self._random.choice(self._configurations))
                self._post("/reload", "reloads")
            elif draw < 0.45:
                self._post(f"/users/main/{user}/forget", f"erases {user}")
            elif draw < 0.6:
                self._post(f"/users/main/{user}?standing=blocked&for_s=10", f"blocks {user}")
            elif draw < 0.7:
                self._post(f"/users/main/{user}?standing=", f"resets {user}")
            else:
                self._post("/log/vacuum", "vacuums the log")
        self._next()

    def _post(self, path: str, what: str) -> None:
        self._tell(f"the operator {what}")
        self._node.admin_http.post("http://admin.test" + path, data=b"").addErrback(lambda _: None)
