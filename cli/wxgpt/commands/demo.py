"""`wxgpt demo`: show everything working, without an account or a key."""

from __future__ import annotations

import re
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wxgpt.demo_stage import DemoFailed, DemoStage
from wxgpt.language import shown, spoken
from wxgptd.untyped import Reactor
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.demo_cluster import DemoCluster
    from wxgpt.wechat.peer import Delivery, Peer

USER = "oDemoUser"


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the demo running, and show commands to try next.")
@click.option(
    "--cluster",
    is_flag=True,
    help="Two nodes and three NATS servers; one node is killed in the middle of an answer.",
)
def command(keep: bool, cluster: bool) -> None:
    """Play a short conversation through the real daemon, with a demo model.

    \b
    Examples:
      wxgpt demo
      wxgpt demo --keep
      wxgpt demo --cluster            needs nats-server and wxgptd[cluster]
    """
    from wxgpt.reactor import run

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))  # exiting ends the child processes
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxgptd-demo-")))
        if cluster:
            _play_cluster(stack, directory, keep=keep)
            return
        stage = DemoStage(directory)
        stack.callback(stage.end)
        stage.begin()

        async def play(reactor: Reactor) -> None:
            await _play(reactor, stage)
            if keep:
                await _open_a_live_page(reactor, stage)

        run(play)
        if keep:
            _show_next_steps(stage)
            stage.wait()


def _play_cluster(stack: ExitStack, directory: Path, *, keep: bool) -> None:
    from wxgpt import demo_cluster
    from wxgpt.reactor import run

    cluster = demo_cluster.DemoCluster(directory)
    stack.callback(cluster.end)
    _chapter("Three NATS servers and two nodes: one leads, the other follows.")
    cluster.begin()
    click.echo(cluster.status())

    async def play(reactor: Reactor) -> None:
        await _survive_a_takeover(reactor, cluster)

    run(play)
    if keep:
        _show_next_steps(cluster.nodes[1])
        cluster.nodes[1].wait()


async def _survive_a_takeover(reactor: Reactor, cluster: DemoCluster) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater
    from twisted.internet.threads import deferToThread

    from wxgpt.wechat import peer

    leader, standby = cluster.nodes
    hook = peer.Webhook(url=standby.url, token=standby.token)
    wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
    _chapter("WeChat's messages reach the node that does not lead. It passes them on.")
    await _send(wechat, "/chatgpt")
    delivery = await _send(wechat, "什么是公众号？")
    _require(not delivery.fault and bool(delivery.shown), "the standby did not pass it on")

    _chapter(
        "The node that leads is killed (SIGKILL) in the middle of an answer. The "
        "other one hears\nnothing for 2 seconds, takes over, asks the model again, "
        "and answers."
    )

    async def kill_soon() -> None:
        await deferLater(reactor, 2.0)
        click.echo(spoken("  (2.0 s: kill -9 of the node that leads)"))
        await deferToThread(leader.kill_daemon)

    killing = Deferred.fromCoroutine(kill_soon())
    delivery = await _send(wechat, "用 4 秒回答：一台机器坏了怎么办？")
    await killing
    _require(not delivery.fault and "坏" in (delivery.shown or ""), "the answer was lost")
    click.echo(await deferToThread(cluster.status))

    _chapter("The killed node returns and follows: it has every event.")
    leader.start_daemon()
    await deferToThread(leader.wait_until_ready, "/healthz")
    await deferToThread(cluster.wait_until_complete)
    click.echo(await deferToThread(cluster.status))
    click.echo()
    click.echo(spoken("To set up a cluster: docs/cluster.md."))


async def _play(reactor: Reactor, stage: DemoStage) -> None:
    from twisted.internet.threads import deferToThread

    from wxgpt.wechat import peer

    await deferToThread(stage.wait_until_ready)
    hook = peer.Webhook(url=stage.url, token=stage.token)
    wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)

    _chapter("A message outside a session does not go to the AI: `success`, and no model call.")
    delivery = await _send(wechat, "在吗？")
    _require(
        delivery.shown is None and not delivery.fault,
        "a message outside a session was answered",
    )

    _chapter("/chatgpt opens a session. A quick answer is ready for WeChat's first attempt.")
    await _send(wechat, "/chatgpt")
    delivery = await _send(wechat, "什么是公众号？")
    _require(len(delivery.attempts) == 1, "a quick answer took more than one attempt")
    await _show_calls(reactor, stage)

    _chapter(
        "An answer that takes 8 seconds: WeChat hangs up after 5 and tries again. "
        "The second\nattempt joins the answer that the first one started: one model "
        "call."
    )
    delivery = await _send(wechat, "用 8 秒回答：微信为什么会重试？")
    _require(len(delivery.attempts) == 2, "the 8 s answer was not ready for the second attempt")
    await _show_calls(reactor, stage)

    _chapter(
        "An answer that takes 25 seconds, longer than WeChat's three attempts. The "
        "part written\nby then is sent, with a link to a page where the rest appears "
        "as it is written."
    )
    delivery = await _send(wechat, "用 25 秒写 600 字，介绍一下 wxgptd")
    link = _link(delivery)
    page = await _final_page(reactor, link)
    _require("演示结束" in page, "the page does not have the rest of the answer")
    click.echo(spoken("  the page {link}", link=link))
    click.echo(
        spoken(
            "  now has the complete answer, which ends: … {last_words}",
            last_words=_last_words(page),
        )
    )
    await _show_calls(reactor, stage)

    await _tap_and_stop(reactor, stage, wechat)


async def _tap_and_stop(reactor: Reactor, stage: DemoStage, wechat: Peer) -> None:
    _chapter(
        "The words in [brackets] are blue in WeChat. Tapping them sends 继续, and the "
        "reply is\nthe next part of the answer."
    )
    delivery = await _send(wechat, "继续", tapped=True)
    _require(not delivery.fault and bool(delivery.shown), "a tap got no reply")

    await _survive_a_crash(reactor, stage, wechat)

    _chapter("/stop ends the session. That was everything, and all of it is in the log.")
    await _send(wechat, "/stop")
    click.echo()
    click.echo(
        spoken(
            "To try it yourself: `{wxgpt} demo --keep`. For a real account, see README.md.",
            wxgpt=_program(),
        )
    )


async def _survive_a_crash(reactor: Reactor, stage: DemoStage, wechat: Peer) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.task import deferLater
    from twisted.internet.threads import deferToThread

    _chapter(
        "The daemon is killed (SIGKILL) in the middle of an answer, and restarted. "
        "The question\nis recovered from the log, and WeChat's next attempt gets the "
        "answer."
    )

    async def crash_soon() -> None:
        await deferLater(reactor, 2.5)
        click.echo(spoken("  (2.5 s: kill -9, then restart)"))
        await deferToThread(stage.kill_daemon)
        await deferToThread(stage.start_daemon)

    crashing = Deferred.fromCoroutine(crash_soon())
    delivery = await _send(wechat, "用 4 秒回答：进程崩溃了怎么办？")
    await crashing
    _require(not delivery.fault and "崩溃" in (delivery.shown or ""), "the crash lost an answer")


def _chapter(text: str) -> None:
    click.echo()
    for line in shown(text).split("\n"):
        click.secho(line, bold=True)


async def _send(wechat: Peer, text: str, *, tapped: bool = False) -> Delivery:
    from wxgpt.wechat import deliveries, messages

    click.echo(
        spoken("  user taps, which sends: {text}", text=text)
        if tapped
        else spoken("  user says: {text}", text=text)
    )
    message = messages.text_message(text, tapped=tapped)
    delivery = await wechat.deliver(USER, message, deliveries.show_attempt)
    deliveries.show_delivery(delivery)
    return delivery


def _require(condition: bool, failure: str) -> None:
    if not condition:
        raise DemoFailed(say(failure))


def _link(delivery: Delivery) -> str:
    match = re.search(r"http://\S+/a/[\w-]+", delivery.shown or "")
    if match is None:
        raise DemoFailed(say("the last attempt returned no link"))
    return match.group()


def _last_words(page: str) -> str:
    answer = page.partition("</article>")[0]
    return re.sub(r"<[^>]+>|\s+", "", answer)[-40:]


async def _show_calls(reactor: Reactor, stage: DemoStage) -> None:
    from wxgpt.wechat import peer

    response = await peer.real_client(reactor).get(stage.model_url)
    page: str = await response.text()
    click.echo(spoken("  (model calls so far: {calls})", calls=page.split()[-2]))


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
    raise DemoFailed(say("the page was never completed"))


async def _open_a_live_page(reactor: Reactor, stage: DemoStage) -> None:
    """Ask something that takes a minute, and show the link to its page."""
    from wxgpt.wechat import peer

    hook = peer.Webhook(url=stage.url, token=stage.token)
    wechat = peer.Peer(hook, http=peer.real_client(reactor), clock=reactor, wall=time.time)
    _chapter("One more answer, which takes 90 seconds. Open its page: it is being written now.")
    await _send(wechat, "/chatgpt")
    delivery = await _send(wechat, "用 90 秒写 2000 字，介绍一下公众号")
    click.echo(spoken("  the page {link}", link=_link(delivery)))


def _program() -> str:
    """Return what to type to run this program."""
    program = Path(sys.argv[0]).absolute()
    if program.suffix == ".py":
        return f"{sys.executable} -m wxgpt"
    return "wxgpt" if shutil.which("wxgpt") == str(program) else str(program)


def _show_next_steps(stage: DemoStage) -> None:
    program = _program()
    click.echo()
    click.secho(spoken("The demo is still running. In another terminal, first:"), bold=True)
    click.echo(f"  export WXGPT_CONFIG={stage.config}")
    if program != "wxgpt":
        click.echo(f'  alias wxgpt="{program}"')
    click.secho(spoken("Then:"), bold=True)
    for arguments in ("chat", f"send /history --user {USER}", "tail -f --chat", "status"):
        click.echo(f"  wxgpt {arguments}")
    click.echo(spoken("^C stops it and removes everything."), err=True)
