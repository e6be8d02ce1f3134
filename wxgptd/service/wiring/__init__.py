"""The composition root: from a configuration to a service. Tests call it too, with fakes.

The environment (the store, the HTTP client, clocks, threads) is an argument. Each room of the
service is built in a module of its own name, upon those below it.
"""

from __future__ import annotations

import attrs
from twisted.web.resource import Resource

from wxgptd import config as cfg
from wxgptd.admin.gauges import Gauges
from wxgptd.admin.resource import Admin
from wxgptd.admin.resource import Metrics as MetricsPage
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import LOG_ITSELF
from wxgptd.pages import links
from wxgptd.pages.resource import resources
from wxgptd.ports.record import Loaded
from wxgptd.ports.status import DaemonStatus
from wxgptd.service import runtime_factory
from wxgptd.service.environment import Environment
from wxgptd.service.lifecycle import Lifecycle
from wxgptd.service.operations.reloading import Adopted
from wxgptd.service.root import Root
from wxgptd.service.state.erasing import OnErasure
from wxgptd.service.wiring import (
    answers,
    base,
    control,
    conversation,
    operations,
    state,
    status,
)
from wxgptd.service.wiring.rooms import Rooms


class Service:
    """A daemon without its sockets: `load` the log, `begin`, serve `root` and `admin`, `end`."""

    def __init__(self, config: cfg.Config, environment: Environment) -> None:
        self._config = config
        self._environment = environment
        self._loaded: Loaded | None = None
        self._lifecycle = Lifecycle(created=environment.clock.seconds())
        self.base = base.build(config, environment)
        self.state = state.build(config, self.base)
        self.answers = answers.build(config, self.base, self.state)
        self.conversation = conversation.build(
            config, self.base, self.state, self.answers, self._lifecycle
        )
        self.operations = operations.build(self.base, self.state, self.answers, self)
        # In this order: who is erased is forgotten before their answers are called off.
        for effect in (
            self.state.erasing,
            OnErasure(self.conversation.pages.renditions.forget_all),
            self.answers.answer_runner,
        ):
            self.state.journal.subscribe(effect)
        self.root = Root(
            webhooks=self.base.runtime_factory.webhooks(config, self.conversation.conversations),
            others=resources(self.conversation.pages),
            ready=lambda: self.ready,
            # What is wrong is the operator's to know.
            why_ill=lambda: "unhealthy" if self.why_unhealthy else "",
            verification=config.server.verify_files,
            instance=links.instance_name(environment.link_key),
        )
        self._rooms = Rooms(
            self.base, self.state, self.answers, self.conversation, self.operations,
            self._lifecycle,
        )  # fmt: skip
        registry = self.base.metrics.registry
        registry.register(Gauges(self.status))
        self.admin = Admin(control.build(self._rooms, self.status), registry)

    def figures(self) -> Resource:
        """Return the resource for readers of metrics. It holds nothing that could do harm."""
        root = Resource()
        root.putChild(b"metrics", MetricsPage(self.base.metrics.registry))
        return root

    def status(self) -> DaemonStatus:
        """Return the daemon's status as it is now."""
        return status.read(self._rooms)

    @property
    def why_unhealthy(self) -> str:
        """What is wrong with the daemon; empty if nothing is."""
        return self.operations.health.why_ill

    def note_full(self, what: str) -> None:
        """Note that a bound was reached; `what` is one of `fullness.WHAT`."""
        self.base.fullness.note(what)

    def summary(self) -> str:
        """Return what the daemon does, in a line."""
        return (
            f"{len(self.state.sessions)} sessions, {self.answers.flights.running()} answers being "
            f"written, {self.held} requests held"
        )

    @property
    def ready(self) -> bool:
        """Whether the log is read, and work taken up."""
        return self._lifecycle.ready

    @property
    def held(self) -> int:
        """How many of WeChat's attempts are being held."""
        return self.conversation.conversations.held

    def load(self) -> Loaded:
        """Take over what the log has. Not for reactors: it takes a while."""
        began, now = self._environment.clock.seconds(), self.base.event_clock.now()
        loaded = self._environment.store.load(self.state.journal.since(now))
        self.state.journal.load(loaded, now)
        self._lifecycle.replay_s = self._environment.clock.seconds() - began
        self._lifecycle.replay_events = loaded.last_seq - loaded.snapshot_seq
        self._loaded = loaded
        return loaded

    def note_trimmed(self, segment: str, offset: int, size: int) -> None:
        """Record that a torn tail was cut off the log."""
        now = self.base.event_clock.now()
        trimmed = e.TailTrimmed(at=now, segment=segment, offset=offset, size=size)
        self.state.journal.record(LOG_ITSELF, c.Note(trimmed))

    def begin(self) -> None:
        """Take up work: from here on the service is ready."""
        assert self._loaded is not None
        self.state.lines.begin()
        self.state.snapshotter.begin(
            self._loaded.snapshot_seq,
            exists=self._loaded.snapshot_seq > 0 or bool(self._loaded.skipped),
            stale=self._loaded.stale,
        )
        self._loaded = None
        self._lifecycle.ready = True
        self.operations.health.begin()
        self.state.lag.begin()
        self.answers.recovery.begin()  # first: what it settles is what the stop left, and no more
        self.answers.pushing.begin()
        self.conversation.conversations.begin()
        self.operations.sweeper.start()

    def end(self) -> None:
        """Stop working; what is unanswered stays so until the next start."""
        self._lifecycle.ready = False
        self.operations.health.end()
        self.state.lag.end()
        self.operations.sweeper.stop()
        self.conversation.conversations.end()
        self.answers.answer_runner.end()
        self.answers.pushing.end()

    async def settled(self) -> None:
        """Wait for what is still being written beside the log."""
        await self.state.snapshotter.settled()

    # Another configuration.

    def compare(self, fresh: cfg.Config) -> Adopted:
        """Return what adopting another configuration would change.

        Raises:
            ConfigError: it could not be adopted, as long as what takes a restart waits for one.
        """
        if faults := list(cfg.mistakes(self._with_own(fresh))):
            restart = "as long as [server] and [log] wait for a restart"
            told = [f"{one} ({restart})" for one in faults]
            raise cfg.ConfigError(self._environment.config_path, told)
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
        known, settings = self.base.runtime_factory, self.base.settings
        settings.adopt(known.settings(now))
        self.root.webhooks = known.webhooks(now, self.conversation.conversations)
        self.state.timeouts.fixed = settings.deliberate_timeouts_per_5min
        self.state.index.ttl_s = settings.link_ttl_s
        self.state.snapshotter.retention = runtime_factory.retention(now)
        self.state.spending.reconsider()
        self.answers.slots.fill()
        self.answers.moderation.adopt(now.moderation.words_file)
        self.conversation.pages.renditions.forget_all()
        self._config = now
        return adopted
