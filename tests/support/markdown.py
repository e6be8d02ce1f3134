"""Random texts of the kinds that models write, and of kinds that they should not."""

from __future__ import annotations

from random import Random

from wxgptd.pages.document import Blocks, Document

PIECES = (
    "天空", "因为", "。", "！", "，", "；", " ", " ", "\n", "\n", "\n\n", "word", "a.b", "3.14", "snake_case",
    "**粗**", "**", "*", "*斜*", "_", "__", "`code`", "`", "``", "~~", "~~删~~", "[文](http://a.b/c)", "[", "](",
    ")", "![图](http://x/y.png)", "<http://a.b>", "<br>", "<", "# 标题\n", "## 二\n", "#", "- 项\n", "  - 项\n",
    "- [x] 做完\n", "1. 一\n", "> 引\n", ">", "---\n", "***", "===\n", "```\n", "```python\nprint(1)\n```\n",
    "~~~\n", "````\n", "| 名 | 价 |\n|---|---|\n| 梨 | 5 |\n", "| a | b | c |\n|:-|-:|---|\n| 1 | 2 | 3 |\n", "|",
    "| x |\n", "$x^2$", "$", "$$\nE=mc^2\n$$\n", "$$", r"\(", r"\)", r"\[", r"\]", r"\frac{a}{b}", "\\", "\\*",
    "https://a.b/c_d_(e)*f*__g__", "http://", "www.a.b", "Python", "2**10", "a*b*c", "****", "***粗斜***", "__init__.py",
    "[1][2]", "[1]: http://a.b\n", "[^1]", "[^1]: 注\n", "- [ ] ", "1. [x] 做完\n", "    四格", "> ```\n> 码\n> ```\n", "![](http://a.b)",
    "(", '"', "'", ":", "：", "“", "”", "a@b.c", "$5", "$HOME", "\\begin{align}\nx\n\\end{align}\n", '<a href="x">', "&#60;", "12", "=", "+",
    "---", "]", "iPhone**Pro**版", "a**b**c", "5~~10", "~~100~~80", "2*π*r", "(1)*(2)*(3)", "+ 456\n", "- 12\n", "- ", "+ ",
    "👩🏽‍🚀", "e\u0301", "\r\n", "\t", "\u200d", "\x85", "\u3000", "\xa0", "\x0b", "\ud83d", "\u2028", "&amp;", "]]>", "字" * 90, "x" * 200,
)  # fmt: skip


def text(random: Random, most: int = 60) -> str:
    """Return text of up to `most` pieces, sometimes with characters from all of Unicode."""
    pieces = random.choices(PIECES, k=random.randrange(1, most))
    if random.random() < 0.3:
        place = random.randrange(len(pieces))
        pieces[place] = "".join(chr(random.randrange(1, 0x110000)) for _ in range(20))
    return "".join(pieces)


def blocks(text: str) -> Blocks:
    """Render a complete text."""
    return Document().update(text)
