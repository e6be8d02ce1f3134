"""What a line of chat means, regardless of state: the only parser of chat lines.

Phones mangle commands: a Chinese keyboard types ／ or 、 for the slash, full-width letters, a
trailing full stop, no space or two. All of these are understood. A word acts as a command if it is
the whole message: 帮助 is `/help`. Those words are configured (`[commands]`); `routing` decides
where they count, since on an account with keyword replies 帮助 may be a keyword. Words after an
opening command are the session's first question; words after any other command make the line
ordinary chat, as in "/clear 是什么意思".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

from wxgptd.domain.model.values import AssistantName, Content, Text


@dataclass(frozen=True, slots=True)
class Open:
    """Open a session with `assistant`, and ask `question` if it is not empty."""

    assistant: AssistantName
    question: str


@dataclass(frozen=True, slots=True)
class EndSession:
    """Stop the running answer, and end the session."""


@dataclass(frozen=True, slots=True)
class StopAnswer:
    """Stop the running answer, or end the session if none is running."""


@dataclass(frozen=True, slots=True)
class Clear:
    """End the session and open another one with the same assistant."""


@dataclass(frozen=True, slots=True)
class History:
    """Ask for a link to the user's own history."""


@dataclass(frozen=True, slots=True)
class Help:
    """Ask for help."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Ask for the next part of an answer. If none is left, `may_ask` makes the text a question."""

    may_ask: bool = True


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the last question again."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Resume the expired session, and answer the message that was held back."""


@dataclass(frozen=True, slots=True)
class ChooseModel:
    """Switch to `model`, or list the models if it is empty."""

    model: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A command that does not exist; `nearest` is the most similar one, or empty."""

    nearest: str


@dataclass(frozen=True, slots=True)
class Say:
    """Anything else."""


Action = (
    Open
    | EndSession
    | StopAnswer
    | Clear
    | History
    | Help
    | Continue
    | Retry
    | Resume
    | ChooseModel
    | Unknown
    | Say
)


class Reach(StrEnum):
    """Where a phrase counts as a command."""

    ANYWHERE = "anywhere"
    CONVERSATION = "conversation"
    """In a session, after an expired one, and on accounts dedicated to AI."""
    OUTSIDE = "outside"
    """Outside a session, on accounts dedicated to AI; in a session it may answer the model's
    question."""


class Phrase(NamedTuple):
    """What a line asks for, and where it is recognised."""

    action: Action
    reach: Reach


SAY = Phrase(Say(), Reach.ANYWHERE)

RESUME_WORDS = "接着聊"
"""The words that the tap in the session-expired hint sends."""

_COMMANDS: Mapping[str, Action] = {
    "stop": EndSession(),
    "clear": Clear(),
    "history": History(),
    "help": Help(),
    "more": Continue(may_ask=False),
    "retry": Retry(),
    "model": ChooseModel(""),
    "models": ChooseModel(""),
}
RESERVED = frozenset(f"/{name}" for name in _COMMANDS)
"""Commands that an assistant must not use as its own."""

_ACTIONS: Mapping[str, Action] = {
    "help": Help(),
    "stop": StopAnswer(),
    "end": EndSession(),
    "clear": Clear(),
    "history": History(),
    "model": ChooseModel(""),
    "retry": Retry(),
    "continue": Continue(),
}

WORDS: Mapping[str, tuple[str, ...]] = {
    "help": ("帮助", "使用帮助", "查看帮助", "help", "菜单", "功能", "怎么用", "使用说明"),
    "stop": (
        "停止", "停", "停止吧", "停止回答", "停止生成", "停一下", "停下", "停下来", "别说了",
        "别写了", "不用说了", "stop",
    ),
    "end": (
        "结束对话", "结束会话", "结束聊天", "退出对话", "退出会话", "退出聊天", "end chat",
    ),
    "clear": (
        "清空对话", "清空上下文", "清空聊天", "清除对话", "清除上下文", "重置对话", "新对话",
        "新的对话", "新会话", "新聊天", "新建对话", "新建会话", "开始新对话", "开启新对话",
        "重新开始对话", "换个话题", "new chat", "clear chat",
    ),
    "history": (
        "历史记录", "历史对话", "对话记录", "对话历史", "聊天记录", "查看历史", "查看历史记录",
        "我的历史", "历史", "history",
    ),
    "model": (
        "切换模型", "更换模型", "换模型", "换个模型", "选择模型", "查看模型", "模型列表", "模型",
        "switch model",
    ),
    "retry": (
        "重试", "重新回答", "重新生成", "再答一次", "再回答一次", "重答", "换个回答", "retry",
        "regenerate", "try again",
    ),
    "continue": (
        "继续吧", "请继续", "继续说", "继续写", "继续讲", "继续看", "继续回答", "回复继续",
        "接着说", "接着写", "接着讲", "接着看", "往下说", "往下写", "说下去", "写下去", "下一页",
        "下一段", "go on", "next page",
    ),
}  # fmt: skip
"""The default words for each command, by `[commands]` key."""

ANSWERS_TOO = frozenset({"历史", "模型", "菜单", "功能", "怎么用", "使用说明", "history"})
"""Words that may also answer a model's question, such as 你想聊什么？"""

OFFERED: Mapping[str, Phrase] = {
    "继续": Phrase(Continue(), Reach.ANYWHERE),
    "continue": Phrase(Continue(), Reach.ANYWHERE),
    "重试": Phrase(Retry(), Reach.CONVERSATION),
    "停止": Phrase(StopAnswer(), Reach.CONVERSATION),
    RESUME_WORDS: Phrase(Resume(), Reach.CONVERSATION),
}
"""The words that the catalogue's taps send; always understood."""

OFFERED_BY = {"继续": "continue", "continue": "continue", "重试": "retry", "停止": "stop"}
"""The `[commands]` key under which each of them can also be configured."""

MAX_COMMAND_CHARS = 40
"""A longer message is never matched as a phrase."""

_NARROW = {0xFF01 + place: 0x21 + place for place in range(94)} | {0x3000: 0x20}
"""Maps full-width letters and punctuation to ASCII, one character to one."""

TRADITIONAL = "繼續幫對話會歷記錄換試著說頁單寫講開啟選擇題個別結啓請來"
_SIMPLIFIED = str.maketrans(TRADITIONAL, "继续帮对话会历记录换试着说页单写讲开启选择题个别结启请来")

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200e\u200f\u2060\ufeff\ufe0e\ufe0f\u00ad"))
"""Invisible characters that typing and copying leave, except the joiner inside an emoji."""

_SLASHES = "/／、\\"
"""On a Chinese keyboard, 、 is where the slash is on others."""

_ENDS = " 。.！!？?～~…，,、;；"
_QUOTES = dict.fromkeys(map(ord, '“”"＂「」『』‘’【】'))
_CORE = _NARROW | _SIMPLIFIED | _INVISIBLE | _QUOTES
_NAME_GOES_ON = re.compile(r"[A-Za-z0-9_-]")
_JOINT = re.compile(r"^[，,：:、]?\s*")
"""The separator between a command and its question."""

_ONE_WORD = re.compile(r"[\w-]{1,32}")
_LATIN = re.compile(r"[A-Za-z][A-Za-z_-]*")


def spoken(content: Content) -> str:
    """Return what the user typed or spoke; the title of a shared link does not count."""
    if isinstance(content, Text) and content.kind in ("text", "voice"):
        return content.text
    return ""


class Vocabulary:
    """The commands and words of one configuration.

    `assistants` maps lower-case commands, slash included, to assistants; `words` maps each key of
    `WORDS` to its words, if any.
    """

    def __init__(
        self,
        assistants: Mapping[str, AssistantName],
        words: Mapping[str, Iterable[str]] = WORDS,
    ) -> None:
        self.assistants = assistants
        self._commands: dict[str, Action] = {
            **_COMMANDS,
            **{command[1:]: Open(name, "") for command, name in assistants.items()},
        }
        self._words: dict[str, Phrase] = dict(OFFERED)
        for key, synonyms in words.items():
            for word in filter(None, map(core, synonyms)):
                outside = Reach.OUTSIDE if word in ANSWERS_TOO else Reach.CONVERSATION
                self._words.setdefault(word, Phrase(_ACTIONS[key], outside))
        # Longest first: /chat must not match a line meant for /chatgpt.
        self._openers = sorted(self.assistants, key=len, reverse=True)

    def read(self, content: Content) -> Phrase:
        """Return what a message asks for."""
        line = spoken(content).translate(_INVISIBLE).strip()
        if not line:
            return SAY
        if line[0] in _SLASHES:
            return self._command(line)
        if len(line) > MAX_COMMAND_CHARS:
            return SAY
        return self._words.get(core(line), SAY)

    def _command(self, line: str) -> Phrase:
        """Return what a line that begins with a slash asks for."""
        plain = line.translate(_NARROW)  # as long as `line`
        name = plain[1:].lstrip()
        head = len(plain) - len(name)
        if len(name) <= MAX_COMMAND_CHARS:
            bare = core(name)
            action = self._commands.get(bare)
            if action is None and bare in self._words:
                action = self._words[bare].action
            if action is not None:
                return Phrase(action, Reach.ANYWHERE)
        folded = name[: MAX_COMMAND_CHARS * 2].lower()
        for command in self._openers:
            if folded.startswith(command[1:]):
                rest = head + len(command) - 1
                if not _NAME_GOES_ON.match(plain, rest):
                    question = _JOINT.sub("", line[rest:], count=1).strip()
                    return Phrase(Open(self.assistants[command], question), Reach.ANYWHERE)
        if folded.startswith("model") and not _NAME_GOES_ON.match(name, len("model")):
            # Some clients send the words of a tapped link still percent-encoded.
            model = name[len("model") :].replace("%20", " ").strip(_ENDS + ":")
            return Phrase(ChooseModel(model), Reach.ANYWHERE)
        word = core(name)
        if _ONE_WORD.fullmatch(word):
            nearest = self._nearest(word)
            # Otherwise it is an emoticon or a number.
            if nearest or (plain[0] == "/" and _LATIN.fullmatch(word)):
                return Phrase(Unknown(nearest), Reach.CONVERSATION)
        return SAY

    def _nearest(self, bare: str) -> str:
        """Return the command or word that is most similar to what was typed, or empty."""
        candidates = {name: f"/{name}" for name in self._commands if name not in ("more", "models")}
        candidates.update({word: word for word in self._words if not word.isascii()})
        prefixed = [name for name in candidates if len(name) > 3 and bare.startswith(name)]
        matches = prefixed or get_close_matches(bare, candidates, n=1, cutoff=0.6)
        return candidates[matches[0]] if matches else ""


def core(line: str) -> str:
    """Return a line in its normalised spelling, without the punctuation around it."""
    return " ".join(line.translate(_CORE).lower().strip(_ENDS).split())
