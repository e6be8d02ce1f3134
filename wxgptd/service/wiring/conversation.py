"""Build the conversation package: WeChat's attempts, and the pages behind links."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from wxgptd import config as cfg
from wxgptd.pages.render_queue import RenderQueue
from wxgptd.pages.serving import Look, Pages, Place
from wxgptd.service import runtime_factory
from wxgptd.service.conversation.admission import Admission
from wxgptd.service.conversation.attempts import Attempts
from wxgptd.service.conversation.conversations import Conversations
from wxgptd.service.conversation.holding import Holding
from wxgptd.service.conversation.intake import Intake
from wxgptd.service.conversation.page_access import PageAccess
from wxgptd.service.conversation.page_views import PageViews, Tokens
from wxgptd.service.conversation.page_writing import Asking, PageWriting
from wxgptd.service.conversation.receiving import NewIds, Receiving, SharedFacts
from wxgptd.service.conversation.replying import Replying
from wxgptd.service.conversation.waiting import Waiting
from wxgptd.service.lifecycle import Lifecycle
from wxgptd.service.state.overload import Overload
from wxgptd.service.wiring.answers import Answers
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.state import State


@dataclass(frozen=True, slots=True)
class Conversation:
    """The parts that serve WeChat and page readers."""

    conversations: Conversations
    pages: Pages
    page_writing: PageWriting
    tokens: Tokens


def build(
    config: cfg.Config, base: Base, state: State, answers: Answers, lifecycle: Lifecycle
) -> Conversation:
    """Build the package."""
    url, threads = config.server.public_url, base.environment.threads
    tokens = Tokens(state.journal, state.earlier_links, base.links, base.settings, base.event_clock)
    pages = Pages(
        PageViews(
            journal=state.journal,
            flights=answers.flights,
            tokens=tokens,
            settings=base.settings,
            event_clock=base.event_clock,
            erase=state.erasing.erase,
        ),
        lambda: Look(base.settings.page_texts, base.settings.site),
        RenderQueue(threads.pages, base.environment.clock, threads.cpu_s),
        ready=lambda: lifecycle.loaded,
        full=base.fullness.note,
        place=Place(
            runtime_factory.path_of(url),
            runtime_factory.host_of(url),
            runtime_factory.origin_of(url),
        ),
    )
    asking = _asking(base, state, answers)
    access = PageAccess(
        state.journal, tokens, base.settings, base.links, asking.intake, base.event_clock
    )
    writing = PageWriting(access, tokens, asking)
    return Conversation(_conversations(base, state, answers, asking), pages, writing, tokens)


def _asking(base: Base, state: State, answers: Answers) -> Asking:
    environment = base.environment
    intake = Intake(
        base.settings,
        state.journal,
        state.recently_erased,
        state.unanswered,
        base.metrics,
        Admission(
            environment.store.full,
            Overload(environment.clock).check,
            partial(base.fullness.note, "load"),
        ),
    )
    receiving = Receiving(
        SharedFacts(answers.moderation, state.spending, state.recently_erased),
        NewIds(runtime_factory.session_ids(), base.links),
        environment.short_lived_keys,
        state.clock_offset,
        base.event_clock,
    )
    return Asking(intake, receiving, answers.answer_runner)


def _conversations(base: Base, state: State, answers: Answers, asking: Asking) -> Conversations:
    settings, journal, event_clock = base.settings, state.journal, base.event_clock
    waiting = Waiting(journal, answers.flights, answers.pushing, event_clock)
    replying = Replying(settings, journal, answers.flights, answers.pushing, base.links)
    holding = Holding(journal, waiting, replying, state.timeouts, base.metrics, event_clock)
    attempts = Attempts(
        journal, settings, asking.answer_runner, asking.intake, asking.receiving, holding
    )
    return Conversations(attempts, base.metrics, event_clock)
