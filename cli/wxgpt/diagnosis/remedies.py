"""The fix for each problem that `wxgpt doctor` can find.

A finding names its remedy by id, so that the text can be rewritten. Ids are part of
`wxgpt doctor --json`: scripts and bug reports rely on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from wxgptd.wording import say

REMEDIES: dict[str, str] = {
    # The machine and the unit.
    "python-unsupported": "reinstall wxgptd with a supported Python",
    "expat-too-old": "upgrade libexpat",
    "unit-inactive": "see why in journalctl -u wxgptd, then: systemctl start wxgptd",
    "unit-restarting": "see why: journalctl -u wxgptd -p warning",
    "unit-disabled": "start it at boot: systemctl enable wxgptd",
    "clock-skew": "synchronise the clock: timedatectl set-ntp true",
    # The configuration and its directories.
    "configuration-invalid": "correct it in {path}, then run wxgpt doctor again",
    "configuration-doubtful": "change {key} in {path}, then run wxgpt reload",
    "mode-wrong": "chmod {mode} {path}",
    "owner-wrong": "chown -R --reference={directory} {directory}; systemctl restart wxgptd",
    "disk-low": "free some space, or set [log] keep or max_size, restart, and run wxgpt log vacuum",
    "needs-root": "try sudo wxgpt doctor",
    # The cluster; see docs/cluster.md.
    "nats-unreachable": "start that NATS server and let this machine reach it; check [cluster]",
    "nats-payload": "set max_payload = 8MB in its configuration: see etc/nats.conf",
    "nats-copies": (
        "use three NATS servers: nats stream edit --replicas 3 wxgptd-NAME-log, and -keys"
    ),
    "cluster-missing": "on the node whose log goes on: wxgpt cluster init",
    "nats-credentials": "correct `credentials` in [cluster]",
    "cluster-no-quorum": (
        "start the NATS servers: at least two of the three must run and reach each other"
    ),
    "cluster-name": "give each node a name of its own: [cluster] node",
    "cluster-no-leader": "see the daemons' logs: is a quorum of the NATS servers running?",
    "cluster-alone": "start another node: docs/cluster.md",
    "cluster-lags": (
        "wait if it was just started; otherwise check its disk and its connection to the servers"
    ),
    "cluster-configuration": (
        "make both files the same but for [server] listen and [cluster] node and url"
    ),
    "cluster-version": "install the same version there: standbys first, then the node that leads",
    "cluster-url": "let the daemon there listen at {url}, and let this machine reach it",
    # The daemon.
    "daemon-unreachable": (
        "start it: systemctl start wxgptd (without systemd: wxgptd --config FILE)"
    ),
    "daemon-denied": "run wxgpt as the daemon's user, or with sudo",
    "daemon-unhealthy": "see why: journalctl -u wxgptd",
    "daemon-outdated": "run the installed version: systemctl restart wxgptd",
    "daemon-starting": "check again in a minute",
    "disk-full": "free some space: the daemon then accepts questions again automatically",
    "reload-rejected": "see every error: wxgpt reload",
    "reload-pending": "apply the file: wxgpt reload",
    "restart-required": "apply the file: systemctl restart wxgptd",
    "messages-unanswered": (
        "set open_without_command = true if the account is only for the AI; otherwise add a "
        "keyword rule ([[rule]]) or forward messages to the previous backend"
    ),
    "messages-without-rule": "add a rule ([[rule]]) for them",
    "push-rejected": (
        'check app_secret and the IP whitelist (基础信息 → 开发密钥), or set push = "never"'
    ),
    "push-timeout": "check that this machine can reach api.weixin.qq.com",
    "log-damaged": (
        "list the damage with wxgpt log verify; recover the intact events with wxgpt log repair"
    ),
    # From WeChat to the daemon.
    "port-taken": "stop the other program, or choose another port in [server] listen",
    "name-unresolved": "add a DNS A record that points to this machine",
    "name-invalid": "check the spelling of the name",
    "port-filtered": "open port 443 in the firewall and in the cloud provider's security group",
    "connection-refused": (
        "start the web server: systemctl restart caddy (or nginx); if it does not start, see why: "
        "journalctl -u caddy -n 20 (or -u nginx)"
    ),
    "web-server-stopped": (
        "if the web server is to run here: systemctl restart caddy (or nginx); if it does not "
        "start, see why: journalctl -u caddy -n 20 (or -u nginx)"
    ),
    "certificate-missing": (
        "wait a minute or two while Caddy gets it; if it does not: check the A record and that "
        "ports 80 and 443 are open (安全组), and see journalctl -u caddy -n 20"
    ),
    "unreachable": "check that the server is up and reachable from here",
    "not-http": "another program uses that port: stop it",
    "not-tls": "check that this port serves HTTPS",
    "certificate-invalid": (
        "get a certificate for this name (certbot, or Caddy automatically) with its full chain"
    ),
    "certificate-expiring": (
        "renew it, and find out why that did not happen automatically (systemctl list-timers)"
    ),
    "address-redirected": (
        "set public_url to the address it redirects to: WeChat follows no redirects"
    ),
    "webhook-redirected": (
        "remove that redirect from the web server (a trailing slash?): WeChat follows none"
    ),
    "address-not-forwarded": (
        "make the web server forward everything under that address to wxgptd (etc/nginx.conf)"
    ),
    "webhook-not-forwarded": (
        "make the web server forward this path with its query to wxgptd (etc/nginx.conf)"
    ),
    "webhook-rejected": "apply the current token (wxgpt reload), or correct the clock",
    # Models.
    "proxy-unused": 'to use it: [assistant.{assistant}] proxy = "http://{address}"',
    "proxy-socks": "set proxy to the HTTP port of the proxy program: SOCKS is not supported",
    "proxy-password": (
        'the proxy needs a username and password: proxy = "http://USER:PASSWORD@HOST:PORT"'
    ),
    "proxy-rejected": "check `proxy`: it does not allow connections to this server",
    "model-plain-http": "use http:// in base_url: the server does not speak TLS",
    "model-certificate": "check base_url: the server's certificate is not valid for its name",
    "model-name-unresolved": "check the spelling of the host in base_url (or in proxy)",
    "model-connection-refused": (
        "start the model server: nothing is listening at base_url (or at proxy)"
    ),
    "model-web-page": "check base_url: that is a web page, not an API (is /v1 missing?)",
    "model-unknown": "check `model`: the server has no such model",
    "model-path-unknown": (
        "check base_url: no such path (is /v1 missing? for Azure: the api-version?)"
    ),
    "model-redirected": "set base_url to the address it redirects to, without /chat/completions",
    "model-server-error": "see the model server's log: the error is on its side",
    "model-forbidden": "check `model`: it is misspelled, or the key may not use it",
    "model-disconnected": (
        "see the log of the model server, or of a proxy in between: answers are cut off"
    ),
    "model-timeout": "check that the server is reachable from here; does it need a proxy?",
    "model-misconfigured": 'check api_key: the server rejects it (for Azure: auth = "api-key")',
    "model-quota": "top up the account at the provider: its balance is used up",
    "model-busy": "wait, or ask the provider for a higher rate limit",
    "model-refused": "check `model`: the provider's content filter blocks even one word",
    "model-too_long": (
        "check that the model is loaded: the server rejects a single word as too long"
    ),
    "model-not-loaded": "apply this configuration: wxgpt reload",
    "model-unavailable": "check that the model server is up; its answer is shown above",
    # Everything else.
    "see-detail": "{hint}",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Remedy:
    """One remedy: its id, and the values for its text. An empty `id` means that no fix is needed.

    Raises:
        KeyError: there is no such remedy, or its text has a placeholder that is not in `values`.
    """

    id: str
    values: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.text  # noqa: B018 (a missing text or value is found here)

    @property
    def text(self) -> str:
        """What to do."""
        return say(REMEDIES[self.id], **self.values) if self.id else ""


def remedy(identifier: str, **values: object) -> Remedy:
    """Return the remedy with that id and the values for its text."""
    return Remedy(identifier, values)
