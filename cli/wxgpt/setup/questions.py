"""Ask for what `wxgpt init` needs: an option, what was kept of an earlier run, or the terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import click

from wxgpt.failures import UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup.answers import Answers
from wxgptd.wording import say

Check = Callable[[str], str]


class Questions:
    """The options that were `given`, and the `answers` so far.

    Every method raises UsageFailure for an invalid option, and for a missing one if there is no
    terminal to ask at.
    """

    def __init__(self, given: Mapping[str, object], answers: Answers) -> None:
        self.given = given
        self._answers = answers
        self._asked_again: set[str] = set()
        self._unsaid = answers.keys()
        """The answers of an earlier run that the operator has not been told of."""

    def value(
        self,
        key: str,
        prompt: str,
        check: Check,
        default: str,
        *,
        ask: bool = False,
        voids: Sequence[str] = (),
    ) -> str:
        """Return the given value, the default, or the operator's answer; see `answer`."""
        is_open = self.given[key] or (ask and on_terminal()) or self.is_asked_again(key)
        if default and not is_open and not self.is_kept(key):
            return self.keep(key, default, voids=voids)
        return self.answer(key, prompt, check, default, voids=voids)

    def answer(
        self, key: str, prompt: str, check: Check, default: str = "", *, voids: Sequence[str] = ()
    ) -> str:
        """Return the given value, or prompt for it until the answer is valid.

        If it differs from the one in an earlier run, the answers that it `voids` are forgotten.
        """
        if (given := self.given.get(key)) and not self.is_asked_again(key):
            return self.keep(key, check(str(given).strip()), voids=voids)
        if (kept := self.kept(key, prompt, check)) is not None:
            return kept
        if not on_terminal():
            option = f"--{key.replace('_', '-')}"
            raise UsageFailure(
                say("{option} is missing, and there is no terminal to prompt on", option=option)
            )
        return self.keep(key, self.ask(prompt, check, default), voids=voids)

    def ask(self, prompt: str, check: Check, default: str = "") -> str:
        """Prompt until the answer is valid."""
        return prompted(prompt, check, default or None)

    def confirm(self, key: str, prompt: str) -> bool:
        """Return the operator's yes or no, which is kept unless there is no `key`."""
        if key and (kept := self.kept_text(key)):
            return kept == "y"
        answer = "y" if confirmed(prompt) else "n"
        if key:
            self.keep(key, answer)
        return answer == "y"

    def kept(self, key: str, prompt: str, check: Check) -> str | None:
        """Return a kept answer, and say so; None if there is none, or if it is not valid."""
        kept = self._answers.get(key)
        if kept is None:
            return None
        try:
            answer = check(kept)
        except UsageFailure:
            return None
        if on_terminal() and key in self._unsaid:
            self._unsaid.discard(key)
            shown_answer = "***" if key == "api_key" else answer
            name = shown(prompt).split("\n")[0]
            line = spoken("  {name}: {answer} (kept)", name=name, answer=shown_answer)
            click.echo(line, err=True)
        return answer

    def kept_text(self, key: str) -> str:
        """Return a kept answer as it was kept, or an empty text."""
        return self._answers.get(key) or ""

    def keep(self, key: str, answer: str, *, voids: Sequence[str] = ()) -> str:
        """Keep an answer, unless a script gave it, and return it; see `answer`."""
        if self._answers.get(key) not in (None, answer):
            for name in voids:
                self._answers.forget(name)
        if on_terminal():
            self._answers.keep(key, answer)
        return answer

    def is_kept(self, key: str, answer: str | None = None) -> bool:
        """Return whether there is an answer to a question, or that `answer`."""
        kept = self._answers.get(key)
        return kept is not None if answer is None else kept == answer

    def ask_again(self, *keys: str) -> None:
        """Forget answers that were wrong, and ask for them even if they were given as options."""
        for key in keys:
            self._answers.forget(key)
            self._unsaid.discard(key)
            self._asked_again.add(key)

    def replace(self, key: str, answer: str) -> None:
        """Keep an answer that was typed in place of a wrong one."""
        self._asked_again.add(key)
        self._unsaid.discard(key)
        self.keep(key, answer)

    def is_asked_again(self, key: str) -> bool:
        """Return whether an earlier answer was wrong."""
        return key in self._asked_again


def prompted(
    prompt: str,
    check: Check,
    default: str | None,
    *,
    hidden: bool = False,
    show_default: bool = True,
) -> str:
    """Prompt at the terminal until `check` accepts the answer, and return its result."""
    answer: str = click.prompt(
        shown(prompt),
        default=default,
        value_proc=_for_click(check),
        hide_input=hidden,
        show_default=show_default,
        err=True,
    )
    return answer


def _for_click(check: Check) -> Check:
    """Adapt `check` to click, which prompts again when it rejects an answer."""

    def take(answer: str) -> str:
        try:
            return check(_valid(answer.strip()))
        except UsageFailure as failure:
            hint = failure.hint and f" ({shown(failure.hint)})"
            raise click.UsageError(f"{shown(failure)}{hint}") from None

    return take


def _valid(answer: str) -> str:
    """Return an answer that is UTF-8 without control characters."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in answer):
        raise UsageFailure(say("that has characters in it that are not text; type it again"))
    return answer


def confirmed(prompt: str) -> bool:
    """Ask a yes-or-no question, in either language; an empty answer means yes."""

    def check(answer: str) -> str:
        word = answer.lower().rstrip("。.!！")
        if word in ("y", "yes", "是", "是的", "对", "好", "嗯"):
            return "y"
        if word in ("n", "no", "否", "不", "不是", "不要"):
            return ""
        raise UsageFailure(say("answer y or n"))

    answer: str = click.prompt(
        f"{shown(prompt)} [Y/n]",
        default="y",
        value_proc=_for_click(check),
        show_default=False,
        err=True,
    )
    return bool(answer)


def on_terminal() -> bool:
    """Return whether there is a terminal to prompt at."""
    return sys.stdin.isatty() and sys.stderr.isatty()
