"""Updates that bring a reader up to date from any position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.pages.rendition import Rendition, StatusText, rendition
from wxgptd.ports.pages import AnswerView, Progress

BLOCKS = st.lists(st.text("ab🙂\U0001f1e8é", max_size=6), max_size=5).map(tuple)


def rendition_of(
    blocks, former=None, *, generation=0, progress=Progress.WRITING, thoughts=""
) -> Rendition:
    view = AnswerView("问", 0.0, progress, "".join(blocks), "", generation, thoughts, 1.0)
    return rendition(view, StatusText("正在写"), tuple(blocks), former)


class Reader:
    """Applies updates like the script on the page."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.thoughts = ""
        self.position = ""

    def take(self, update) -> None:
        fresh = list(update["blocks"])
        if update["keep"]:
            shown = self.blocks[update["from"]].encode("utf-16-le", "surrogatepass")
            fresh[0] = shown[: 2 * update["keep"]].decode("utf-16-le") + fresh[0]
        self.blocks[update["from"] :] = fresh
        thoughts = self.thoughts.encode("utf-16-le", "surrogatepass")  # JavaScript's units
        kept = thoughts[: 2 * update["thoughts"]["from"]].decode("utf-16-le", "replace")
        self.thoughts = kept + update["thoughts"]["text"]
        self.position = update["position"]


@given(st.lists(st.tuples(BLOCKS, st.integers(0, 1), st.booleans(), st.text("想🙂", max_size=3))))
def test_every_reader_sees_the_current_answer(steps):
    connected, reconnecting = Reader(), Reader()
    former = None
    generation = 0
    for blocks, restarts, reconnects, thoughts in steps:
        generation += restarts
        now = rendition_of(blocks, former, generation=generation, thoughts=thoughts)
        connected.take(now.since(connected.position) if former is None else now.after(former))
        assert (tuple(connected.blocks), connected.thoughts) == (blocks, thoughts)
        if reconnects:
            reconnecting.take(now.since(reconnecting.position))
            assert tuple(reconnecting.blocks) == blocks
        former = now


def test_digests_do_not_depend_on_earlier_renditions():
    first = rendition_of(["一", "二"])
    assert (
        rendition_of(["一", "二", "三"], first).digests == rendition_of(["一", "二", "三"]).digests
    )


def test_only_the_new_part_of_a_growing_block_is_sent():
    former = rendition_of(["一", "<p>🙂二</p>"])
    update = rendition_of(["一", "<p>🙂二三</p>"], former).after(former)
    assert (update["from"], update["keep"], update["blocks"]) == (1, 6, ["三</p>"])


def test_settled_blocks_are_not_sent_again_after_a_reconnect():
    former = rendition_of(["一", "二", "三"])
    update = rendition_of(["一", "二", "三四"]).since(former.position)
    assert (update["from"], update["keep"], update["blocks"]) == (2, 0, ["三四"])
    final = rendition_of(["一", "二", "三四"], progress=Progress.DONE)
    assert final.since(final.position)["blocks"] == []


def test_an_answer_that_started_over_is_sent_in_full():
    former = rendition_of(["旧", "的"])
    now = rendition_of(["旧", "的", "新"], generation=1)
    assert now.since(former.position)["from"] == now.after(former)["from"] == 0


def test_a_reader_can_be_ahead_of_other_readers():
    behind, ahead = rendition_of(["一"]), rendition_of(["一", "二"])
    assert behind.is_before(ahead.position)
    assert not ahead.is_before(behind.position)
    assert behind.is_before(rendition_of([], generation=1).position)
    assert not rendition_of([], generation=1).is_before(ahead.position)


@pytest.mark.parametrize(
    "position", ["", ".", "0.1.x", "0." * 40, "0.²", "0.-1", "9.9.9.9.9.9", "x"]
)
def test_an_invalid_position_gets_the_full_answer(position):
    reader = Reader()
    now = rendition_of(["一", "二"])
    reader.take(now.since(position))
    assert reader.blocks == ["一", "二"]
    assert position.startswith("9") or not now.is_before(position)
