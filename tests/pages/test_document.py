"""Growing Markdown: how the text is split makes no difference, and settled blocks stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.markdown import blocks
from wxgptd.pages import document
from wxgptd.pages.document import Document
from wxgptd.pages.html import parse_blocks, render

LINES = [
    "text", "# h", "- a", "  - b", "1. x", "2", "2.", "   c", "> q", "```", "```python", "~~~",
    "    code", "| a | b |", "|---|---|", "| 1 | 2 |", "---", "===", "[a]: /u",
    "[a]: https://x.test/", "'tit", "le'", "[a]", "[b][a]", "[b]: <", "", "", "", "***", "\\[",
    "\\]", "$$", "x^2", "$x$", "\\begin{align}", "\\end{align}", "- ", "* * *", "+", "-", "\t",
    "  ", "> ```", "> [a]: https://y.test", "**b", "字**", "```" + "x" * 60, "~" * 90, "\\[ x \\] w", "$$x$$,", "|", "`", "``",
]  # fmt: skip
SCRAPS = st.text("ab`*#->1.|[]:\\$ \t'\r\0", max_size=8)
TEXTS = st.lists(st.one_of(st.sampled_from(LINES), SCRAPS), max_size=14).map("\n".join)


@given(TEXTS, st.lists(st.integers(0, 200)))
def test_streamed_text_is_rendered_like_complete_text(text, cuts):
    growing = Document()
    for cut in sorted(cuts):
        growing.update(text[:cut])
    assert growing.update(text) == Document().update(text)


@given(TEXTS)
def test_settling_does_not_change_the_meaning_of_markdown(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    references = {}
    tokens = parse_blocks(text, references)
    expected = [render(source, references) for source in document._sources(text, tokens)]
    assert list(Document().update(text)) == expected


@given(st.data())
def test_settled_blocks_are_a_prefix_of_every_later_rendering(data):
    # No line defines a link, so settled blocks never change.
    pieces = data.draw(st.lists(st.sampled_from([line for line in LINES if "[" not in line])))
    text = "\n".join(pieces)
    growing = Document()
    for cut in range(0, len(text), 7):
        shown = growing.update(text[:cut])
        settled = growing._settled[:]
        assert list(shown[: len(settled)]) == settled
        assert growing.update(text[: cut + 7])[: len(settled)] == tuple(settled)


def test_only_open_blocks_are_rendered_again():
    paragraphs = [f"第 {n} 段，**粗** `码`。" for n in range(50)]
    growing = Document()
    for n in range(2, 51):
        before = growing._settled[:]
        shown = growing.update("\n\n".join(paragraphs[:n]) + "\n\n")
        assert all(now is then for now, then in zip(shown, before, strict=False))
    assert len(growing._settled) >= 48
    assert growing.work(growing._text) < 0.1 * len(growing._text)


def test_a_link_is_completed_once_its_definition_arrives():
    growing = Document()
    text = "见[文档][1]。\n\n第二段。\n\n第三段。\n\n"
    assert "href" not in "".join(growing.update(text))
    assert 'href="https://example.com/"' in growing.update(text + "[1]: https://example.com/\n")[0]


def test_different_text_starts_over():
    growing = Document()
    growing.update("旧的。\n\n第二段。\n\n第三段。\n\n")
    assert growing.update("新的。") == ("<p>新的。</p>",)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 300)))
def test_split_blocks_do_not_depend_on_the_pieces(text, cuts):
    growing = Document(max_open_chars=40)
    for cut in sorted(cuts):
        growing.update(text[:cut])
    assert growing.update(text) == Document(max_open_chars=40).update(text)


def test_split_code_continues_as_code():
    code = "".join(f"print({n})  # 注\n" for n in range(20))
    shown = Document(max_open_chars=60).update(f"```python\n{code}```\n\n# 标题\n")
    assert shown[-1] == "<h1>标题</h1>"
    assert len(shown) > 3
    assert all('data-language="python"' in block for block in shown[:-1])
    assert sum(block.count("print") for block in shown) == 20


def test_a_single_line_beyond_the_open_limit_is_split_too():
    for text in ("```" + "x" * 40_000, "~" * 40_000, f"```{'A' * 20_000}\n{'B' * 20_000}\n"):
        assert sum(map(len, Document().update(text))) < 200_000


def test_tables_of_empty_cells_stay_small():
    table = f"|{'a|' * 300}\n|{'-|' * 300}\n{'a' * 1}\n" + "a\n" * 217 + "\n\n"
    assert sum(map(len, Document().update(table * 15))) < 1_000_000


def test_deeply_nested_words_are_rendered():
    assert "words" in "".join(Document().update("> " * 40 + "words"))


def test_a_lone_surrogate_breaks_nothing():
    assert Document().update("a\ud800b") == ("<p>a?b</p>",)


def test_rendering_text_twice_gives_the_same_blocks():
    assert blocks("一段。") == blocks("一段。")
