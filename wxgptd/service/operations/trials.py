"""Test the configured models and push messages. Implements `ports.control.Trials`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twisted.internet.defer import Deferred, gatherResults, succeed

from wxgptd.domain.model.values import AccountName, AssistantName
from wxgptd.domain.prompt.context import Message
from wxgptd.ports.control import ModelTrial
from wxgptd.ports.models import Completion, ModelFailure, Prompt, ignore
from wxgptd.service.state.settings import Settings


class Trials:
    """Sends minimal requests to models and to WeChat's API."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def push(self, account: str) -> Deferred[str] | None:
        """Check whether an account can use WeChat's API."""
        settings = self._settings.accounts.get(AccountName(account))
        return settings.messenger.probe() if settings is not None and settings.messenger else None

    def assistant(self, name: str) -> Deferred[Sequence[ModelTrial] | None]:
        """Request a single token from each model of an assistant."""
        assistant = self._settings.assistants.get(AssistantName(name))
        if assistant is None:
            return succeed(None)

        def probe(model: str) -> Deferred[ModelTrial]:
            prompt = Prompt(messages=(Message("user", "1"),), model=model, probe=True)
            answer = assistant.model.ask(prompt, ignore)
            return answer.addCallback(lambda result: _trial(model, result))

        trials = gatherResults([probe(model) for model in assistant.models])
        return cast("Deferred[Sequence[ModelTrial] | None]", trials)


def _trial(model: str, result: Completion | ModelFailure) -> ModelTrial:
    match result:
        case Completion(took_s=took_s):
            return ModelTrial(ok=True, model=model, took_s=took_s)
        case ModelFailure(reason=reason, detail=detail):
            return ModelTrial(ok=False, model=model, reason=reason, detail=detail)
