"""The composition root: from a configuration to a service. Tests call it too, with fakes.

What needs the outside world (the store, the HTTP client, clocks, threads) is an argument.
"""

from __future__ import annotations

from functools import partial

import attrs
from twisted.web.resource import Resource

from wxgptd import config as cfg
from wxgptd.admin.resource import Admin
from wxgptd.admin.resource import Metrics as MetricsPage
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import (
    LOG_ITSELF,
)
from wxgptd.pages import links
from wxgptd.pages.resource import resources
from wxgptd.pages.serving import Pages
from wxgptd.ports.record import Loaded
from wxgptd.service import configured
from wxgptd.service.answers.answering import Answering
from wxgptd.service.answers.asking import Asking, Surroundings
from wxgptd.service.answers.fitting import Fitting
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.answers.room import PICTURE_BYTES, Room
from wxgptd.service.answers.slots import Slots
from wxgptd.service.answers.typing_indicator import TypingIndicator
from wxgptd.service.configured import Configured
from wxgptd.service.conversation.clock_offset import ClockOffset
from wxgptd.service.conversation.conversations import Conversations
from wxgptd.service.conversation.holding import Holding
from wxgptd.service.conversation.lag import LagMonitor
from wxgptd.service.conversation.library import Library
from wxgptd.service.conversation.timeouts import DeliberateTimeouts
from wxgptd.service.operations.control import Control
from wxgptd.service.operations.fullness import Fullness
from wxgptd.service.operations.health import Health
from wxgptd.service.operations.observers import EventLines
from wxgptd.service.operations.reloading import Adopted, Reloading
from wxgptd.service.operations.sweeper import Sweeper
from wxgptd.service.root import Root
from wxgptd.service.state.departed import Departed
from wxgptd.service.state.erasing import Erasing
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.keeping import Keeping
from wxgptd.service.state.metrics import Condition, Metrics
from wxgptd.service.state.projections import (
    Calibrated,
    LinkIndex,
    OpenSessions,
    Spending,
)
from wxgptd.service.state.timeline import Timeline
from wxgptd.service.state.unanswered import Unanswered
from wxgptd.service.world import World


class Service:
    """A daemon without its sockets: `load` the log, `begin`, serve `root` and `admin`, `end`."""

    def __init__(self, config: cfg.Config, world: World) -> None:
        timeline = Timeline(world.clock, world.wall)
        self._ready = False
        self._world = world
        self._config = config
        self.metrics = Metrics()
        self.fullness = Fullness(world.clock.seconds, self.metrics.full)
        self._replay = 0.0, 0
        self._configured = Configured(world, self.metrics)
        self._settings = settings = self._configured.settings(config)
        self._index = LinkIndex(config.links.ttl)
        self._sessions = OpenSessions()
        self._lines = EventLines(world.link_key)
        self._lag = LagMonitor(
            world.clock, timeline, lambda: self.fullness.recent().get("connections")
        )
        self._timeouts = DeliberateTimeouts(
            settings.deliberate_timeouts_per_5min, self._lag.responsive_since
        )
        self._clock_offset = ClockOffset()
        self._unanswered = Unanswered()
        calibrated = Calibrated()
        self._spending = spending = Spending(settings, timeline.day)
        self.journal = Journal(
            world.store,
            (
                self._index,
                self._sessions,
                self._lines,
                self._timeouts,
                self._clock_offset,
                calibrated,
                spending,
                self._unanswered,
                self.metrics,
            ),
            world.on_damage,
        )
        self._keeping = Keeping(
            journal=self.journal,
            store=world.store,
            retention=configured.retention(config),
            in_thread=world.threads.storage,
            on_damage=world.on_damage,
            timeline=timeline,
        )
        self._timeline = timeline
        self._loaded: Loaded | None = None
        flights, departed = InFlight(), Departed()
        made_links = configured.made_links(config, world.link_key)
        self.moderation = Moderation(config.moderation.words_file)
        pushing = Pushing(
            settings=settings,
            journal=self.journal,
            links=made_links,
            timeline=timeline,
        )
        self._slots = Slots(
            world.max_running, settings.max_running, partial(self.fullness.note, "answers")
        )
        self.answering = Answering(
            settings=settings,
            journal=self.journal,
            flights=flights,
            asking=Asking(
                Surroundings(
                    settings=settings,
                    journal=self.journal,
                    moderation=self.moderation,
                    fitting=Fitting(calibrated.calibration),
                    spending=spending,
                    pace=calibrated.pace,
                    may_wait=self._timeouts.may_spend,
                    link=lambda user, name: made_links.answer(made_links.token(user, name)),
                    picture_room=Room(PICTURE_BYTES, partial(self.fullness.note, "pictures")),
                    clock=world.clock,
                    timeline=timeline,
                )
            ),
            pushing=pushing,
            timeline=timeline,
            slots=self._slots,
            typing=TypingIndicator(settings, world.clock),
        )
        erasing = Erasing(self.journal, self._keeping, departed, timeline, self._forget_rendered)
        for effect in (erasing, self.answering):
            self.journal.subscribe(effect)
        self.conversations = Conversations(
            settings=settings,
            journal=self.journal,
            answering=self.answering,
            holding=Holding(
                settings=settings,
                journal=self.journal,
                flights=flights,
                pushing=pushing,
                timeouts=self._timeouts,
                links=made_links,
                metrics=self.metrics,
                clock=world.clock,
                timeline=timeline,
            ),
            moderation=self.moderation,
            timeouts=self._timeouts,
            clock_offset=self._clock_offset,
            spending=spending,
            departed=departed,
            links=made_links,
            metrics=self.metrics,
            fresh_session=configured.session_ids(),
            store_full=world.store.full,
            passing_keys=world.passing_keys,
            unanswered=self._unanswered,
            clock=world.clock,
            timeline=timeline,
        )
        self._sweeper = Sweeper(
            journal=self.journal,
            sessions=self._sessions,
            links=self._index,
            pushing=pushing,
            keeping=self._keeping,
            unanswered=self._unanswered,
            passing_keys=world.passing_keys,
            clock=world.clock,
            timeline=timeline,
        )
        library = Library(
            journal=self.journal,
            flights=flights,
            index=self._index,
            link_hash=links.hash_token,
            settings=settings,
            timeline=timeline,
            erase=erasing.erase,
        )
        self._pages = Pages(
            library,
            lambda: settings.page_texts,
            clock=world.clock,
            in_thread=world.threads.pages,
            ready=lambda: self._ready,
            confirmation=made_links.confirmation,
            full=self.fullness.note,
            root=configured.path_of(config.server.public_url),
            producer=configured.host_of(config.server.public_url),
        )
        self.health = Health(world.store, world.threads.health, world.clock)
        self.root = Root(
            webhooks=self._configured.webhooks(config, self.conversations),
            others=resources(self._pages),
            ready=lambda: self._ready,
            # What is wrong is the operator's to know.
            why_ill=lambda: "unhealthy" if self.health.why_ill else "",
            verification=config.server.verify_files,
            instance=links.instance_name(world.link_key),
        )
        self.reloading = Reloading(
            world.reread,
            lambda: cfg.is_handed_on(world.config_path),
            self.adopt,
            self.compare,
        )
        control = Control(
            journal=self.journal,
            conversations=self.conversations,
            answering=self.answering,
            erasing=erasing,
            flights=flights,
            settings=settings,
            spending=spending,
            sessions=self._sessions,
            timeouts=self._timeouts,
            clock_offset=self._clock_offset,
            store=world.store,
            keeping=self._keeping,
            ready=lambda: self._ready,
            reloading=self.reloading,
            health=self.health,
            readers=lambda: len(self._pages.audiences),
            fullness=self.fullness,
            unanswered=self._unanswered,
            clock=world.clock,
            timeline=timeline,
        )
        self._flights = flights
        self.metrics.registry.register(self._condition())
        self.admin = Admin(control, self.metrics.registry)

    def _condition(self) -> Condition:
        """Return what readers of metrics see of the moment."""
        store, flights = self._world.store, self._flights
        return Condition(
            settings=self._settings,
            store=store.figures,
            full=store.full,
            ready=lambda: self._ready,
            healthy=lambda: not self.health.why_ill,
            open_sessions=lambda: len(self._sessions),
            held=lambda: self.conversations.held,
            running=flights.running,
            waiting=lambda: len(flights) - flights.running(),
            readers=lambda: len(self._pages.audiences),
            timeouts_left=lambda account: self._timeouts.left(account, self._timeline.now()),
            timeout_budget=self._timeouts.size,
            suspensions=self._timeouts.suspensions,
            clock_offset=lambda: self._clock_offset.seconds(self._timeline.now()),
            spent=self._spending.spent,
            exhausted=self._spending.exhausted,
            replay=lambda: self._replay,
            snapshot_seq=lambda: self._keeping.snapshot_seq,
        )

    def figures(self) -> Resource:
        """Return what can be shown to whoever reads metrics, and nobody else can do harm with."""
        root = Resource()
        root.putChild(b"metrics", MetricsPage(self.metrics.registry))
        return root

    def summary(self) -> str:
        """Return what the daemon does, in a line."""
        return (
            f"{len(self._sessions)} sessions, {self._flights.running()} answers being written, "
            f"{self.held} requests held"
        )

    def _forget_rendered(self) -> None:
        self._pages.renditions.forget_all()

    @property
    def ready(self) -> bool:
        """Whether the log is read, and work taken up."""
        return self._ready

    @property
    def held(self) -> int:
        """How many of WeChat's attempts are being held."""
        return self.conversations.held

    def load(self) -> Loaded:
        """Take over what the log has. Not for reactors: it takes a while."""
        began, now = self._world.clock.seconds(), self._timeline.now()
        loaded = self._world.store.load(self.journal.since(now))
        self.journal.load(loaded, now)
        took_s = self._world.clock.seconds() - began
        self._replay = took_s, loaded.last_seq - loaded.snapshot_seq
        self._loaded = loaded
        return loaded

    def note_trimmed(self, segment: str, offset: int, size: int) -> None:
        """Record that a torn tail was cut off the log."""
        now = self._timeline.now()
        trimmed = e.TailTrimmed(at=now, segment=segment, offset=offset, size=size)
        self.journal.record(LOG_ITSELF, c.Note(trimmed))

    def begin(self) -> None:
        """Take up work: from here on the service is ready."""
        assert self._loaded is not None
        self._lines.begin()
        self._keeping.begin(
            self._loaded.snapshot_seq,
            exists=self._loaded.snapshot_seq > 0 or bool(self._loaded.skipped),
            stale=self._loaded.stale,
        )
        self._loaded = None
        self._ready = True
        self.health.begin()
        self._lag.begin()
        self.answering.begin()
        self.conversations.begin()
        self._sweeper.start()

    def end(self) -> None:
        """Stop working; what is unanswered stays so until the next start."""
        self._ready = False
        self.health.end()
        self._lag.end()
        self._sweeper.stop()
        self.conversations.end()
        self.answering.end()

    async def settled(self) -> None:
        """Wait for what is still being written beside the log."""
        await self._keeping.settled()

    def compare(self, fresh: cfg.Config) -> Adopted:
        """Return what adopting another configuration would change.

        Raises:
            ConfigError: it could not be adopted, as long as what takes a restart waits for one.
        """
        if faults := list(cfg.mistakes(self._with_own(fresh))):
            restart = "as long as [server] and [log] wait for a restart"
            told = [f"{one} ({restart})" for one in faults]
            raise cfg.ConfigError(self._world.config_path, told)
        return Adopted.of(tuple(cfg.changes(self._config, fresh)))

    def _with_own(self, fresh: cfg.Config) -> cfg.Config:
        """Return `fresh`, but for what takes a restart."""
        return attrs.evolve(fresh, server=self._config.server, log=self._config.log)

    def adopt(self, fresh: cfg.Config) -> Adopted:
        """Go by another configuration from now on, but for what takes a restart.

        Raises:
            ConfigError: see `compare`; nothing has changed.
        """
        adopted, now = self.compare(fresh), self._with_own(fresh)
        self._settings.adopt(self._configured.settings(now))
        self.root.webhooks = self._configured.webhooks(now, self.conversations)
        self._timeouts.fixed = self._settings.deliberate_timeouts_per_5min
        self._index.ttl_s = self._settings.link_ttl_s
        self._keeping.retention = configured.retention(now)
        self._spending.reconsider()
        self._slots.fill()
        self.moderation.adopt(now.moderation.words_file)
        self._forget_rendered()
        self._config = now
        return adopted
