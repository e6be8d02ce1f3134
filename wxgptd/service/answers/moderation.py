"""The operator's moderation list: words that neither questions nor answers may contain.

The file has one word per line; empty lines and lines that start with `#` are ignored. It is read
again at each reload; if it cannot be read then, the previous list stays in use.
"""

from __future__ import annotations

from pathlib import Path

from twisted.logger import Logger

from wxgptd.config.encodings import decoded
from wxgptd.domain.model.values import Content, Text
from wxgptd.domain.text.words import Watch, WordList

log = Logger()


class Moderation:
    """The words in one file, or none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._words = WordList()
        self.reload()

    def adopt(self, path: Path | None) -> None:
        """Use the list at `path` from now on; None means no words."""
        if path is None:
            self._words = WordList()
        self._path = path
        self.reload()

    def reload(self) -> None:
        """Read the file again."""
        if self._path is None:
            return
        try:
            lines = decoded(self._path.read_bytes()).splitlines()
        except (OSError, ValueError) as error:
            log.error(
                "cannot read moderation list {path}: {why}; keeping the previous list, word count: "
                "{kept}",
                id="words-unreadable",
                path=str(self._path),
                kept=len(self._words),
                why=getattr(error, "strerror", None) or str(error),
            )
            return
        self._words = WordList(line for line in lines if not line.startswith("#"))
        emit = log.info if len(self._words) else log.warn
        emit("moderation list loaded, word count: {count}", count=len(self._words))

    def objects(self, content: Content) -> bool:
        """Return whether a message contains one of the words."""
        return isinstance(content, Text) and self._words.match(content.text)

    def watch(self) -> Watch:
        """Return a watch that checks an answer as it is written."""
        return self._words.watch()
