"""A list of words, and whether a text has one of them in it, in any case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class WordList:
    """Finds any of many words in one pass over a text."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        folded = {word.strip().casefold() for word in words} - {""}
        index: defaultdict[str, list[str]] = defaultdict(list)
        for word in folded:
            index[word[:2]].append(word)
        self._index = {head: tuple(found) for head, found in index.items()}
        self._longest = max(map(len, folded), default=0)

    def __len__(self) -> int:
        return sum(map(len, self._index.values()))

    def match(self, text: str) -> bool:
        """Tell whether one of the words is in `text`."""
        index = self._index
        if not index:
            return False
        folded = text.casefold()
        for at in range(len(folded)):
            for head in (folded[at : at + 2], folded[at]):
                for word in index.get(head, ()):
                    if folded.startswith(word, at):
                        return True
        return False

    def watch(self) -> Watch:
        """Return what looks for the words in a text that comes in pieces."""
        return Watch(self, max(self._longest - 1, 0))


class Watch:
    """Looks at each piece of a text together with the end of what came before."""

    def __init__(self, words: WordList, kept: int) -> None:
        self._words = words
        self._kept = kept
        self._before = ""

    def objects(self, piece: str) -> bool:
        """Tell whether there is a word in the text, now that it goes on with `piece`."""
        text = self._before + piece
        self._before = text[-self._kept :] if self._kept else ""
        return self._words.match(text)
