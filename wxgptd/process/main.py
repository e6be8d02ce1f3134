"""`wxgptd --config FILE`: the process around the service, and the only user of the reactor.

Exit status: 0 after a clean stop, 1 on a failure, 4 for an invalid configuration, 5 for a damaged
log, 75 when the log can no longer be written (systemd then restarts the daemon).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher
from twisted.web.resource import Resource

from wxgptd import __version__, config
from wxgptd.errors import WxgptError
from wxgptd.eventlog import master_key
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.store import LogStore
from wxgptd.eventlog.system import System
from wxgptd.eventlog.unavailable import StoreUnavailable
from wxgptd.eventlog.writer import SegmentBounds
from wxgptd.outbound.client import http_client
from wxgptd.outbound.model_client import model_clients
from wxgptd.outbound.names import Names
from wxgptd.ports.appending import ReplicaUnavailable
from wxgptd.ports.record import Loaded
from wxgptd.ports.threads import Threads
from wxgptd.process import cluster, log_format, reports
from wxgptd.process.keys import link_key, short_lived_keys
from wxgptd.process.line_limit import LineLimit
from wxgptd.process.listening import (
    check_endpoints,
    listen,
    listen_at,
    listen_for_operator,
    plainly,
    where,
)
from wxgptd.process.ownership import require_own
from wxgptd.process.process_limits import (
    connections_possible,
    keep_memory_private,
    raise_file_limit,
    return_freed_memory,
)
from wxgptd.process.site import MAX_BODY_BYTES, BoundedSite, Bounds
from wxgptd.process.snapshot_process import SnapshotProcess
from wxgptd.process.supervision import Supervision, in_terminal
from wxgptd.process.threads import start_threads
from wxgptd.service.environment import Environment
from wxgptd.service.state.snapshotter import keeping_period_s
from wxgptd.service.wiring import Service
from wxgptd.untyped import Reactor, Wrapped

log = Logger(namespace="wxgptd")

FIRST_REQUEST_GRACE_S = 1.0
"""How long shutdown waits for requests on connections that have just been opened."""

MAX_CONFIGURATION_BYTES = 4 * 1024 * 1024
"""The largest body on the admin socket: a configuration may have many rules."""

GRACE_S = 5.0
"""How long shutdown waits for held requests: WeChat hangs up after this time anyway."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the daemon; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="wxgptd", description="Connect WeChat Official Accounts to chat models."
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="default: ./wxgptd.toml, then /etc/wxgptd/wxgptd.toml",
    )
    parser.add_argument(
        "--log-format",
        choices=log_format.FORMATS,
        default="auto",
        help="format of the log on standard error; auto is journal under systemd, else text",
    )
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", action="version", version=f"wxgptd {__version__}")
    options = parser.parse_args(arguments)
    startup_error_writer = log_format.startup_error_writer(
        options.log_format, sys.stderr, os.environ
    )
    path = options.config or next(
        (candidate for candidate in config.SEARCH_PATH if candidate.exists()),
        config.SEARCH_PATH[-1],
    )
    path = path.absolute()
    try:
        configured = config.load(path)
        if options.check:
            from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)

            check_endpoints(reactor, path, configured)
            print(f"{path}: ok")
            sys.exit(0)
        require_own(configured.server.state_dir)
    except WxgptError as error:
        startup_error_writer(f"error: {error}")
        if error.hint:
            startup_error_writer(f"hint: {error.hint}")
        sys.exit(error.exit_status)
    written = log_format.observer(options.log_format, sys.stderr, os.environ)
    limited = LineLimit(written, time.monotonic)
    globalLogBeginner.beginLoggingTo([limited], redirectStandardIO=False)
    raise_file_limit()
    return_freed_memory()
    try:
        react(_run, (path, configured, limited))
    finally:
        limited.flush(everything=True)


def _run(
    reactor: Reactor,
    path: Path,
    configured: config.Config,
    limited: LineLimit,
) -> Deferred[None]:
    # Timers must not follow a wall clock that is set forward or back.
    reactor.seconds = time.monotonic

    def flush() -> None:
        with contextlib.suppress(OSError):  # the disk may be full briefly; retried in a second
            limited.flush()

    flushing = LoopingCall(flush)
    flushing.clock = reactor
    flushing.start(1.0, now=False)
    return Deferred.fromCoroutine(_Process(reactor, path, configured).run())


class _Process:
    """One run of the daemon."""

    def __init__(self, reactor: ReactorBase, path: Path, configured: config.Config) -> None:
        self._reactor: Reactor = reactor
        self._path = path
        self._config = configured
        self._stops = 0
        self._failed: Deferred[None] = Deferred()
        self._service: Service | None = None
        self._reload_wanted = False
        self._take_snapshot = SnapshotProcess()

    async def run(self) -> None:
        """Start, and run until the process receives a stop signal or cannot continue."""
        try:
            await self._start()
            await self._failed
        except WxgptError as error:
            if self._stops and isinstance(error, ReplicaUnavailable):
                return  # it was stopped while it waited for the cluster
            log.error("{error}", id="failed", error=error)
            if error.hint:
                log.error("hint: {hint}", id="failed", hint=error.hint)
            # Exactly this type: Twisted's `react` does not recognise subclasses.
            raise SystemExit(error.exit_status) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            log.error(
                "cannot use the state directory: {where}{why}",
                id="state-unusable",
                where=where,
                why=plainly(error),
            )
            raise SystemExit(StoreUnavailable.exit_status) from None

    async def _start(self) -> None:
        reactor, server = self._reactor, self._config.server
        reactor.callWhenRunning(self._take_signals)  # after the reactor's own handlers
        reactor.installNameResolver(Names(reactor))
        threads = start_threads(reactor)
        store, service = self._build(threads)
        site = BoundedSite(
            service.root,
            reactor,
            Bounds(
                min(server.max_connections, connections_possible()),
                server.max_connections_per_address,
                exempt=service.is_node,
            ),
            full=service.note_full,
            reserved=service.root.is_reserved,
            receiver=service.root.webhook,
        )
        ports = await self._listen(service, site)
        # Not earlier: after this only root may read the environment that names systemd's sockets.
        keep_memory_private()
        supervision = Supervision(
            os.environ,
            reactor,
            unhealthy_reason=lambda: service.why_unhealthy,
            summary=service.summary,
        )
        globalLogPublisher.addObserver(service.base.metrics.logged)  # type: ignore[arg-type]
        self._service = service
        self._on_stop(ports, site, supervision, service, store)
        supervision.starting()
        loaded = await self._load(service, store, threads)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await service.start()
        supervision.ready()
        if self._reload_wanted:
            self._request_reload()
        log.info("ready, listening on {where}", id="ready", where=", ".join(map(where, ports[:-1])))
        for why in await threads.storage(lambda: store.damage_before(loaded.snapshot_seq)):
            log.error(
                "older events are damaged, run `wxgpt log verify`: {why}", id="log-damaged", why=why
            )

    def _build(self, threads: Threads) -> tuple[LogStore, Service]:
        reactor, state_dir = self._reactor, self._config.server.state_dir
        cluster.require_keys(self._config)
        master, links = _master_key(self._config), link_key(state_dir)
        store = self._open_store(master)
        environment = Environment(
            clock=reactor,
            wall=time.time,
            store=store,
            http=http_client(reactor),
            model_http=model_clients(reactor),
            threads=threads,
            max_running=connections_possible(),
            link_key=links,
            short_lived_keys=short_lived_keys(state_dir),
            config_path=self._path,
            reread=partial(config.load, self._path),
            on_damage=self._fail,
            cluster=cluster.join(self._config, store, (master, links), reactor.callFromThread),
        )
        return store, Service(self._config, environment)

    def _open_store(self, master: bytes) -> LogStore:
        return LogStore(
            self._config.server.state_dir,
            master,
            Turns(self._reactor.callFromThread, partial(self._reactor.callLater, 0)),
            StoreListener(self._fail, reports.disk_full),
            SegmentBounds(
                self._config.log.segment_size, keeping_period_s(self._config.log.keep or 0.0)
            ),
            System(take_snapshot=self._take_snapshot),
        )

    async def _listen(self, service: Service, site: BoundedSite) -> Sequence[Wrapped]:
        """Listen for WeChat, for metrics scrapers and, last, for the operator."""
        reactor, server = self._reactor, self._config.server
        ports = list(await listen(reactor, server.listen, site))
        if server.metrics:
            metrics = _internal_site(service.figures(), reactor, MAX_BODY_BYTES)
            ports.append(await listen_at(reactor, "server.metrics", server.metrics, metrics))
        admin = _internal_site(service.admin, reactor, MAX_CONFIGURATION_BYTES)
        ports.append(listen_for_operator(reactor, server.admin_socket, admin))
        return ports

    async def _load(self, service: Service, store: LogStore, threads: Threads) -> Loaded:
        began = time.monotonic()
        gc.disable()
        try:
            loaded = await threads.storage(service.load)
        finally:
            gc.enable()
        store.start(follows=service.standing is not None)
        if (trimmed := store.trimmed) is not None:
            reports.tail_trimmed(trimmed)
            service.note_trimmed(trimmed.segment.name, trimmed.offset, trimmed.size)
        reports.log_loaded(loaded, time.monotonic() - began)
        return loaded

    def _on_stop(
        self,
        ports: Sequence[Wrapped],
        site: BoundedSite,
        supervision: Supervision,
        service: Service,
        store: LogStore,
    ) -> None:
        *public, admin = ports

        async def stop() -> None:
            supervision.stopping()
            log.info("stopping", id="stopping")
            self._take_snapshot.stop()
            if not self._failed.called:
                await service.retire()
            for port in public:
                await port.stopListening()
            site.close()
            # Without a log no request can be answered, so there is nothing to wait for.
            grace_s = 0.0 if self._failed.called else GRACE_S
            began = self._reactor.seconds()
            while (waited_s := self._reactor.seconds() - began) < grace_s and (
                self._must_wait(service) or (site.arriving and waited_s < FIRST_REQUEST_GRACE_S)
            ):
                await deferLater(self._reactor, 0.05)  # which also lets the last replies be sent
            service.end()
            await service.settled()
            await admin.stopListening()
            await cluster.leave(service, store, self._reactor)
            try:
                store.close()
            except StoreUnavailable as error:
                self._fail(error)
            log.info("stopped", id="stopped")

        self._reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(stop())
        )

    def _must_wait(self, service: Service) -> bool:
        """Return whether to wait for held requests; a second stop signal ends the wait."""
        return self._stops < 2 and service.held > 0

    def _take_signals(self) -> None:
        handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._request_stop)
        handlers[signal.SIGHUP] = self._request_stop if in_terminal() else self._request_reload
        for number, act in handlers.items():
            # `nohup` and the shell's `&` make processes ignore some signals on purpose.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_, act=act: self._reactor.callFromThread(act))

    def _request_reload(self) -> None:
        """Reload the configuration as soon as the log is loaded."""
        service = self._service
        if service is None or not service.can_reload:
            self._reload_wanted = True
        elif config.is_systemd_credential(self._path):
            log.warn(
                "SIGHUP ignored: {path} is the copy that systemd made when it started the daemon; "
                "run `systemctl reload wxgptd` to apply the current configuration",
                id="sighup-ignored",
                path=str(self._path),
            )
        else:
            with contextlib.suppress(WxgptError):  # already logged
                service.operations.reloading.from_file()

    def _request_stop(self) -> None:
        """Stop; the second time, without waiting for held requests."""
        self._stops += 1
        if self._stops == 1:
            self._reactor.stop()

    def _fail(self, error: WxgptError) -> None:
        if not self._failed.called:
            self._failed.errback(error)


def _master_key(configured: config.Config) -> bytes:
    """Return the master key of the log: the configured one, or the state directory's own."""
    if configured.log.master_key:
        return master_key.parse_master(configured.log.master_key.reveal())
    return master_key.own_master(configured.server.state_dir)


def _internal_site(root: Resource, reactor: Reactor, max_body_bytes: int) -> BoundedSite:
    """Return a site for operators and scrapers, which open few connections."""
    return BoundedSite(root, reactor, Bounds(64, 64, max_body_bytes))
