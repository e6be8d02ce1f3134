"""The fix for each problem that `wxgpt doctor` can find, in English and in Chinese.

A finding names its remedy by id, so that either text can be rewritten without the other. Ids are
part of `wxgpt doctor --json`: scripts and bug reports rely on them.
"""

from __future__ import annotations

import dataclasses

_REMEDIES: dict[str, tuple[str, str]] = {
    # The machine and the unit.
    "python-unsupported": (
        "reinstall wxgptd with a supported Python",
        "换成支持的 Python 版本，重新安装 wxgptd",
    ),
    "expat-too-old": ("upgrade libexpat", "升级 libexpat"),
    "unit-inactive": (
        "see why in journalctl -u wxgptd, then: systemctl start wxgptd",
        "先看日志里的原因（journalctl -u wxgptd），改好后启动：systemctl start wxgptd",
    ),
    "unit-restarting": (
        "see why: journalctl -u wxgptd -p warning",
        "原因在日志里：journalctl -u wxgptd -p warning",
    ),
    "unit-disabled": (
        "start it at boot: systemctl enable wxgptd",
        "让它开机启动：systemctl enable wxgptd",
    ),
    "clock-skew": (
        "synchronise the clock: timedatectl set-ntp true",
        "打开自动对时：timedatectl set-ntp true",
    ),
    # The configuration and its directories.
    "configuration-invalid": (
        "correct it in {path}, then run wxgpt doctor again",
        "按上一行指出的键改配置文件，再运行一次 wxgpt doctor",
    ),
    "configuration-doubtful": (
        "change {key} in {path}, then run wxgpt reload",
        "改配置文件里的 {key}，再运行 wxgpt reload",
    ),
    "mode-wrong": ("chmod {mode} {path}", "改权限：chmod {mode} {path}"),
    "disk-low": (
        "free some space, or set [log] keep or max_size, restart, and run wxgpt log vacuum",
        "腾出磁盘空间；或者设置 [log] keep、max_size，重启，再用 wxgpt log vacuum 马上清理",
    ),
    "needs-root": ("try sudo wxgpt doctor", "用 sudo wxgpt doctor 再检查一次"),
    # The cluster; see docs/cluster.md.
    "nats-unreachable": (
        "start that NATS server and let this machine reach it; check [cluster]",
        "启动这台 NATS 服务器，让这台机器能连到它；检查 [cluster] 里的 servers、credentials、ca",
    ),
    "nats-payload": (
        "set max_payload = 8MB in its configuration: see etc/nats.conf",
        "在它的配置里设置 max_payload = 8MB，见 etc/nats.conf",
    ),
    "nats-copies": (
        "use three NATS servers: nats stream edit --replicas 3 wxgptd-NAME-log, and -keys",
        "用三台 NATS 服务器：nats stream edit --replicas 3 wxgptd-NAME-log，还有 -keys",
    ),
    "cluster-missing": (
        "on the node whose log goes on: wxgpt cluster init",
        "在日志要继续用的那台机器上：wxgpt cluster init",
    ),
    "nats-credentials": (
        "correct `credentials` in [cluster]",
        "改正 [cluster] 里的 credentials",
    ),
    "cluster-no-quorum": (
        "start the NATS servers: at least two of the three must run and reach each other",
        "启动 NATS 服务器：三台里至少要有两台在跑，并且互相连得到",
    ),
    "cluster-name": (
        "give each node a name of its own: [cluster] node",
        "给每台机器起不同的名字：[cluster] node",
    ),
    "cluster-no-leader": (
        "see the daemons' logs: is a quorum of the NATS servers running?",
        "看各台守护进程的日志：NATS 服务器有没有超过半数在跑？",
    ),
    "cluster-alone": (
        "start another node: docs/cluster.md",
        "启动另一台机器：见 docs/zh/cluster.md",
    ),
    "cluster-lags": (
        "wait if it was just started; otherwise check its disk and its connection to the servers",
        "刚启动的话等一等；否则检查它的硬盘，以及它到 NATS 服务器的连接",
    ),
    "cluster-configuration": (
        "make both files the same but for [server] listen and [cluster] node and url",
        "让两台的配置一样，只有 [server] listen 和 [cluster] node、url 不同",
    ),
    "cluster-version": (
        "install the same version there: standbys first, then the node that leads",
        "在那里装同一版本：先备机，后工作着的那台",
    ),
    "cluster-url": (
        "let the daemon there listen at {url}, and let this machine reach it",
        "让那里的守护进程监听 {url}，并让这台机器能连到",
    ),
    # The daemon.
    "daemon-unreachable": (
        "start the daemon: systemctl start wxgptd (or wxgptd --config FILE)",
        "启动守护进程：systemctl start wxgptd",
    ),
    "daemon-denied": (
        "run wxgpt as the daemon's user, or with sudo",
        "用 sudo 运行，或者用守护进程的用户运行",
    ),
    "daemon-unhealthy": (
        "see why: journalctl -u wxgptd",
        "原因在日志里：journalctl -u wxgptd",
    ),
    "daemon-outdated": (
        "run the installed version: systemctl restart wxgptd",
        "正在运行的版本和安装的不一致，重启：systemctl restart wxgptd",
    ),
    "daemon-starting": ("check again in a minute", "过一分钟再检查"),
    "disk-full": (
        "free some space: the daemon then accepts questions again automatically",
        "腾出磁盘空间，之后会自动恢复接收问题",
    ),
    "reload-rejected": ("see every error: wxgpt reload", "运行 wxgpt reload，看全部错误"),
    "reload-pending": ("apply the file: wxgpt reload", "让改过的配置生效：wxgpt reload"),
    "restart-required": (
        "apply the file: systemctl restart wxgptd",
        "重启后生效：systemctl restart wxgptd",
    ),
    "messages-unanswered": (
        (
            "set open_without_command = true if the account is only for the AI; otherwise add a "
            "keyword rule ([[rule]]) or forward messages to the previous backend"
        ),
        (
            "有人发了消息，没有收到回复。公众号只用来和 AI 对话，就设 open_without_command = true；"
            "否则加一条关键词规则（[[rule]]），或者转发给原来的后台（forward）"
        ),
    ),
    "messages-without-rule": (
        "add a rule ([[rule]]) for them",
        "有人发了消息，没有收到回复：加一条规则（[[rule]]）",
    ),
    "push-rejected": (
        'check app_secret and the IP whitelist (基础信息 → 开发密钥), or set push = "never"',
        (
            "检查 app_secret，把这台服务器的公网 IP 加进 API IP 白名单"
            '（微信开发者平台 → 公众号 → 基础信息 → 开发密钥）；不用推送就设 push = "never"'
        ),
    ),
    "push-timeout": (
        "check that this machine can reach api.weixin.qq.com",
        "检查这台服务器能不能访问 api.weixin.qq.com",
    ),
    "log-damaged": (
        "list the damage with wxgpt log verify; recover the intact events with wxgpt log repair",
        "wxgpt log verify 列出损坏的地方，wxgpt log repair 救出完好的部分",
    ),
    # From WeChat to the daemon.
    "port-taken": (
        "stop the other program, or choose another port in [server] listen",
        "停掉占用端口的程序，或者给 [server] listen 换一个端口",
    ),
    "name-unresolved": (
        "add a DNS A record that points to this machine",
        "域名解析了吗？到域名服务商那里加一条 A 记录，指向这台机器",
    ),
    "name-invalid": ("check the spelling of the name", "检查域名的拼写"),
    "port-filtered": (
        "open port 443 in the firewall and in the cloud provider's security group",
        "在防火墙和云服务商的安全组里放行 443 端口",
    ),
    "connection-refused": (
        "start the web server (Caddy or nginx): nothing is listening at that address",
        "启动网站服务器（Caddy 或 nginx）：那个地址上没有程序在监听",
    ),
    "unreachable": (
        "check that the server is up and reachable from here",
        "检查服务器有没有运行，从这台机器能不能连上",
    ),
    "not-http": ("another program uses that port: stop it", "停掉占用那个端口的程序"),
    "not-tls": ("check that this port serves HTTPS", "检查那个端口提供的是不是 https"),
    "certificate-invalid": (
        "get a certificate for this name (certbot, or Caddy automatically) with its full chain",
        "给这个域名申请证书（certbot，或者 Caddy 自动申请），要带上完整的证书链",
    ),
    "certificate-expiring": (
        "renew it, and find out why that did not happen automatically (systemctl list-timers)",
        "给证书续期，再查为什么没有自动续期（systemctl list-timers）",
    ),
    "address-redirected": (
        "set public_url to the address it redirects to: WeChat follows no redirects",
        "微信不跟随跳转：把 public_url 改成跳转后的地址（末尾不要斜杠）",
    ),
    "webhook-redirected": (
        "remove that redirect from the web server (a trailing slash?): WeChat follows none",
        "微信不跟随跳转：去掉网站服务器里的这个跳转（是不是末尾自动加了斜杠？）",
    ),
    "address-not-forwarded": (
        "make the web server forward everything under that address to wxgptd (etc/nginx.conf)",
        "在网站服务器的反向代理里，把这个地址下的请求都原样转给 wxgptd（见 etc/nginx.conf）",
    ),
    "webhook-not-forwarded": (
        "make the web server forward this path with its query to wxgptd (etc/nginx.conf)",
        "在网站服务器的反向代理里，把这个地址连同参数原样转给 wxgptd（见 etc/nginx.conf）",
    ),
    "webhook-rejected": (
        "apply the current token (wxgpt reload), or correct the clock",
        "让现在的 Token 生效（wxgpt reload），或者把时钟调准",
    ),
    # Models.
    "proxy-unused": (
        'to use it: [assistant.{assistant}] proxy = "http://{address}"',
        (
            "wxgptd 不用环境变量里的代理；要走代理："
            '[assistant.{assistant}] proxy = "http://{address}"'
        ),
    ),
    "proxy-socks": (
        "set proxy to the HTTP port of the proxy program: SOCKS is not supported",
        "不支持 SOCKS 代理：把 proxy 设成代理软件的 HTTP 端口",
    ),
    "proxy-password": (
        'the proxy needs a username and password: proxy = "http://USER:PASSWORD@HOST:PORT"',
        '代理要用户名和密码：proxy = "http://用户:密码@主机:端口"',
    ),
    "proxy-rejected": (
        "check `proxy`: it does not allow connections to this server",
        "检查 proxy：这个代理不允许连接那台服务器",
    ),
    "model-plain-http": (
        "use http:// in base_url: the server does not speak TLS",
        "把 base_url 里的 https:// 改成 http://：那台服务器不支持 https",
    ),
    "model-certificate": (
        "check base_url: the server's certificate is not valid for its name",
        "检查 base_url：服务器的证书和域名对不上",
    ),
    "model-name-unresolved": (
        "check the spelling of the host in base_url (or in proxy)",
        "检查 base_url（或 proxy）里域名的拼写：这个域名解析不了",
    ),
    "model-connection-refused": (
        "start the model server: nothing is listening at base_url (or at proxy)",
        "启动模型服务器：base_url（或 proxy）的地址上没有程序在监听",
    ),
    "model-web-page": (
        "check base_url: that is a web page, not an API (is /v1 missing?)",
        "检查 base_url：那是网页，不是接口（是不是少了 /v1？）",
    ),
    "model-unknown": (
        "check `model`: the server has no such model",
        "检查 model：服务器没有这个模型",
    ),
    "model-path-unknown": (
        "check base_url: no such path (is /v1 missing? for Azure: the api-version?)",
        "检查 base_url：没有这个路径（是不是少了 /v1？Azure：是不是少了 api-version？）",
    ),
    "model-redirected": (
        "set base_url to the address it redirects to, without /chat/completions",
        "把 base_url 改成跳转后的地址，不带 /chat/completions",
    ),
    "model-server-error": (
        "see the model server's log: the error is on its side",
        "看模型服务器的日志：是它自己出错了",
    ),
    "model-forbidden": (
        "check `model`: it is misspelled, or the key may not use it",
        "检查 model：名字写错了，或者这个密钥不能用这个模型",
    ),
    "model-disconnected": (
        "see the log of the model server, or of a proxy in between: answers are cut off",
        "看模型服务器或中间代理的日志：回答到一半就断开了",
    ),
    "model-timeout": (
        "check that the server is reachable from here; does it need a proxy?",
        "检查从这台机器能不能连上模型服务器，要不要走代理：它没有及时回应",
    ),
    "model-misconfigured": (
        'check api_key: the server rejects it (for Azure: auth = "api-key")',
        '检查 api_key：服务器不认这个密钥（Azure：auth = "api-key"）',
    ),
    "model-quota": (
        "top up the account at the provider: its balance is used up",
        "到服务商那里充值：余额用完了",
    ),
    "model-busy": (
        "wait, or ask the provider for a higher rate limit",
        "等一等，或者请服务商提高限额：调用太频繁，被限流了",
    ),
    "model-refused": (
        "check `model`: the provider's content filter blocks even one word",
        "检查 model：只问一个词，也被服务商的内容审核拒绝了",
    ),
    "model-too_long": (
        "check that the model is loaded: the server rejects a single word as too long",
        "检查模型有没有加载好：只问一个词，服务器也说太长",
    ),
    "model-not-loaded": (
        "apply this configuration: wxgpt reload",
        "让现在的配置生效：wxgpt reload",
    ),
    "model-unavailable": (
        "check that the model server is up; its answer is shown above",
        "检查模型服务器有没有运行，它的回应见上一行",
    ),
    # Everything else.
    "see-detail": ("{hint}", "原因见上一行"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Remedy:
    """One remedy: its id, and the values for its text. An empty `id` means that no fix is needed.

    Raises:
        KeyError: there is no such remedy, or its text has a placeholder that is not in `values`.
    """

    id: str
    values: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id:
            self.in_english()

    def in_english(self) -> str:
        """Return the fix, in English."""
        return _REMEDIES[self.id][0].format(**self.values) if self.id else ""

    def in_chinese(self) -> str:
        """Return the fix, in Chinese."""
        return _REMEDIES[self.id][1].format(**self.values) if self.id else ""


def remedy(identifier: str, **values: object) -> Remedy:
    """Return the remedy with that id and the values for its text."""
    return Remedy(identifier, {name: str(value) for name, value in values.items()})


def known() -> dict[str, tuple[str, str]]:
    """Return every remedy's English and Chinese text, by id."""
    return dict(_REMEDIES)
