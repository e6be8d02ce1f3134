"""A word list, and whether a text contains any of its words.

Case is ignored, and so are emphasis marks and invisible characters between letters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from unicodedata import normalize

_UNSEEN = dict.fromkeys(map(ord, "*_~`\u200b\u200c\u200d\u2060\ufeff\u00ad"))


MAX_WORD_CHARS = 100
"""Only this many characters of longer words are matched."""


def _folded(text: str) -> str:
    return normalize("NFKC", text.translate(_UNSEEN)).casefold()


class WordList:
    """Searches a text for many words in one pass, however similar they are."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = {_folded(word.strip())[:MAX_WORD_CHARS] for word in words} - {""}
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for word in self._words:
            lengths[word[:2]].add(len(word))
        self._lengths = {head: tuple(sorted(sizes)) for head, sizes in lengths.items()}
        self._longest = max(map(len, self._words), default=0)

    def __len__(self) -> int:
        return len(self._words)

    def match(self, text: str) -> bool:
        """Return whether `text` contains one of the words."""
        return bool(self._words) and self.match_folded(_folded(text))

    def match_folded(self, folded: str) -> bool:
        """Return whether text that is already folded contains one of the words."""
        words, lengths = self._words, self._lengths
        for at in range(len(folded)):
            if folded[at] in words:
                return True
            for length in lengths.get(folded[at : at + 2], ()):
                if folded[at : at + length] in words:
                    return True
        return False

    def watch(self) -> Watch:
        """Return a `Watch` for the words in text that arrives in pieces."""
        return Watch(self, max(self._longest - 1, 0))


class Watch:
    """Searches each piece of a text together with the end of the previous ones."""

    def __init__(self, words: WordList, overlap: int) -> None:
        self._words = words
        self._overlap = overlap
        self._before = ""

    def objects(self, piece: str) -> bool:
        """Append `piece`, and return whether the text now contains one of the words."""
        text = self._before + _folded(piece)
        self._before = text[-self._overlap :] if self._overlap else ""
        return self._words.match_folded(text)
