"""The composition root: from a configuration to a service. Tests call it too, with fakes.

What needs the outside world (the store, the HTTP client, clocks, threads) is an argument.
"""

from __future__ import annotations

from wxgptd import config as cfg
from wxgptd.admin.resource import Admin
from wxgptd.domain import commands as c
from wxgptd.domain.record import Loaded
from wxgptd.domain.values import (
    LOG_ITSELF,
    AccountName,
)
from wxgptd.llm.breaker import Breakers
from wxgptd.pages import links
from wxgptd.pages.resource import resources
from wxgptd.pages.serving import Pages
from wxgptd.service import configured
from wxgptd.service.answering import Answering
from wxgptd.service.asking import Asking, Surroundings
from wxgptd.service.control import Control
from wxgptd.service.conversations import Conversations
from wxgptd.service.departed import Departed
from wxgptd.service.fitting import Fitting
from wxgptd.service.inflight import InFlight
from wxgptd.service.journal import Journal
from wxgptd.service.keeping import Keeping, Retention
from wxgptd.service.library import Library
from wxgptd.service.moderation import Moderation
from wxgptd.service.observers import EventLines
from wxgptd.service.projections import (
    Calibrated,
    DeliberateTimeouts,
    LinkIndex,
    OpenSessions,
    Spending,
)
from wxgptd.service.pushing import Pushing
from wxgptd.service.site import Root
from wxgptd.service.sweeper import Sweeper
from wxgptd.service.timeline import Timeline
from wxgptd.service.world import World
from wxgptd.wechat.pictures import WeChatPictures


class Service:
    """A daemon without its sockets: `load` the log, `begin`, serve `root` and `admin`, `end`."""

    def __init__(self, config: cfg.Config, world: World) -> None:
        timeline = Timeline(world.clock, world.wall)
        self._ready = False
        self._world = world
        self._index = LinkIndex(config.links.ttl)
        self._sessions = OpenSessions()
        self._lines = EventLines(world.link_key)
        self._budget = DeliberateTimeouts(config.window.deliberate_timeouts_per_5min)
        calibrated = Calibrated()
        breakers = Breakers(world.clock)
        settings = configured.settings(config, world, breakers)
        spending = Spending(
            {name: one.daily_budget for name, one in settings.assistants.items()},
            config.limits.daily_budget,
            {name: one.fallback for name, one in settings.assistants.items()},
            timeline.day,
        )
        self.journal = Journal(
            world.store,
            (self._index, self._sessions, self._lines, self._budget, calibrated, spending),
            world.on_damage,
        )
        self._keeping = Keeping(
            journal=self.journal,
            store=world.store,
            retention=Retention(
                config.log.snapshot_every,
                config.log.keep or 0.0,
                config.log.max_size or 0,
                config.links.ttl,
            ),
            in_thread=world.in_thread,
            on_damage=world.on_damage,
            timeline=timeline,
        )
        self._timeline = timeline
        self._loaded: Loaded | None = None
        flights, departed = InFlight(), Departed()
        made_links = configured.made_links(config, world.link_key)
        self.moderation = Moderation(config.moderation.words_file)
        messengers = configured.messengers(config, world)
        pushing = Pushing(
            settings=settings,
            journal=self.journal,
            links=made_links,
            messengers=messengers,
            timeline=timeline,
        )
        self.answering = Answering(
            settings=settings,
            journal=self.journal,
            flights=flights,
            asking=Asking(
                Surroundings(
                    settings=settings,
                    journal=self.journal,
                    pictures=WeChatPictures(
                        world.http, world.clock, config.pictures.hosts, config.pictures.max_size
                    ),
                    moderation=self.moderation,
                    fitting=Fitting(calibrated.calibration),
                    spending=spending,
                    clock=world.clock,
                    timeline=timeline,
                )
            ),
            pushing=pushing,
            keeping=self._keeping,
            departed=departed,
            timeline=timeline,
            erased=self._forget_rendered,
        )
        self.conversations = Conversations(
            settings=settings,
            journal=self.journal,
            flights=flights,
            answering=self.answering,
            moderation=self.moderation,
            pushing=pushing,
            budget=self._budget,
            spending=spending,
            departed=departed,
            links=made_links,
            fresh_session=configured.session_ids(),
            store_full=world.store.full,
            clock=world.clock,
            timeline=timeline,
        )
        self._sweeper = Sweeper(
            journal=self.journal,
            sessions=self._sessions,
            links=self._index,
            carry_out=self.answering.carry_out,
            pushing=pushing,
            keeping=self._keeping,
            clock=world.clock,
            timeline=timeline,
        )
        library = Library(
            journal=self.journal,
            flights=flights,
            index=self._index,
            link_hash=links.hash_token,
            texts=config.texts,
            timeline=timeline,
            erase=self.answering.erase,
        )
        self._pages = Pages(
            library,
            config.texts,
            clock=world.clock,
            in_thread=world.in_thread,
            ready=lambda: self._ready,
            confirmation=made_links.confirmation,
            root=configured.path_of(config.server.public_url),
        )
        self.root = Root(
            webhooks=configured.webhooks(config, self.conversations, world),
            others=resources(self._pages),
            ready=lambda: self._ready,
        )
        control = Control(
            journal=self.journal,
            conversations=self.conversations,
            answering=self.answering,
            flights=flights,
            messengers=messengers,
            settings=settings,
            spending=spending,
            sessions=self._sessions,
            budget=self._budget,
            accounts=[AccountName(name) for name in config.account],
            store=world.store,
            keeping=self._keeping,
            ready=lambda: self._ready,
            clock=world.clock,
            timeline=timeline,
        )
        self.admin = Admin(control, control.registry())

    def _forget_rendered(self) -> None:
        self._pages.renditions.forget_all()

    @property
    def held(self) -> int:
        """How many of WeChat's attempts are being held."""
        return self.conversations.held

    def load(self) -> Loaded:
        """Take over what the log has. Not for reactors: it takes a while."""
        now = self._timeline.now()
        self._loaded = self._world.store.load(self.journal.since(now))
        self.journal.load(self._loaded, now)
        return self._loaded

    def note_trimmed(self, segment: str, offset: int, size: int) -> None:
        """Record that a torn tail was cut off the log."""
        now = self._timeline.now()
        command = c.NoteTrimmed(at=now, segment=segment, offset=offset, size=size)
        self.journal.record(LOG_ITSELF, command)

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
        self.answering.begin()
        self.conversations.begin()
        self._sweeper.start()

    def end(self) -> None:
        """Stop working; what is unanswered stays so until the next start."""
        self._ready = False
        self._sweeper.stop()
        self.conversations.end()
        self.answering.end()

    async def settled(self) -> None:
        """Wait for what is still being written beside the log."""
        await self._keeping.settled()

    def reload(self) -> None:
        """Read again what may change while the daemon runs."""
        self.moderation.reload()
