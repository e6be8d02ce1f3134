"""How an answer reaches the page over slow, broken and interrupted networks."""

from __future__ import annotations

import re

from tests.browser.texts import RICH

BROKEN_NETWORK = r"ERR_|503|502"


def opened(theatre, phone, question: str, user: str, *, excuse: str = "(?!)"):
    """Ask a question; return the answer for the test to write, and its open page."""
    answer, link = theatre.ask(question, user)
    page = phone()
    page.excuse(excuse)
    page.open(link)
    return answer, page


def test_a_live_page_equals_a_reloaded_one(theatre, phone):
    answer, page = opened(theatre, phone, "慢慢写", "grows")
    for begin in range(0, len(RICH), 97):
        answer.write(RICH[begin : begin + 97])
        if begin % 4 == 0:
            page.page.wait_for_timeout(60)
    answer.end()
    page.see("已写完")
    live = page.html
    page.page.reload()
    page.see("已写完")
    assert page.html == live
    assert sum("/events" in url for url in page.requests) == 1, "one connection is enough"


def test_the_page_reloads_itself_without_a_script(theatre, phone):
    answer, link = theatre.ask("没有脚本", "noscript")
    page = phone(java_script_enabled=False)
    page.open(link)
    page.see("正在思考")
    answer.write("开头，")
    page.see("开头，")
    answer.write("结尾。").end()
    page.see("已写完")
    assert page.answer == "开头，结尾。"
    assert not page.page.locator("#copy-all").is_visible(), "buttons need the script"


def test_the_first_paint_needs_no_script(theatre, phone):
    link = theatre.answered(RICH, "paint")
    page = phone()
    page.page.route("**/*.js*", lambda route: route.abort())
    page.excuse(BROKEN_NETWORK)
    page.open(link)
    assert "LRUCache" in page.answer


def test_polling_delivers_the_answer_if_events_are_refused(theatre, phone):
    answer, link = theatre.ask("没有事件流", "refused")
    page = phone()
    page.page.route("**/events*", lambda route: route.abort())
    page.excuse(BROKEN_NETWORK)
    page.open(link)
    answer.write("先到的，")
    page.see("先到的，", "#answer")
    answer.write("后到的。").end()
    page.see("已写完")
    assert page.answer == "先到的，后到的。"


def test_polling_starts_after_four_seconds_without_events(theatre, phone):
    answer, link = theatre.ask("事件被扣住", "held")
    page = phone()
    held = []

    def hold(route) -> None:
        held.append(route)  # neither answered nor refused

    page.page.route("**/events*", hold)
    page.open(link)
    answer.write("还是到了。")
    page.see("还是到了。", "#answer")
    assert len(held) == 1
    answer.end()
    page.see("已写完")
    for route in held:
        route.abort()
    page.excuse(BROKEN_NETWORK)


def test_a_slow_network_shows_the_answer_as_it_arrives(theatre, phone):
    answer, link = theatre.ask("网络很慢", "slow")
    answer.write(RICH[:300])
    page = phone()
    session = page.context.new_cdp_session(page.page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 400,
            "downloadThroughput": 50_000,
            "uploadThroughput": 20_000,
        },
    )
    page.open(link)
    page.see("LRU（Least Recently Used）", "#answer")
    for begin in range(300, len(RICH), 200):
        answer.write(RICH[begin : begin + 200])
        page.page.wait_for_timeout(100)
    answer.end()
    page.see("已写完")
    live = page.html
    page.page.reload()
    page.see("已写完")
    assert page.html == live


def test_the_page_continues_after_a_restart_of_the_daemon(theatre, phone):
    answer, page = opened(theatre, phone, "中途重启", "restart", excuse=BROKEN_NETWORK)
    answer.write("旧的第一段。\n\n旧的第二段，")
    page.see("旧的第二段", "#answer")
    again = theatre.model.expect("中途重启")
    theatre.restart()
    answer.refuse()
    again.write("新的第一段。\n\n")
    page.see("新的第一段。", "#answer")
    again.write("新的第二段。").end()
    page.see("已写完")
    assert page.answer == "新的第一段。\n\n新的第二段。"


def test_an_answer_finished_before_a_restart_is_not_sent_again(theatre, phone):
    answer, page = opened(theatre, phone, "重启前写完", "restart-done", excuse=BROKEN_NETWORK)
    answer.write("第一段。\n\n第二段。")
    page.see("第二段。", "#answer")
    page.context.set_offline(True)
    answer.write("\n\n第三段。").end()
    theatre.stage.say("继续", "restart-done")
    theatre.restart()
    page.context.set_offline(False)
    page.see("已写完")
    assert page.answer == "第一段。\n\n第二段。\n\n第三段。"


def test_a_page_catches_up_after_being_in_the_background(theatre, phone):
    answer, page = opened(theatre, phone, "切到后台", "background", excuse=BROKEN_NETWORK)
    answer.write("第一段。\n\n")
    page.see("第一段。", "#answer")
    # iOS does this to a page in the background: nothing runs, and its connection is lost.
    session = page.context.new_cdp_session(page.page)
    session.send("Page.setWebLifecycleState", {"state": "frozen"})
    answer.write("第二段。\n\n").write("第三段。").end()
    page.page.wait_for_timeout(1_500)
    session.send("Page.setWebLifecycleState", {"state": "active"})
    page.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.see("已写完")
    assert page.answer == "第一段。\n\n第二段。\n\n第三段。"


def test_returning_opens_one_connection_and_closes_the_previous_one(theatre, phone):
    answer, page = opened(theatre, phone, "来回切换", "switching")
    answer.write("第一段。\n\n")
    page.see("第一段。", "#answer")
    for _ in range(5):
        page.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    answer.write("第二段。")
    page.see("第二段。", "#answer")
    answer.end()
    page.see("已写完")
    assert page.answer == "第一段。\n\n第二段。"


def test_a_silent_stream_is_abandoned(theatre, phone):
    answer, link = theatre.ask("半开的连接", "half-open")
    page = phone()
    page.page.clock.install()
    streams = []

    def first_event_only(route) -> None:
        streams.append(route)
        if len(streams) == 1:
            position = "0.0.00000000.0.0.thinking"
            update = (
                f'{{"position":"{position}","from":0,"keep":0,"blocks":[],"progress":"thinking",'
                '"thoughts":{"from":0,"text":""},"status":"第一个事件到了","hint":"","final":false}'
            )
            body = f"id: {position}\nevent: update\ndata: {update}\n\n"
            route.fulfill(content_type="text/event-stream", body=body)

    page.page.route("**/events*", first_event_only)
    polls = []

    def all_but_the_first(route) -> None:
        polls.append(route)
        if len(polls) > 1:
            route.continue_()

    page.page.route("**/poll*", all_but_the_first)
    page.open(link)
    for _ in range(60):  # on the page's clock, less than its timeout for the first event
        page.page.clock.run_for(50)
        page.page.wait_for_timeout(50)
        if "第一个事件到了" in page.page.locator("body").inner_text():
            break
    page.see("第一个事件到了")
    answer.write("活过来了。").end()
    page.page.clock.run_for(2_000)
    for _ in range(20):
        page.page.clock.run_for(5_000)
        page.page.wait_for_timeout(20)
        if "活过来了" in page.answer:
            break
    page.see("活过来了。", "#answer")
    assert len(streams) == 2, "the second stream stayed silent and was abandoned"


def test_going_back_to_the_page_shows_the_answer(theatre, phone):
    # The excused errors come from the page in between, which is not one of ours.
    answer, page = opened(theatre, phone, "离开再回来", "leaving", excuse=r"ERR_|favicon|404")
    answer.write("第一段。")
    page.see("第一段。", "#answer")
    page.open(f"{theatre.origin}healthz")
    answer.write("第二段。").end()
    page.page.go_back()
    page.see("已写完")
    assert page.answer == "第一段。第二段。"


def test_a_lost_connection_is_reported(theatre, phone):
    answer, page = opened(theatre, phone, "断网", "offline", excuse=BROKEN_NETWORK)
    answer.write("第一段。")
    page.see("第一段。", "#answer")
    page.page.route(re.compile("/(events|poll)"), lambda route: route.abort())
    page.page.evaluate("window.dispatchEvent(new Event('online'))")
    page.see("正在重连")
    page.page.unroute_all()
    answer.write("第二段。").end()
    page.see("已写完")


def test_clearing_invalidates_an_open_page(theatre, phone):
    answer, page = opened(theatre, phone, "然后清空", "cleared", excuse="404")
    answer.write("第一段。")
    page.see("第一段。", "#answer")
    theatre.stage.say("/clear", "cleared")
    page.see("这个链接已失效")


def test_readers_keep_their_place_at_the_beginning_or_the_end(theatre, phone):
    answer, link = theatre.ask("读到哪里", "scrolling")
    answer.write("一段话。\n\n" * 60)
    page = phone()
    page.open(link)
    page.see("一段话。", "#answer")
    answer.write("又一段。\n\n" * 5)
    page.see("又一段。", "#answer")
    assert page.page.evaluate("window.scrollY") == 0
    page.page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    answer.write("新的一段。\n\n" * 10).end()
    page.see("已写完")
    from_end = "document.documentElement.scrollHeight - window.innerHeight - window.scrollY"
    assert page.page.evaluate(from_end) < 60
