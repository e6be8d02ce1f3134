"""A list of words, and whether a text has one of them in it.

In any case, and whatever marks of emphasis or invisible characters stand between its letters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from unicodedata import normalize

_UNSEEN = dict.fromkeys(map(ord, "*_~`\u200b\u200c\u200d\u2060\ufeff\u00ad"))


MAX_WORD_CHARS = 100
"""What is longer is matched by its beginning."""


def _folded(text: str) -> str:
    return normalize("NFKC", text.translate(_UNSEEN)).casefold()


class WordList:
    """Finds any of many words in one pass over a text, however alike they are."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = {_folded(word.strip())[:MAX_WORD_CHARS] for word in words} - {""}
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for word in self._words:
            lengths[word[:2]].add(len(word))
        self._lengths = {head: tuple(sorted(found)) for head, found in lengths.items()}
        self._longest = max(map(len, self._words), default=0)

    def __len__(self) -> int:
        return len(self._words)

    def match(self, text: str) -> bool:
        """Tell whether one of the words is in `text`."""
        return bool(self._words) and self.match_folded(_folded(text))

    def match_folded(self, folded: str) -> bool:
        """Tell whether one of the words is in a text that was folded before."""
        words, lengths = self._words, self._lengths
        for at in range(len(folded)):
            if folded[at] in words:
                return True
            for length in lengths.get(folded[at : at + 2], ()):
                if folded[at : at + length] in words:
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
        text = self._before + _folded(piece)
        self._before = text[-self._kept :] if self._kept else ""
        return self._words.match_folded(text)
