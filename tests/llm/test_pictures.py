"""Pictures as data URIs in a model's output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.llm.pictures import LEAST_CHARS, PictureFilter
from wxgptd.markdown.reading import PICTURE_SIGN as SIGN

DATA = "iVBORw0KGgo+/=" * 50
SHORT = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def shown(*pieces: str) -> str:
    filter_ = PictureFilter()
    return "".join([*(filter_.feed(piece) for piece in pieces), filter_.close()])


@pytest.mark.parametrize(
    ("written", "replaced"),
    [
        (f"画好了：\n![image](data:image/png;base64,{DATA})\n喜欢吗？", f"画好了：\n{SIGN}\n喜欢吗？"),
        (f"![](data:image/png;base64,{DATA})", SIGN),
        ("[图](data:image/svg+xml;utf8,<svg/>)后", f"{SIGN}后"),
        (f'![a](<data:image/png;base64,{DATA}> "标题")。', f"{SIGN}。"),
        (f"![a]({SHORT})和![b]({SHORT})", f"{SIGN}和{SIGN}"),
        (f"![image](data:image/png;base64,{DATA}", SIGN),
        (f"![image](data:image/png;base64,{DATA}\n没有右括号", f"{SIGN}\n没有右括号"),
        (f"<img src='data:image/png;base64,{DATA}'>", f"<img src='{SIGN}'>"),
        (f"url(DATA:font/woff2;charset=utf-8;base64,{DATA})", f"url({SIGN})"),
        (f"见 data:image/png;base64,{DATA}，好", f"见 {SIGN}，好"),
        (f"示例：`{SHORT}`", f"示例：`{SHORT}`"),
        ("[文](http://a.b/c) 和 ![图](https://a.b/c.png)", None),
        ("数组 a[1]、![、data:、metadata 与 data: 见[d](data", None),
        (f"![图](data:image/png;base64,{DATA}。这是结论：一共42元。", f"{SIGN}。这是结论：一共42元。"),
        ("[EVENT](data: string): void {}", None),
        (f"![a](data:image/png;base64,{DATA}\n{DATA}\n{DATA})完", f"{SIGN}完"),
        ("[" * 300 + "未闭合", None),
    ],
)  # fmt: skip
def test_a_picture_is_replaced_by_a_placeholder(written, replaced):
    expected = written if replaced is None else replaced
    assert shown(written) == expected
    assert shown(*written) == expected


@given(
    st.lists(
        st.sampled_from(
            [
                "![",
                "]",
                "](",
                "data:",
                "image/png;base64,",
                "A" * LEAST_CHARS,
                "A",
                ")",
                "\n",
                "字",
                "d",
                "da",
                ";",
                ",",
            ]
        )
    )
)
def test_the_split_of_the_stream_makes_no_difference(parts):
    assert shown(*parts) == shown("".join(parts)) == shown(*"".join(parts))


def test_a_picture_is_not_buffered():
    filter_ = PictureFilter()
    filter_.feed("![x](data:image/png;base64,")
    for _ in range(100):
        assert filter_.feed("A" * 10_000) == ""
    assert filter_.feed(")完") == "完"
