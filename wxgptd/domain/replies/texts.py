"""The catalogue: every text shown to WeChat users.

Operators override any of them in `[texts]`. `wxgptd.domain.replies.wording` fills in the
placeholders in braces; which ones a text may use is checked when the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from string import Formatter

from wxgptd.domain.replies import taps

MAX_REPLY_BYTES = 2_048
"""WeChat rejects a longer text, and the user sees WeChat's error message."""

MAX_TEXT_BYTES = 1_000
"""The longest text an operator may configure: half a reply."""


DEFAULT_TITLE = "AI 助手"
"""The name that users see for an assistant, unless one is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The catalogue. The defaults are in Chinese, the users' language."""

    # Replies to commands.
    session_opened: str = (
        "你好，我是 {assistant}，直接提问就行。\n"
        "{ttl}没有动静，对话会自动结束。\n"
        "{tap:/help|帮助}  {tap:/history|历史记录}  {tap:/clear|清空对话}  {tap:/stop|结束对话}"
    )
    session_already_open: str = "已经在对话中了，直接提问就行。"
    session_stopped: str = "对话已结束。想再聊时，{start}。"
    session_stopped_answer: str = "已停止回答这个问题，对话也结束了。想再聊时，{start}。"
    session_cleared: str = "好的，前面的内容已清空，直接提问就行。"
    session_resumed: str = "好的，已接上之前的对话，直接提问就行。"
    no_session: str = "现在没有进行中的对话。{start}。"
    start: str = "发送 {commands} 开始对话"
    start_directly: str = "直接提问就行"
    start_open: str = "直接提问就行"
    history: str = "点开链接查看你的历史对话（{days} 天内有效，请勿转发）：\n{link}"
    help: str = (
        "{start}，也可以发送：\n"
        "{tap:继续} 看回答的下一段\n"
        "{tap:重试} 重新回答上一个问题\n"
        "{tap:停止} 停下正在写的回答，没有在写就结束对话\n"
        "{tap:/clear|清空对话} 忘掉前面的内容，重新开始\n"
        "{tap:/history|历史记录} 查看以前的对话\n"
        "{tap:/stop|结束对话} 不再聊了"
    )
    help_models: str = "{tap:/model|切换模型} 换一个模型来回答"
    confirm_clear: str = (
        "要清空对话、重新开始吗？\n"
        "之前回答的链接也会失效。\n"
        "{tap:/clear|确定清空}（或再发送一次 /clear）"
    )
    all_said: str = "以上就是完整的回答。"
    answer_stopped: str = "已停止回答这个问题。可以接着提问，也可以{tap:重试}。"
    no_such_command: str = "没有这个命令，你要发的是 {nearest} 吗？"
    no_such_command_help: str = "没有这个命令，看看{tap:/help|帮助}吧。"
    nothing_to_retry: str = "还没有可以重试的问题，直接提问就行。"
    expired_hint: str = "对话已超时，这条消息还没有发给 AI。发送“{tap:接着聊}”就能得到回答。"
    models: str = "现在用的是 {model}，可以换成：{models}。发送“/model”加上名字即可切换。"
    no_such_model: str = (
        "没有叫这个名字的模型。现在用的是 {model}，可以换成：{models}。"
        "发送“/model”加上名字即可切换。"
    )
    only_model: str = "现在只有一个模型，不用切换。"
    model_chosen: str = "已切换到 {model}，接着问吧。"
    between_commands: str = " 或 "
    for_minutes: str = "{count} 分钟"
    for_hours: str = "{count} 小时"
    for_days: str = "{count} 天"

    # Messages that are not accepted as questions.
    too_many_waiting: str = "前面的问题还没答完，请等答完再问。发送“{tap:继续}”可以看回答。"
    question_too_long: str = "这条消息太长了，请缩短后再发。"
    not_understood: str = "目前只支持文字消息，请用文字提问。"
    not_understood_text: str = "没有看到文字，请写下你的问题。"
    not_understood_image: str = "目前看不了图片，请用文字描述你的问题。"
    not_understood_voice: str = "没能识别这段语音，请改用文字提问。"
    not_understood_video: str = "目前看不了视频，请用文字描述你的问题。"
    not_understood_sticker: str = "收到你的表情啦。有问题的话，请用文字告诉我。"
    moderated: str = "抱歉，这条消息包含无法处理的内容，请换个说法再发。"
    blocked: str = "抱歉，你暂时无法使用 AI 对话。如有疑问，请联系公众号运营者。"
    blocked_for: str = "抱歉，你暂时无法使用 AI 对话，请 {when}再来。"
    not_allowed: str = "抱歉，AI 对话目前只对受邀用户开放。如有疑问，请联系公众号运营者。"
    too_many_messages: str = "消息发得有点快，请 {when}再发。"
    too_many_questions: str = "今天的提问次数用完了，请 {when}再来。"
    too_many_tokens: str = "你今天的 AI 额度用完了，请 {when}再来。"
    budget_spent: str = "本公众号今天的 AI 额度用完了，请明天再来。"
    storage_full: str = "抱歉，暂时无法接收新的问题，请稍后再试。"
    overloaded: str = "现在提问的人太多，没来得及接收这条消息，请过一会儿再发。"
    in_seconds: str = "{count} 秒后"
    in_minutes: str = "{count} 分钟后"
    in_hours: str = "{count} 小时后"

    # Shown with an answer.
    ai_label: str = "内容由 AI 生成"
    unseen: str = "（你之前问的“{question}”，回答已经写好：\n{link} ）"
    trimmed: str = "（对话较长，AI 不再参考最早的内容。想重新开始，可以{tap:/clear|清空对话}）"
    more: str = "──────────\n发送“{tap:继续}”看下一段\n全文：{link}"
    still_writing: str = "──────────\n还在写……发送“{tap:继续}”看下文\n全文：{link}"
    still_writing_pushed: str = "──────────\n还在写，写好后会自动发来\n全文：{link}"
    waiting: str = "还在想……发送“{tap:继续}”看回答\n也可以在这里看：{link}"
    waiting_pushed: str = "还在想，写好后会自动发来\n也可以在这里看：{link}"
    waiting_in_line: str = "正在排队……发送“{tap:继续}”看回答\n也可以在这里看：{link}"
    waiting_in_line_pushed: str = "正在排队，写好后会自动发来\n也可以在这里看：{link}"
    offered_more: str = "{tap:继续|接着看}"
    cut_short: str = "（回答较长，先写到这里。发送“{tap:继续}”接着写）"
    interrupted: str = "（回答中断了。发送“{tap:继续}”接着写，或者{tap:重试}）"
    failed_midway: str = "（{failure}）"

    # Failures.
    failure_misconfigured: str = "抱歉，AI 服务暂时用不了，请稍后再试。"
    failure_quota: str = "抱歉，AI 服务暂时用不了，请过些时候再来。"
    failure_busy: str = "现在提问的人较多，请 {seconds} 秒后{tap:重试}。"
    failure_too_long: str = "这次对话太长，AI 记不下了。请{tap:/clear|清空对话}后再问。"
    failure_refused: str = "抱歉，这个问题 AI 回答不了。"
    failure_unavailable: str = "抱歉，AI 服务暂时出了问题，请稍后{tap:重试}。"
    failure_interrupted: str = "回答中断了。发送“{tap:继续}”接着写，或者{tap:重试}。"
    failure_picture: str = "这张图片打不开，或者太大了，请换一张再发。"
    failure_moderated: str = "抱歉，这个问题 AI 回答不了。"
    failure_empty: str = "AI 这次没有给出回答。请{tap:重试}，或者换个问法。"
    failure_only_thoughts: str = "AI 这次没有给出回答。请{tap:重试}，或者换个问法。"
    failure_only_tools: str = "AI 这次没有给出回答。请{tap:重试}，或者换个问法。"
    failure_only_media: str = "AI 给的不是文字，这里显示不了。请换个问法再试。"
    failure_stopped: str = "已停止回答这个问题。"

    # Pages.
    page_title: str = "回答"
    page_question: str = "问题"
    page_picture: str = "[图片]"
    page_waiting: str = "正在排队，请稍候……"
    page_thinking: str = "正在思考……"
    page_writing: str = "正在写……"
    page_done: str = "已写完"
    page_cut_short: str = "回答较长，先写到这里。回到聊天发送“继续”，就会接着写。"
    page_interrupted: str = "回答中断了，以上是已经写好的部分。回到聊天发送“继续”，就会接着写。"
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
    page_busy: str = "打开这个页面的人较多，请 {seconds} 秒后再刷新。"
    page_gone: str = "这个链接已失效。回到公众号发送 /history，可以查看历史对话。"
    page_ask: str = "接着问"
    page_ask_placeholder: str = "接着问……"
    page_send: str = "发送"
    page_stop: str = "停止"
    page_larger: str = "大字"
    page_retry: str = "重新回答"
    page_good: str = "👍 有用"
    page_bad: str = "👎 没帮助"
    page_thanks: str = "谢谢反馈"
    page_new_session: str = "上一个对话已经结束，这是一个新对话，不再参考前面的内容。"
    page_other_session: str = "这个问题接在了正在进行的另一个对话里。"
    page_ask_in_chat: str = "要在这里接着问，请回到公众号发送“历史记录”，打开新的链接。"
    page_ask_off: str = "这里不能提问，请回到公众号提问。"
    page_reload_first: str = "页面已经过期，请刷新后再试。"
    page_too_often: str = "发得太快了，请稍等一会儿再试。"
    page_not_sent: str = "没有发出去，请再试一次。"
    page_other_model: str = "换一个模型……"
    page_words: str = "说说为什么（可以不写）"
    page_words_send: str = "提交"
    page_copy_markdown: str = "复制 Markdown"
    page_stopped: str = "已停止"
    page_no_cookies: str = (
        "这个浏览器没有保存 cookie，不能在这里提问。请用微信打开，或者回到公众号提问。"
    )
    page_share: str = "分享"
    page_share_which: str = "选好要分享的问答，再生成链接。"
    page_share_make: str = "生成链接"
    page_share_cancel: str = "取消"
    page_share_link: str = "打开链接的人只能看到选中的问答。"
    page_share_failed: str = (
        "没能分享：写完的回答才能分享；最多保留 {count} 个链接，请先撤回不用的。"
    )
    page_shares: str = "分享过的链接"
    page_withdraw: str = "撤回"
    page_withdrawn: str = "已撤回，这个链接打不开了。"
    page_share_gone: str = "这个分享已经撤回或过期。"
    page_from: str = "来自："
    page_shared_title: str = "分享的对话"
    page_earlier: str = "前面的 {count} 个问答"
    page_skipped: str = "中间还有 {count} 个问答，发送 /history 可以看全部。"
    page_not_found: str = "没有这个页面。"
    page_home: str = "回首页"
    site_title: str = "AI 助手"
    site_about: str = "在微信里关注公众号，就可以和 AI 对话。内容由 AI 生成。"
    site_qr_code: str = "公众号二维码，用微信扫一扫"
    page_ai_notice: str = "内容由 AI 生成，请自行核实"
    title_request: str = (
        "给上面的对话起一个标题，不超过十五个字，用对话的语言。只写标题，不要引号和句号。"
    )
    history_title: str = "历史对话"
    history_empty: str = "还没有对话。"
    history_open: str = "进行中"
    history_stopped: str = "已结束"
    history_cleared: str = "已清空"
    history_expired: str = "已超时"
    history_replaced: str = "已换助手"
    history_unsubscribed: str = "已取消关注"
    history_operator: str = "已由运营者结束"
    history_unanswered: str = "（没有回答）"
    history_running: str = "（正在回答）"
    history_search: str = "搜索"
    history_search_for: str = "搜索问题和回答"
    history_found: str = "找到 {count} 个问答"
    history_not_found: str = "没有找到。"
    history_all: str = "显示全部"
    history_download: str = "全部下载（Markdown）"
    history_erase: str = "删除全部历史"
    history_erase_warning: str = (
        "删除后无法恢复：你的全部对话、所有回答页面和这个链接都会消失，正在写的回答也会停下。"
    )
    history_erase_yes: str = "全部删除"
    history_erase_no: str = "不删了"
    history_erased: str = "已全部删除，可以关闭这个页面了。"
    history_erase_failed: str = "已删除。少量残留数据稍后会自动清理。"
    history_older: str = "更早的"
    history_newer: str = "更近的"
    history_count: str = "{count} 个问题"
    history_open_one: str = "打开这个对话（{count} 个问题）"
    history_download_one: str = "下载"
    history_copy: str = "复制全部"
    history_delete: str = "删除"
    history_delete_sure: str = "确定删除？"
    history_deleted: str = (
        "已删除。一天之内，它的文字会从服务器的所有文件里清除。正在进行的对话也一起结束了。"
    )
    history_busy: str = "这个对话刚刚有问题，请停止回答，或者过半分钟再删。"
    history_untitled: str = "（没有文字的提问）"
    history_dropped: str = "{date} 之前的对话已按期删除。"


PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    **{
        name: frozenset({"assistant", "minutes", "ttl", "commands", "start"})
        for name in ("session_opened", "session_already_open", "session_cleared")
    },
    **{
        name: frozenset({"commands", "start"})
        for name in (
            "session_stopped",
            "session_stopped_answer",
            "no_session",
            "session_resumed",
            "nothing_to_retry",
        )
    },
    "start": frozenset({"commands"}),
    "no_such_command": frozenset({"nearest"}),
    **{name: frozenset({"count"}) for name in ("for_minutes", "for_hours", "for_days")},
    "history": frozenset({"link", "days"}),
    "history_dropped": frozenset({"date"}),
    **{
        name: frozenset({"count"})
        for name in (
            "history_found",
            "history_count",
            "history_open_one",
            "page_share_failed",
            "page_earlier",
            "page_skipped",
        )
    },
    "page_elapsed": frozenset({"count"}),
    "help": frozenset({"commands", "minutes", "ttl", "start"}),
    "welcome": frozenset({"commands", "scene", "start"}),
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
        for kind in ("text", "image", "voice", "video", "sticker")
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
"""Texts that accompany others, and so may be empty."""


def faults(name: str, text: str) -> Iterator[str]:
    """Yield the mistakes in `text`, the catalogue's text `name`."""
    allowed = PLACEHOLDERS.get(name, frozenset())
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        yield f"is longer than {MAX_TEXT_BYTES} bytes"
    elif len(taps.filled(text).encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        yield f"is longer than {MAX_TEXT_BYTES} bytes with its taps, which take about 90 bytes each"
    if not text.strip() and name not in MAY_BE_EMPTY:
        yield "is empty"
    try:
        parsed = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        yield f"has malformed placeholders: {error} (write {{{{ for a brace)"
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
        choice = ", ".join(f"{{{option}}}" for option in (*sorted(allowed), "tap:WORDS"))
        yield f"uses {{{placeholder}}}, but may use: {choice}"


def without_taps(texts: Texts) -> Texts:
    """Return the catalogue with its taps replaced by their words."""
    words = {name: taps.without_taps(getattr(texts, name)) for name in names()}
    # It accompanies an answer that names the word.
    return replace(texts, **{**words, "offered_more": ""})


def names() -> tuple[str, ...]:
    """Return the names in the catalogue, in order."""
    return tuple(field.name for field in fields(Texts))
