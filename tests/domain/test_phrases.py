"""What a chat message means, however a phone spells it."""

from __future__ import annotations

import pytest

from tests.support.builders import ASSISTANTS
from wxgptd.domain.intake import phrases
from wxgptd.domain.intake.phrases import (
    ChooseModel,
    Clear,
    Continue,
    EndSession,
    Help,
    History,
    Open,
    Phrase,
    Reach,
    Resume,
    Retry,
    StopAnswer,
    Unknown,
    Vocabulary,
)
from wxgptd.domain.model.values import Picture, Text

CHATGPT, CLAUDE = ASSISTANTS["/chatgpt"], ASSISTANTS["/claude"]
ANYWHERE, CONVERSATION, OUTSIDE = Reach.ANYWHERE, Reach.CONVERSATION, Reach.OUTSIDE
VOCABULARY = Vocabulary(ASSISTANTS)

SPELLINGS = [
    # Commands as keyboards produce them.
    ("/chatgpt", Open(CHATGPT, ""), ANYWHERE),
    ("/ChatGPT", Open(CHATGPT, ""), ANYWHERE),
    ("  /CHATGPT\n", Open(CHATGPT, ""), ANYWHERE),
    ("／chatgpt", Open(CHATGPT, ""), ANYWHERE),
    ("／ｃｈａｔｇｐｔ", Open(CHATGPT, ""), ANYWHERE),
    ("、chatgpt", Open(CHATGPT, ""), ANYWHERE),
    ("/ chatgpt", Open(CHATGPT, ""), ANYWHERE),
    ("/chatgpt。", Open(CHATGPT, ""), ANYWHERE),
    ("/claude 你好", Open(CLAUDE, "你好"), ANYWHERE),
    ("/CLAUDE\n你好 ", Open(CLAUDE, "你好"), ANYWHERE),
    ("/claude　你好", Open(CLAUDE, "你好"), ANYWHERE),
    ("/claude你好？", Open(CLAUDE, "你好？"), ANYWHERE),
    ("／claude，ＡＢＣ是什么？", Open(CLAUDE, "ＡＢＣ是什么？"), ANYWHERE),
    ("/stop", EndSession(), ANYWHERE),
    ("／STOP ", EndSession(), ANYWHERE),
    ("/Stop！", EndSession(), ANYWHERE),
    ("\\stop", EndSession(), ANYWHERE),
    ("/clear", Clear(), ANYWHERE),
    ("/Clear~", Clear(), ANYWHERE),
    ("/history", History(), ANYWHERE),
    ("、history", History(), ANYWHERE),
    ("/help", Help(), ANYWHERE),
    ("/help？", Help(), ANYWHERE),
    ("/帮助", Help(), ANYWHERE),
    ("/more", Continue(may_ask=False), ANYWHERE),
    ("/retry", Retry(), ANYWHERE),
    ("/model", ChooseModel(""), ANYWHERE),
    ("/models", ChooseModel(""), ANYWHERE),
    ("/model  Big", ChooseModel("Big"), ANYWHERE),
    ("/model%20big", ChooseModel("big"), ANYWHERE),
    ("/model：big。", ChooseModel("big"), ANYWHERE),
    # Words.
    ("继续", Continue(), ANYWHERE),
    ("继续！", Continue(), ANYWHERE),
    ("继续。", Continue(), ANYWHERE),
    ("“继续”", Continue(), ANYWHERE),
    ("繼續", Continue(), ANYWHERE),
    ("Continue", Continue(), ANYWHERE),
    ("继续吧", Continue(), CONVERSATION),
    ("接着说~", Continue(), CONVERSATION),
    ("下一页", Continue(), CONVERSATION),
    ("回复“继续”", Continue(), CONVERSATION),
    ("go on", Continue(), CONVERSATION),
    ("帮助", Help(), CONVERSATION),
    ("帮助。", Help(), CONVERSATION),
    ("Help!", Help(), CONVERSATION),
    ("ｈｅｌｐ", Help(), CONVERSATION),
    ("停止", StopAnswer(), CONVERSATION),
    ("停一下！", StopAnswer(), CONVERSATION),
    ("别说了……", StopAnswer(), CONVERSATION),
    ("结束对话", EndSession(), CONVERSATION),
    ("清空对话", Clear(), CONVERSATION),
    ("新对话", Clear(), CONVERSATION),
    ("清空對話", Clear(), CONVERSATION),
    ("New  Chat", Clear(), CONVERSATION),
    ("历史记录", History(), CONVERSATION),
    ("切换模型", ChooseModel(""), CONVERSATION),
    ("重试", Retry(), CONVERSATION),
    ("重试。", Retry(), CONVERSATION),
    ("重新回答", Retry(), CONVERSATION),
    ("接着聊", Resume(), CONVERSATION),
    # Words that may also answer the model's question.
    ("历史", History(), OUTSIDE),
    ("模型", ChooseModel(""), OUTSIDE),
    ("菜单", Help(), OUTSIDE),
    # Unknown commands, with their suggestions.
    ("/histroy", Unknown("/history"), CONVERSATION),
    ("/hlep", Unknown("/help"), CONVERSATION),
    ("/ stpo", Unknown("/stop"), CONVERSATION),
    ("/chatgtp", Unknown("/chatgpt"), CONVERSATION),
    ("/unknown", Unknown(""), CONVERSATION),
    ("／unknown", Unknown(""), CONVERSATION),
    ("/chatgptx", Unknown("/chatgpt"), CONVERSATION),
    ("/modeldemo-pro", Unknown("/model"), CONVERSATION),
    ("、histroy", Unknown("/history"), CONVERSATION),
    ("/清空对化", Unknown("清空对话"), CONVERSATION),
    # Invisible characters left by keyboards or by copy and paste.
    ("停止\u200b", StopAnswer(), CONVERSATION),
    ("\ufeff停止", StopAnswer(), CONVERSATION),
    ("停止\ufe0f", StopAnswer(), CONVERSATION),
    ("/stop\u2060", EndSession(), ANYWHERE),
    # Punctuation that belongs to the question, and a colon that does not.
    ("/chatgpt .net 是什么", Open(CHATGPT, ".net 是什么"), ANYWHERE),
    ("/chatgpt ~/.ssh 是什么", Open(CHATGPT, "~/.ssh 是什么"), ANYWHERE),
    ("/chatgpt：你好", Open(CHATGPT, "你好"), ANYWHERE),
    ("/chatgpt 👨‍👩‍👧 是谁", Open(CHATGPT, "👨‍👩‍👧 是谁"), ANYWHERE),
]


@pytest.mark.parametrize(("text", "action", "reach"), SPELLINGS)
def test_a_phrase_is_recognised_in_every_spelling(text, action, reach):
    assert VOCABULARY.read(Text(text)) == Phrase(action, reach)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "/", "。", "、", "/etc/hosts 是什么", "/etc/hosts", "/stop it", "/clear 是什么意思",
        "请解释 /clear 命令", "继续讲讲长城的历史", "怎么清空对话", "帮助我写一封信", "停止犯罪的最好办法",
        "历史和模型", "、不对", "/::)", "/:rose", "1/2", "我想重试", "重试和重启有什么区别？",
        "下一页是什么", "/你好", "/你好吗", "/24", "/笑哭", "model", "新对话的写法", "你好", "你好/help", "停止" * 30, "/" + "a" * 90,
    ],
)  # fmt: skip
def test_any_other_text_is_an_ordinary_message(text):
    assert VOCABULARY.read(Text(text)) == phrases.SAY


def test_phrases_are_recognised_in_voice_messages_but_not_in_link_titles():
    assert VOCABULARY.read(Text("停止。", "voice")).action == StopAnswer()
    assert VOCABULARY.read(Text("停止", "link")) == phrases.SAY
    assert VOCABULARY.read(Picture("http://p")) == phrases.SAY


def test_phrases_are_configurable_but_the_offered_ones_always_work():
    vocabulary = Vocabulary(
        ASSISTANTS, {**dict.fromkeys(phrases.WORDS, ()), "help": ("救命！", "历史")}
    )
    assert vocabulary.read(Text("救命")) == Phrase(Help(), CONVERSATION)
    assert vocabulary.read(Text("历史")) == Phrase(Help(), OUTSIDE)
    assert vocabulary.read(Text("帮助")) == phrases.SAY
    for words in ("继续", "重试", "停止", "接着聊"):
        assert vocabulary.read(Text(words)) != phrases.SAY


def test_every_phrase_is_recognised_in_traditional_characters():
    traditional: dict[str, str] = {}
    for old in phrases.TRADITIONAL:
        traditional.setdefault(phrases.core(old), old)
    for words in phrases.WORDS.values():
        for word in words:
            spelt = word.translate(str.maketrans(traditional))
            assert VOCABULARY.read(Text(spelt)) == VOCABULARY.read(Text(word)), spelt


def test_no_phrase_has_two_meanings():
    all_words = [
        phrases.core(word) for phrase_words in phrases.WORDS.values() for word in phrase_words
    ]
    assert len(all_words) == len(set(all_words))


def test_the_longest_command_wins():
    both = Vocabulary({"/chat": CLAUDE, "/chatgpt": CHATGPT})
    assert both.read(Text("/chatgpt你好")).action == Open(CHATGPT, "你好")
    assert both.read(Text("/chat你好")).action == Open(CLAUDE, "你好")
