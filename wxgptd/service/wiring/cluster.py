"""Build the node's part in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from wxgptd import config as cfg
from wxgptd.service.cluster.following import Following
from wxgptd.service.cluster.host import Host, Surroundings, Work
from wxgptd.service.cluster.live_answers import LiveAnswers
from wxgptd.service.cluster.standing import Standing
from wxgptd.service.wiring.answers import Answers
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.state import State

_IN_COMMON = (
    "account", "assistant", "rule", "session", "commands", "window", "reply", "limits", "links",
    "pages", "texts",
)  # fmt: skip


def build(
    base: Base, state: State, answers: Answers, host: Host, config: Callable[[], cfg.Config]
) -> Standing | None:
    """Return the node's standing, or None without a cluster."""
    environment = base.environment
    if environment.cluster is None:
        return None
    replica, store, node = environment.cluster
    live = LiveAnswers(replica, store, answers.flights, environment.clock)
    following = Following(replica, store, state.journal)
    around = Surroundings(environment.clock, environment.wall, lambda: digest_of(config()))
    return Standing(node, replica, store, Work(following, live), host, around)


def digest_of(config: cfg.Config) -> str:
    """Return a digest of what all nodes should have in common; secrets do not count."""
    common = [(name, getattr(config, name)) for name in _IN_COMMON]
    return sha256(repr([*common, config.server.public_url]).encode()).hexdigest()[:16]
