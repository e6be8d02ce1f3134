"""`wxgpt demo`: show everything working, without an account or a key."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wxgpt.failures import Unreachable
from wxgptd.errors import WxgptError
from wxgptd.untyped import Reactor

if TYPE_CHECKING:
    from wxgpt.wechat.peer import Delivery, Peer

USER = "oDemoUser"

CONFIG = """\
[server]
listen = "tcp:{port}:interface=127.0.0.1"
public_url = "http://127.0.0.1:{port}"
state_dir = "{state}"

[account.demo]
token = "{token}"

[assistant.chatgpt]
base_url = "{model}"
model = "demo"
system_prompt = "你是一个演示。"
"""


class DemoFailed(WxgptError):
    """the demo failed"""


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the demo running, and show commands to try next.")
def command(keep: bool) -> None:
    """Play a short conversation through the real daemon, with a demo model.

    \b
    Examples:
      wxgpt demo
      wxgpt demo --keep
    """
    from wxgpt.reactor import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # exiting ends the child processes
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxgptd-demo-")))
        stage = _Stage(directory)
        stack.callback(stage.end)
        stage.begin()

        async def play(reactor: Reactor) -> None:
            await _play(reactor, stage)

        run(play)
        if keep:
            _show_next_steps(stage)
            stage.wait()


class _Stage:
    """The demo's processes, in their own temporary directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._token = secrets.token_hex(12)
        self.port = _free_port()
        self.config = directory / "wxgptd.toml"
        self.model_url = ""
        self._model: subprocess.Popen[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/wx/demo"

    @property
    def token(self) -> str:
        return self._token

    def begin(self) -> None:
        """Start the model and the daemon."""
        self._model = subprocess.Popen(
            [sys.executable, "-m", "wxgpt", "demo-model", "--port", "0"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        assert self._model.stdout is not None
        line = self._model.stdout.readline()
        if not line.startswith("base_url"):
            raise DemoFailed("the demo model did not start")
        self.model_url = line.split('"')[1]
        descriptor = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                CONFIG.format(
                    port=self.port,
                    state=self._directory / "state",
                    token=self._token,
                    model=self.model_url,
                )
            )
        self.start_daemon()

    def start_daemon(self) -> None:
        """Start the daemon without waiting until it is ready."""
        log = (self._directory / "wxgptd.log").open("ab")
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "wxgptd", "--config", str(self.config)],
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def kill_daemon(self) -> None:
        """Kill the daemon, to simulate a crash."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def wait_until_ready(self) -> None:
        """Wait up to 20 s for the daemon to be ready.

        Raises:
            Unreachable: it exited, or is still not ready.
        """
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._daemon is None or self._daemon.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                    peer.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                    if b" 200 " in peer.recv(64):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        output = (self._directory / "wxgptd.log").read_text("utf-8", "replace").strip()
        last = output.splitlines()[-1] if output else "nothing was logged"
        raise Unreachable(f"the daemon did not start: {last}")

    def wait(self) -> None:
        """Wait until ^C, or until the daemon exits."""
        assert self._daemon is not None
        self._daemon.wait()

    def end(self) -> None:
        """Stop everything."""
        for process in (self._daemon, self._model):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self._daemon, self._model):
            if process is not None:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                if process.stdout is not None:
                    process.stdout.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _play(reactor: Reactor, stage: _Stage) -> None:
    from twisted.internet.threads import deferToThread

    from wxgpt.wechat import peer

    await deferToThread(stage.wait_until_ready)
    hook = peer.Webhook(url=stage.url, token=stage.token)
    wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)

    _chapter("A message outside a session does not go to the AI: `success`, and no model call.")
    delivery = await _send(wechat, "在吗？")
    _require(
        delivery.shown is None and not delivery.fault, "a message outside a session was answered"
    )

    _chapter("/chatgpt opens a session. A quick answer is ready for WeChat's first attempt.")
    await _send(wechat, "/chatgpt")
    delivery = await _send(wechat, "什么是公众号？")
    _require(len(delivery.attempts) == 1, "a quick answer took more than one attempt")
    await _show_calls(reactor, stage)

    _chapter(
        "An answer that takes 8 seconds: WeChat hangs up after 5 and tries again. The second\n"
        "attempt joins the answer that the first one started: one model call."
    )
    delivery = await _send(wechat, "用 8 秒回答：微信为什么会重试？")
    _require(len(delivery.attempts) == 2, "the 8 s answer was not ready for the second attempt")
    await _show_calls(reactor, stage)

    _chapter(
        "An answer that takes 25 seconds, longer than WeChat's three attempts. The part written\n"
        "by then is sent, with a link to a page where the rest appears as it is written."
    )
    delivery = await _send(wechat, "用 25 秒写 600 字，介绍一下 wxgptd")
    link = _link(delivery)
    page = await _final_page(reactor, link)
    _require("演示结束" in page, "the page does not have the rest of the answer")
    click.echo(f"  the page {link}")
    click.echo(f"  now has the complete answer, which ends: … {_last_words(page)}")
    await _show_calls(reactor, stage)

    _chapter(
        "The words in [brackets] are blue in WeChat. Tapping them sends 继续, and the reply is\n"
        "the next part of the answer."
    )
    delivery = await _send(wechat, "继续", tapped=True)
    _require(not delivery.fault and bool(delivery.shown), "a tap got no reply")

    await _survive_a_crash(reactor, stage, wechat)

    _chapter("/stop ends the session. That was everything, and all of it is in the log.")
    await _send(wechat, "/stop")
    click.echo()
    click.echo("To try it yourself: `wxgpt demo --keep`. For a real account, see README.md.")


async def _survive_a_crash(reactor: Reactor, stage: _Stage, wechat: Peer) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater
    from twisted.internet.threads import deferToThread

    _chapter(
        "The daemon is killed (SIGKILL) in the middle of an answer, and restarted. The question\n"
        "is recovered from the log, and WeChat's next attempt gets the answer."
    )

    async def crash_soon() -> None:
        await deferLater(reactor, 2.5)
        click.echo("  (2.5 s: kill -9, then restart)")
        await deferToThread(stage.kill_daemon)
        await deferToThread(stage.start_daemon)

    crashing = Deferred.fromCoroutine(crash_soon())
    delivery = await _send(wechat, "用 4 秒回答：进程崩溃了怎么办？")
    await crashing
    _require(not delivery.fault and "崩溃" in (delivery.shown or ""), "the crash lost an answer")


def _chapter(text: str) -> None:
    click.echo()
    for line in text.split("\n"):
        click.secho(line, bold=True)


async def _send(wechat: Peer, text: str, *, tapped: bool = False) -> Delivery:
    from wxgpt.wechat import deliveries, messages

    click.echo(f"  user {'taps, which sends' if tapped else 'says'}: {text}")
    message = messages.text_message(text, tapped=tapped)
    delivery = await wechat.deliver(USER, message, deliveries.show_attempt)
    deliveries.show_delivery(delivery)
    return delivery


def _require(condition: bool, failure: str) -> None:
    if not condition:
        raise DemoFailed(failure)


def _link(delivery: Delivery) -> str:
    match = re.search(r"http://\S+/a/[\w-]+", delivery.shown or "")
    if match is None:
        raise DemoFailed("the last attempt returned no link")
    return match.group()


def _last_words(page: str) -> str:
    answer = page.partition("</article>")[0]
    return re.sub(r"<[^>]+>|\s+", "", answer)[-40:]


async def _show_calls(reactor: Reactor, stage: _Stage) -> None:
    from wxgpt.wechat import peer

    response = await peer.real_client(reactor).get(stage.model_url)
    page: str = await response.text()
    click.echo(f"  (model calls so far: {page.split()[-2]})")


async def _final_page(reactor: Reactor, link: str) -> str:
    from twisted.internet.task import deferLater

    from wxgpt.wechat import peer

    http = peer.real_client(reactor)
    for _ in range(60):
        response = await http.get(link)
        page: str = await response.text()
        if "aria-busy" not in page:
            return page
        await deferLater(reactor, 0.5)
    raise DemoFailed("the page was never completed")


def _show_next_steps(stage: _Stage) -> None:
    path = Path(sys.argv[0])
    program = f"{sys.executable} -m wxgpt" if path.suffix == ".py" else str(path.absolute())
    click.echo()
    click.secho("The demo is still running. In another terminal:", bold=True)
    for arguments in (
        "chat",
        f"send /history --user {USER}",
        "tail -f",
        "replay --as-conversation",
        "status",
    ):
        click.echo(f"  {program} --config {stage.config} {arguments}")
    click.echo("^C stops it and removes everything.", err=True)
