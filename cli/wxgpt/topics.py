"""What `wxgpt help TOPIC` says: what holds for every command."""

from __future__ import annotations

from wxgpt.failures import EXIT_STATUSES

_STATUSES = "\n".join(f"  {code:>3}  {what}" for code, what in EXIT_STATUSES.items())

TOPICS = {
    "exit-codes": (
        "What a command's exit status means.",
        f"""\
Of wxgpt:
{_STATUSES}

A failure is told in two lines on standard error: `error: …`, what and why, and `hint: …`, what to
do. A traceback is shown with --debug only. `wxgpt tail | head` ends with 0, and says nothing.

Of wxgptd, the daemon:
    0  stopped when it was told to
    1  failure, such as a port that is taken
    4  configuration; systemd does not start it again
    5  log damaged; systemd does not start it again
   75  the log cannot be written any more; systemd starts it again, which recovers the log
""",
    ),
    "time": (
        "How times and spans are written.",
        """\
A time (--since, --until):
  10m 2h 3d                     so long ago; s, m, h, d
  today, yesterday              midnight, in this machine's zone
  2026-01-31                    midnight of that day
  2026-01-31T08:00:00           in this machine's zone
  2026-01-31T08:00:00+08:00     RFC 3339
  @1700000000                   seconds since 1970
A span (--for): 30m, 2h, 7d.

Text shows times in this machine's zone, --utc in UTC. In JSON, `at` is RFC 3339 in UTC; other
times are that, or seconds since 1970 where they are numbers. Another zone:
TZ=Asia/Shanghai wxgpt tail.
""",
    ),
    "output": (
        "What goes where, and in which format.",
        """\
Data goes to standard output, all else (hints, warnings, questions) to standard error.

  -o text      for people; may change from version to version
  -o json      one document; --json for short
  -o ndjson    one object a line, each written at once: for streams (tail -f -o ndjson | jq)

Names in JSON keep their meaning within a version; CHANGES.md lists those that a new version
renames. New ones may come at any time.

Colour is for terminals: --color auto|always|never; NO_COLOR and CLICOLOR_FORCE are respected.
Questions are asked on terminals only; elsewhere a command fails and names the option that is
missing. What destroys says what it will do and asks: -y answers, --dry-run only says.
""",
    ),
    "environment": (
        "Variables, files, and what comes before what.",
        """\
An option on the command line comes before its variable, that before the configuration, and that
before the default.

  WXGPT_CONFIG          the configuration, as --config
  WXGPT_COLOR           as --color
  WXGPT_API_KEY         for wxgpt init
  WXGPT_COMMAND_OPTION  any other option of a command: WXGPT_TAIL_OUTPUT=ndjson
  NO_COLOR, CLICOLOR_FORCE, TZ

The configuration is --config, WXGPT_CONFIG, ./wxgptd.toml or /etc/wxgptd/wxgptd.toml, whichever is
there first. `wxgpt check --effective` shows every value and where it comes from, secrets masked.

The log and the admin socket are the daemon's own: run commands that need them with sudo, or as
the daemon's user.
""",
    ),
}
