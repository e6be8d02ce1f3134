"""Every sentence that somebody in WeChat reads: the catalogue.

Operators override any of them in `[texts]`. What stands in braces is filled in by
`wxgptd.domain.wording`; which names a text may use is the field's own business and checked when
the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from string import Formatter

from wxgptd.domain import taps

MAX_REPLY_BYTES = 2_048
"""WeChat refuses a longer text, and the user sees its fault text."""

MAX_TEXT_BYTES = 1_000
"""The longest text an operator may configure: half a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The catalogue. The defaults are Chinese, as the users are."""

    # Replies to commands.
    session_opened: str = (
        "已开启与 {assistant} 的对话，直接发送问题即可。\n"
        "{minutes} 分钟没有新消息会自动结束。\n"
        "/stop {tap:/stop|结束}，/clear {tap:/clear|重新开始}，"
        "/history {tap:/history|查看历史}，/help {tap:/help|帮助}"
    )
    session_already_open: str = (
        "与 {assistant} 的对话正在进行，直接发送问题即可。发送 /clear 可{tap:/clear|重新开始}。"
    )
    session_stopped: str = "对话已结束。发送 {commands} 可重新开始。"
    session_cleared: str = "已清空上下文，开始新的对话，直接发送问题即可。"
    no_session: str = "现在没有进行中的对话。发送 {commands} 开始。"
    history: str = "点开下面的链接查看你的历史对话（链接 {days} 天内有效，请勿转发）：\n{link}"
    help: str = (
        "发送 {commands} 开始对话，之后直接提问。\n"
        "继续：{tap:继续|接着看上一个回答}\n"
        "/clear：{tap:/clear|清空上下文，重新开始}\n"
        "/history：{tap:/history|历史对话}\n"
        "/stop：{tap:/stop|结束对话}"
    )
    confirm_clear: str = (
        "要清空上下文、重新开始吗？之前回答的链接也会失效。"
        "再发送一次 /clear {tap:/clear|确定清空}；不清空就不用理会。"
    )
    help_models: str = "/model：{tap:/model|换一个模型}"
    all_said: str = "以上就是完整的回答。"
    between_commands: str = " 或 "

    # Messages that are not taken as questions.
    too_many_waiting: str = "前面的问题还在回答，请收到回答后再发新的问题。"
    question_too_long: str = "这条消息太长了，请缩短后再发。"
    not_understood: str = "暂时只看得懂文字消息，请用文字描述你的问题。"
    not_understood_image: str = "暂时看不懂图片，请用文字描述你的问题。"
    not_understood_voice: str = "这段语音没有附带文字，听不懂，请打字再问一次。"
    not_understood_video: str = "暂时看不懂视频，请用文字描述你的问题。"
    not_understood_sticker: str = "表情收到啦，不过有问题还是要打字问我。"

    moderated: str = "这条消息含有不能处理的内容，请换个说法。"
    blocked: str = "你不能使用对话功能。"
    blocked_for: str = "你暂时不能使用对话功能，{when}再来。"
    not_allowed: str = "对话功能只对受邀的用户开放。"
    too_many_messages: str = "消息太频繁了，{when}再发。"
    too_many_questions: str = "今天的提问次数用完了，{when}可以再问。"
    too_many_tokens: str = "今天的用量用完了，{when}可以再问。"
    budget_spent: str = "今天的额度用完了，明天再来吧。"
    models: str = "正在使用 {model}。可选：{models}。发送“/model 名字”切换。"
    no_such_model: str = "没有这个模型。正在使用 {model}，可选：{models}。发送“/model 名字”切换。"
    model_chosen: str = "已切换到 {model}，接着问吧。"
    storage_full: str = "服务暂时无法记录新的消息，请稍后再试。"
    in_seconds: str = "{count} 秒后"
    in_minutes: str = "{count} 分钟后"
    in_hours: str = "{count} 小时后"

    # Beside an answer.
    ai_label: str = "内容由 AI 生成"
    unseen: str = "（你问的“{question}”写好了：\n{link} ）"
    trimmed: str = "（对话较长，开头的内容已不再参考，发送 /clear 可{tap:/clear|重新开始}）"
    more: str = "（未完，回复“继续”{tap:继续|看下一段}，全文：\n{link} ）"
    still_writing: str = "（还在写，回复“继续”{tap:继续|看下文}，或点开链接看完整回答：\n{link} ）"
    waiting: str = (
        "这个问题需要想一会儿。点开链接，回答写好就会出现；"
        "也可以稍后回复“继续”{tap:继续|查看}。\n{link}"
    )
    still_writing_pushed: str = "（还在写，写好后会自动发来，也可以点开链接看：\n{link} ）"
    waiting_in_line: str = (
        "现在提问的人比较多，你的问题在排队。点开链接，轮到时回答就会出现；"
        "也可以稍后回复“继续”{tap:继续|查看}。\n{link}"
    )
    waiting_in_line_pushed: str = (
        "现在提问的人比较多，你的问题在排队，写好后会自动发来，也可以点开链接看：\n{link}"
    )
    waiting_pushed: str = "这个问题需要想一会儿，回答写好后会自动发来，也可以点开链接看：\n{link}"
    offered_more: str = "{tap:继续|接着看}"
    cut_short: str = "（回答已截断，回复“继续”{tap:继续|接着写}）"
    interrupted: str = "（回答中断，回复“继续”{tap:继续|重试}）"
    failed_midway: str = "（{failure}）"

    # Failures.
    failure_misconfigured: str = "服务配置有误，已通知管理员"
    failure_quota: str = "额度已用完，请稍后再来"
    failure_busy: str = "当前咨询人数较多，请 {seconds} 秒后再试"
    failure_too_long: str = "对话过长，请发送 /clear {tap:/clear|重新开始}"
    failure_refused: str = "这个问题我无法回答"
    failure_unavailable: str = "AI 服务暂时不可用，请稍后再试"
    failure_interrupted: str = "回答中断了，回复“继续”{tap:继续|接着写}"
    failure_picture: str = "这张图片没能取到，也可能太大，请换一张再发"
    failure_moderated: str = "这个问题我无法回答"
    failure_empty: str = "模型什么也没写，换个问法再试试"
    failure_only_thoughts: str = "模型想了一阵，没有写出回答，换个问法再试试"
    failure_only_tools: str = "模型想去调用工具，没有写出回答，换个问法再试试"
    failure_only_media: str = "模型给的不是文字，这里显示不了，换个问法再试试"
    failure_stopped: str = "对话已结束，这个问题没有继续回答。"

    # Pages.
    page_title: str = "回答"
    page_question: str = "问题"
    page_picture: str = "[图片]"
    page_waiting: str = "排队中，前面还有问题在回答……"
    page_thinking: str = "正在思考……"
    page_writing: str = "正在写……"
    page_done: str = "已写完"
    page_cut_short: str = "回答达到长度上限。回到聊天，回复“继续”接着写。"
    page_interrupted: str = "回答中断了，以上是已经写好的部分。回到聊天，回复“继续”重试。"
    page_elapsed: str = "已等 {count} 秒"
    page_thoughts: str = "思考过程"
    page_copy: str = "复制"
    page_copy_all: str = "复制全文"
    page_copied: str = "已复制"
    page_copy_failed: str = "没能复制，请长按文字选择"
    page_back: str = "回到聊天，可以接着提问。"
    page_back_failed: str = "回到聊天，可以再问一次。"
    page_close: str = "回到聊天"
    page_offline: str = "连接断了，正在重连……"
    page_reload: str = "没有自动更新时，请点这里刷新"
    page_starting: str = "服务正在启动，请稍候……"
    page_busy: str = "打开这个页面的人太多或者太频繁，请 {seconds} 秒后再刷新。"
    page_gone: str = "链接不存在或已过期。回到公众号发送 /history 可查看历史对话。"
    page_ai_notice: str = "内容由 AI 生成，请自行核实"
    history_title: str = "历史对话"
    history_empty: str = "还没有对话。"
    history_open: str = "进行中"
    history_stopped: str = "已结束"
    history_cleared: str = "已清空"
    history_expired: str = "已超时"
    history_replaced: str = "已切换"
    history_unsubscribed: str = "已取消关注"
    history_operator: str = "管理员已结束"
    history_unanswered: str = "（没有回答）"
    history_running: str = "（正在回答）"
    history_search: str = "搜索"
    history_search_for: str = "搜索问题和回答"
    history_found: str = "找到 {count} 个问答"
    history_not_found: str = "没有找到。"
    history_all: str = "显示全部"
    history_download: str = "下载（Markdown）"
    history_erase: str = "删除我的历史"
    history_erase_warning: str = (
        "删除后无法恢复：你的全部对话、所有回答页面和这个链接都会消失，正在写的回答也会停下。"
    )
    history_erase_yes: str = "全部删除"
    history_erase_no: str = "不删了"
    history_erased: str = "已全部删除，可以关闭这个页面了。"
    history_erase_failed: str = "已删除。少量残留数据稍后会自动清理。"
    history_older: str = "更早的对话"
    history_newer: str = "更近的对话"
    history_dropped: str = "{date} 之前的对话已过保留期，不再显示。"


PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "session_opened": frozenset({"assistant", "minutes", "commands"}),
    "session_already_open": frozenset({"assistant", "minutes", "commands"}),
    "session_stopped": frozenset({"commands"}),
    "session_cleared": frozenset({"assistant", "minutes", "commands"}),
    "no_session": frozenset({"commands"}),
    "history": frozenset({"link", "days"}),
    "history_dropped": frozenset({"date"}),
    "history_found": frozenset({"count"}),
    "page_elapsed": frozenset({"count"}),
    "help": frozenset({"commands", "minutes"}),
    "welcome": frozenset({"commands", "scene"}),
    **{
        name: frozenset({"when"})
        for name in ("blocked_for", "too_many_messages", "too_many_questions", "too_many_tokens")
    },
    "models": frozenset({"model", "models"}),
    "no_such_model": frozenset({"model", "models"}),
    "model_chosen": frozenset({"model"}),
    **{name: frozenset({"count"}) for name in ("in_seconds", "in_minutes", "in_hours")},
    "unseen": frozenset({"question", "link"}),
    "not_understood": frozenset({"kind"}),
    **{
        f"not_understood_{kind}": frozenset({"kind"})
        for kind in ("image", "voice", "video", "sticker")
    },
    "more": frozenset({"link"}),
    "still_writing": frozenset({"link"}),
    "waiting": frozenset({"link"}),
    "still_writing_pushed": frozenset({"link"}),
    "page_busy": frozenset({"seconds"}),
    "waiting_in_line": frozenset({"link"}),
    "waiting_in_line_pushed": frozenset({"link"}),
    "waiting_pushed": frozenset({"link"}),
    "failed_midway": frozenset({"failure"}),
    "failure_busy": frozenset({"seconds"}),
}


MAY_BE_EMPTY = frozenset(
    {
        "ai_label",
        "offered_more",
        "unseen",
        "trimmed",
        "cut_short",
        "interrupted",
        "failed_midway",
        "page_ai_notice",
        "page_back",
        "page_back_failed",
        "history_dropped",
    }
)
"""What is said beside something else, and so may be left unsaid."""


def faults(name: str, text: str) -> Iterator[str]:
    """Yield what is wrong with `text` as the catalogue's `name`."""
    allowed = PLACEHOLDERS.get(name, frozenset())
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        yield f"is longer than {MAX_TEXT_BYTES} bytes"
    elif len(taps.filled(text).encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        yield f"is longer than {MAX_TEXT_BYTES} bytes with its taps, which take some 90 each"
    if not text.strip() and name not in MAY_BE_EMPTY:
        yield "is empty"
    try:
        parsed = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        yield f"is not a text with placeholders: {error} (write {{{{ for a brace)"
        return
    used: set[str] = set()
    for _, field, form, conversion in parsed:
        if field == "tap" and not conversion:
            yield from taps.faults(form or "")
        elif re.match(r"\s*taps?\s*(?:[：:]|\Z)", field or "", re.IGNORECASE):
            yield f"uses {{{field}}}: did you mean {{tap:WORDS}}, with a plain colon?"
        elif form or conversion:
            yield "has a placeholder with a ! or a : in it (only tap takes a :)"
        elif field is not None:
            used.add(field)
    for placeholder in sorted(used - allowed):
        choice = ", ".join(f"{{{known}}}" for known in (*sorted(allowed), "tap:WORDS"))
        yield f"uses {{{placeholder}}}, but may use: {choice}"


def in_words(texts: Texts) -> Texts:
    """Return the catalogue without links that send words: the words stand for themselves."""
    words = {name: taps.in_words(getattr(texts, name)) for name in names()}
    # It is beside an answer that names the word.
    return replace(texts, **{**words, "offered_more": ""})


def names() -> tuple[str, ...]:
    """Return the names in the catalogue, in its order."""
    return tuple(field.name for field in fields(Texts))
