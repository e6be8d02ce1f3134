"""The composition root: build a service from a configuration. Tests call it too, with fakes.

The environment (the store, the HTTP client, clocks, threads) is an argument. Each package of the
service is built by the module of the same name here, on top of the packages below it.
"""

from __future__ import annotations

import ipaddress
from functools import partial

import attrs
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from wxgptd import config as cfg
from wxgptd.admin.gauges import Gauges
from wxgptd.admin.resource import Admin
from wxgptd.admin.resource import Metrics as MetricsPage
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import LOG_ITSELF
from wxgptd.errors import WxgptError
from wxgptd.pages import links
from wxgptd.pages.resource import resources
from wxgptd.pages.site import not_found
from wxgptd.ports.record import Loaded
from wxgptd.ports.status import DaemonStatus
from wxgptd.service import runtime_factory
from wxgptd.service.cluster.host import Standby
from wxgptd.service.cluster.passing_on import PassingOn
from wxgptd.service.environment import Environment
from wxgptd.service.lifecycle import Lifecycle
from wxgptd.service.operations.reloading import Adopted
from wxgptd.service.root import Root, probes
from wxgptd.service.state.erasing import OnErasure, forget_erased
from wxgptd.service.wiring import (
    answers,
    base,
    cluster,
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
        # The order matters: erased users are forgotten before their answers are cancelled.
        for effect in (
            self.state.erasing,
            OnErasure(self.conversation.pages.forget_all),
            OnErasure(self.conversation.tokens.forget),
            self.answers.answer_runner,
            self.answers.titling,
        ):
            self.state.journal.subscribe(effect)
        self._mirror()
        self.standing = cluster.build(
            self.base, self.state, self.answers, self, lambda: self._config
        )
        if self.standing is not None:
            self.conversation.conversations.is_in_cluster = True
            self.conversation.pages.elsewhere = PassingOn(
                self.standing, environment.http, environment.clock
            )
        instance = links.instance_name(environment.link_key)
        self.root = Root(
            webhooks=self.base.runtime_factory.webhooks(config, self.conversation.conversations),
            others={
                **resources(self.conversation.pages, self.conversation.page_writing),
                **probes(self._why_not_ready, self._public_reason, instance),
            },
            not_found=partial(not_found, self.conversation.pages),
            verification=config.server.verify_files,
            instance=instance,
        )
        self._rooms = Rooms(
            self.base, self.state, self.answers, self.conversation, self.operations,
            self._lifecycle,
        )  # fmt: skip
        registry = self.base.metrics.registry
        registry.register(Gauges(self.status))
        self.admin = Admin(control.build(self._rooms, self.status, self.standing), registry)

    def _mirror(self) -> None:
        """Keep what is not in the log up to date while another node records."""
        observe = self.state.journal.observe
        observe(self.state.erasing.observe)
        observe(forget_erased(self.conversation.pages.forget_all))
        observe(forget_erased(self.conversation.tokens.forget))
        observe(self.answers.mirroring)

    def figures(self) -> Resource:
        """Return a read-only resource that serves the metrics."""
        root = Resource()
        root.putChild(b"metrics", MetricsPage(self.base.metrics.registry))
        return root

    def status(self) -> DaemonStatus:
        """Return the daemon's status as it is now."""
        return status.read(self._rooms, self.standing)

    @property
    def why_unhealthy(self) -> str:
        """Why the daemon is unhealthy; empty if it is healthy."""
        return self.operations.health.unhealthy_reason

    def _why_not_ready(self) -> str:
        """Return why this node does not act on messages, or an empty string."""
        if self.ready:
            return self._public_reason()
        return "standby" if self.standing is not None and self._lifecycle.loaded else "starting"

    def _public_reason(self) -> str:
        """Return what anyone may know: the reason is for the operator only."""
        return "unhealthy" if self.why_unhealthy else ""

    def is_node(self, host: str) -> bool:
        """Return whether `host` may be another node of the cluster, or its web server.

        In a cluster they connect from addresses of a private network.
        """
        return self.standing is not None and ipaddress.ip_address(host).is_private

    def note_full(self, what: str) -> None:
        """Note that a limit was reached; `what` is one of `fullness.WHAT`."""
        self.base.fullness.note(what)

    def summary(self) -> str:
        """Return a one-line summary of what the daemon is doing."""
        if self.standing is not None and not self.standing.leads:
            leader = self.standing.leader
            of = leader.node if leader is not None else "no node"
            return f"standby of {of}, {self.standing.lag} events to catch up on"
        return (
            f"open sessions: {len(self.state.sessions)}, running answers: "
            f"{self.answers.flights.running()}, held requests: {self.held}"
        )

    @property
    def ready(self) -> bool:
        """Whether the log is loaded and the service is running."""
        return self._lifecycle.ready

    @property
    def can_reload(self) -> bool:
        """Whether the log is loaded, so that another configuration can be adopted."""
        return self._lifecycle.loaded

    @property
    def held(self) -> int:
        """The number of WeChat's attempts that are being held."""
        return self.conversation.conversations.held

    def load(self) -> Loaded:
        """Load the log. This takes a while: do not call it in the reactor's thread."""
        began, now = self._environment.clock.seconds(), self.base.event_clock.now()
        loaded = self._environment.store.load(self.state.journal.since(now))
        self.state.journal.load(loaded, now)
        self._lifecycle.replay_s = self._environment.clock.seconds() - began
        self._lifecycle.replay_events = loaded.last_seq - loaded.snapshot_seq
        self._loaded = loaded
        return loaded

    def note_trimmed(self, segment: str, offset: int, size: int) -> None:
        """Record that a torn tail was trimmed from the log, unless it is a cluster's."""
        if self.standing is not None:
            return
        now = self.base.event_clock.now()
        trimmed = e.TailTrimmed(at=now, segment=segment, offset=offset, size=size)
        self.state.journal.record(LOG_ITSELF, c.RecordFact(trimmed))

    def begin(self) -> None:
        """Start working: from now on the service is ready."""
        self._stand_by()
        self.lead()

    async def start(self) -> None:
        """Start working or, in a cluster, follow the node that leads.

        Raises:
            WxgptError: this node cannot take part in the cluster.
        """
        if self.standing is None:
            self.begin()
            return
        self.state.journal.refuses = Standby
        await self.standing.start()
        self._stand_by()
        self.answers.mirroring.begin()

    def _stand_by(self) -> None:
        """Start what a service does whether or not it acts on messages."""
        assert self._loaded is not None
        self.state.snapshotter.begin(self._loaded.snapshot_seq)
        self._loaded = None
        self._lifecycle.loaded = True
        self.operations.health.begin()
        self.state.lag.begin()
        self.operations.upkeep.start()

    # The host of a `Standing`.

    def lead(self) -> None:
        """Start acting on messages."""
        self.answers.mirroring.end()
        self.state.journal.refuses = None
        self.state.lines.begin()
        self._lifecycle.ready = True
        self.answers.recovery.begin()  # first: it settles only what the last run left unfinished
        self.answers.pushing.begin()
        self.answers.titling.begin()
        self.conversation.conversations.begin()
        self.operations.sweeper.start()

    def stop_leading(self) -> Deferred[None]:
        """Stop acting on messages; fires once everything recorded so far is durable."""
        self._lifecycle.ready = False
        self.operations.sweeper.stop()
        self.conversation.conversations.hold()
        self.answers.flights.forget_all()
        self.answers.titling.end()
        self.answers.pushing.end()
        self.state.lines.end()
        self.state.journal.refuses = Standby
        self.answers.mirroring.begin()
        return self.state.journal.committed()

    def follow(self, leader_url: str) -> None:
        """Pass attempts on to the node at `leader_url`, or hold them if it is empty."""
        if leader_url:
            self.conversation.conversations.pass_on_to(leader_url)
        else:
            self.conversation.conversations.hold()

    def isolate(self, *, isolated: bool) -> None:
        """Leave attempts to other nodes while this one cannot act."""
        self.conversation.conversations.isolate(isolated=isolated)

    def fail(self, error: WxgptError) -> None:
        """Stop the daemon."""
        self._environment.on_damage(error)

    def end(self) -> None:
        """Stop working; unanswered questions stay unanswered until the next start."""
        self._lifecycle.ready = self._lifecycle.loaded = False
        self.operations.health.end()
        self.state.lag.end()
        self.operations.sweeper.stop()
        self.operations.upkeep.stop()
        self.conversation.conversations.end()
        self.answers.answer_runner.end()
        self.answers.titling.end()
        self.answers.pushing.end()

    async def settled(self) -> None:
        """Wait for a snapshot that is still being written."""
        await self.state.snapshotter.settled()

    async def retire(self) -> None:
        """Let another node take over at once, if there is one; this one never leads again."""
        if self.standing is not None:
            await self.standing.retire()

    # Reloading.

    def compare(self, fresh: cfg.Config) -> Adopted:
        """Return what adopting another configuration would change.

        Raises:
            ConfigError: it cannot be adopted while [server], [log] and [cluster] wait for a
                restart.
        """
        if faults := list(cfg.mistakes(self._without_restart(fresh))):
            restart = "while changes to [server], [log] and [cluster] wait for a restart"
            explained = [f"{fault} ({restart})" for fault in faults]
            raise cfg.ConfigError(self._environment.config_path, explained)
        return Adopted.of(tuple(cfg.changes(self._config, fresh)))

    def _without_restart(self, fresh: cfg.Config) -> cfg.Config:
        """Return `fresh` with the running values of everything that needs a restart."""
        running = self._config
        return attrs.evolve(fresh, server=running.server, log=running.log, cluster=running.cluster)

    def adopt(self, fresh: cfg.Config) -> Adopted:
        """Use another configuration from now on, except for what needs a restart.

        Raises:
            ConfigError: see `compare`; nothing has changed.
        """
        adopted, config = self.compare(fresh), self._without_restart(fresh)
        factory, settings = self.base.runtime_factory, self.base.settings
        settings.adopt(factory.settings(config))
        self.root.webhooks = factory.webhooks(config, self.conversation.conversations)
        self.state.timeouts.fixed = settings.deliberate_timeouts_per_5min
        self.state.earlier_links.ttl_s = settings.link_ttl_s
        self.state.snapshotter.retention = runtime_factory.retention(config)
        self.state.spending.reconsider()
        self.answers.slots.fill()
        self.answers.moderation.adopt(config.moderation.words_file)
        self.conversation.pages.renditions.forget_all()
        self._config = config
        return adopted
