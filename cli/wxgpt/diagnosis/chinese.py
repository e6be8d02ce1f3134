"""What to mend, in Chinese as well: who reads it is often no programmer, and often Chinese.

By how an English fix begins. A bare command needs no translation.
"""

from __future__ import annotations

_BEGINNINGS = {
    # The daemon and its machine.
    "start it: ": "启动守护进程：systemctl start wxgptd",
    "start the daemon": "启动守护进程：systemctl start wxgptd",
    "its log says why": "原因在日志里：journalctl -u wxgptd",
    "journalctl -u wxgptd; systemctl start": (
        "先看日志里的原因（journalctl -u wxgptd），改好后启动：systemctl start wxgptd"
    ),
    "journalctl -u wxgptd": "原因在日志里：journalctl -u wxgptd",
    "look again in a minute": "过一分钟再看",
    "make room": (
        "腾出磁盘空间；或者设置 [log] keep、max_size，重启，再用 wxgpt log vacuum 马上清理"
    ),
    "wxgpt reload says": "运行 wxgpt reload，它会说全",
    "wxgpt reload": "让改过的配置生效：wxgpt reload",
    "systemctl restart wxgptd": "重启才生效：systemctl restart wxgptd",
    "systemctl reload wxgptd, or": "让守护进程用上现在的配置（wxgpt reload），或者把时钟调准",
    "systemctl reload wxgptd": "让守护进程用上现在的配置：wxgpt reload",
    "see above": "原因见上一行",
    "an older version": "版本不一致：systemctl restart wxgptd",
    "restart wxgptd": "重启守护进程：systemctl restart wxgptd",
    "try again in a few": "过几秒再试",
    "has the daemon run": "守护进程用这份配置启动过吗？",
    "restore it from": "从备份恢复这个文件：没有它，用户说过的话都读不出来",
    "check app_secret": (
        "AppSecret 填对了吗？这台服务器的公网 IP 加进 API IP 白名单了吗？"
        "（微信开发者平台 → 公众号 → 基础信息 → 开发密钥）"
    ),
    "wxgpt log verify": "wxgpt log verify 指出哪里坏了，wxgpt log repair 救出完好的部分",
    "so that a boot": "让它开机启动：systemctl enable wxgptd",
    "install it with": "换一个支持的 Python 版本安装",
    "upgrade libexpat": "升级 libexpat",
    "timedatectl": "让时钟自动对时：timedatectl set-ntp true",
    "try sudo": "用 sudo wxgpt doctor 再看",
    "change ": "改配置文件里的这一项（英文那行里的名字），再 wxgpt reload",
    "in /": "照上面一行说的键改配置文件，再运行一次 wxgpt doctor",
    "run wxgpt as": "用 sudo 运行",
    "set open_without_command": (
        "有人发了消息却没有回音：公众号只用来和 AI 对话，就设 open_without_command = true；"
        "否则加一条关键词规则（[[rule]]），或者转发给原来的后台（forward）"
    ),
    "set a rule": "有人发了消息却没有回音：加一条规则（[[rule]]）",
    # The way from WeChat to here.
    "does it have a DNS": "域名解析了吗？到域名服务商那里加一条 A 记录，指向这台机器",
    "is the port open": "防火墙和云服务商的安全组放行 443 端口了吗？",
    "nobody listens there": "网站服务器（Caddy、nginx）没有在运行",
    "nobody listens at": "base_url（或 proxy）那里没有程序在运行",
    "get one for this name": "给这个域名申请证书（certbot，或者 Caddy 自动办），要带上完整的证书链",
    "is https served": "那个端口上是 https 吗？",
    "another program uses": "那个端口被别的程序占用了",
    "stop the other program": "停掉那个程序，或者给 [server] listen 换一个端口",
    "is it up": "它在运行吗？从这台机器连得上吗？",
    "WeChat follows no redirect: write": (
        "微信不跟随跳转：把 public_url 改成跳转后的地址（末尾不要斜杠）"
    ),
    "WeChat follows no redirect: take": (
        "微信不跟随跳转：把网站服务器里的这个跳转去掉（是不是自动加了末尾的斜杠？）"
    ),
    "have the web server": "让网站服务器把这个地址下的请求原样转给 wxgptd（见 etc/nginx.conf）",
    "is it spelt right": "拼写对吗？",
    "renew it": "续期证书，再看看为什么没有自动续期",
    "is WeChat's API": "这台机器连得上 api.weixin.qq.com 吗？",
    # Models.
    "to use it: ": "环境变量里的代理 wxgptd 不会用：要走代理，就在配置里写上 proxy（见上一行）",
    "SOCKS proxies": "不支持 SOCKS 代理：把 proxy 设成代理软件的 HTTP 端口",
    "the server refuses the key": "密钥不对：检查 api_key",
    "the account at the provider": "服务商那里的余额用完了：充值",
    "the provider limits": "服务商限制了调用频率：等一等，或者申请提高限额",
    "the provider's moderation": "被服务商的内容审核拒绝了：模型选对了吗？",
    "the server says that one word": "只问一个词它也说太长：模型加载好了吗？",
    "have the daemon take up": "让守护进程用上现在的配置：wxgpt reload",
    "the proxy wants": '代理要用户名和密码：proxy = "http://用户:密码@主机:端口"',
    "the proxy does not": "代理不放行：检查 proxy",
    "base_url says https": "base_url 写的是 https，那边却是 http：改成 http://",
    "the server's certificate": "服务器的证书对不上它的域名",
    "the name in base_url": "base_url（或 proxy）里的域名找不到：写对了吗？",
    "that is a web page": "那是网页，不是接口：base_url 少了 /v1？",
    "the server knows no such": "服务器没有这个模型：检查 model",
    "there is no such path": "没有这个路径：base_url 少了 /v1？（Azure：少了 api-version？）",
    "base_url leads elsewhere": "base_url 会跳转：写最终的地址，不带 /chat/completions",
    "the server fails by itself": "服务器自己出错了：看它的日志",
    "the key may not use": "这个密钥不能用这个模型，或者名字写错了：检查 model",
    "the server answers and breaks": "服务器答到一半断开：看它的日志，或者中间的代理",
    "the server does not answer": "服务器没有及时回应：从这里连得上吗？要不要走代理？",
    "is the server up": "服务器在运行吗？前面写着它说了什么",
}


def in_chinese(fix: str) -> str:
    """Return what `fix` says in Chinese, or nothing where that says nothing more."""
    return next((said for begins, said in _BEGINNINGS.items() if fix.startswith(begins)), "")
