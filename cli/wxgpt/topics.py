"""The topics of `wxgpt help TOPIC`: conventions that every command follows."""

from __future__ import annotations

from collections.abc import Iterator

from wxgpt import render
from wxgpt.failures import EXIT_STATUSES
from wxgpt.language import shown
from wxgptd.log_ids import MEANINGS

ID_COLUMNS = 20

TOPICS = {
    "exit-codes": (
        "What a command's exit status means.",
        """\
wxgpt:
{statuses}

A failure prints two lines on standard error: `error: …` says what happened and why, `hint: …` what
to do. Tracebacks are shown only with --debug. `wxgpt tail | head` exits with 0 and no message.

wxgptd, the daemon:
    0  stopped on request
    1  failure, such as a port already in use
    4  configuration error; systemd does not restart it
    5  log damaged; systemd does not restart it
   75  the log can no longer be written; systemd restarts the daemon, which recovers the log
""",
    ),
    "time": (
        "How to write times and durations.",
        """\
A time (--since, --until):
  10m 2h 3d                     that long ago; s, m, h, d
  today, yesterday              midnight, in this machine's zone
  2026-01-31                    midnight of that day
  2026-01-31T08:00:00           in this machine's zone
  2026-01-31T08:00:00+08:00     RFC 3339
  @1700000000                   seconds since 1970
A duration (--for): 30m, 2h, 7d.

Text output shows times in this machine's zone, or in UTC with --utc. In JSON, `at` is RFC 3339 in
UTC; other times are either RFC 3339 or, if numbers, seconds since 1970. To use another zone:
TZ=Asia/Shanghai wxgpt tail.
""",
    ),
    "output": (
        "Output streams, formats, colour and prompts.",
        """\
Data goes to standard output, everything else (hints, warnings, prompts) to standard error.

  -o text      for people; may change from version to version
  -o json      one document; --json for short
  -o ndjson    one object per line, written immediately: for streams (tail -f -o ndjson | jq)

Names in JSON keep their meaning within a version; CHANGES.md lists those that a new version
renames. New names may be added at any time.

Colour is used on terminals: --color auto|always|never; NO_COLOR and CLICOLOR_FORCE are respected.
Commands prompt only on a terminal; otherwise they fail and name the missing option. A destructive
command says what it will do and asks for confirmation: -y confirms, --dry-run only shows it.
""",
    ),
    "environment": (
        "Variables, files, and their precedence.",
        """\
A command-line option takes precedence over its variable, which takes precedence over the
configuration, which takes precedence over the default.

  WXGPT_CONFIG          the configuration, like --config
  WXGPT_COLOR           like --color
  WXGPT_LANG            like --lang: en or zh
  WXGPT_API_KEY         for wxgpt init
  WXGPT_COMMAND_OPTION  any other option of a command: WXGPT_TAIL_OUTPUT=ndjson
  NO_COLOR, CLICOLOR_FORCE, TZ, LC_ALL, LC_MESSAGES, LANG

The configuration is the first of --config, WXGPT_CONFIG, ./wxgptd.toml and
/etc/wxgptd/wxgptd.toml. `wxgpt check --effective` shows every value and where it comes from, with
secrets masked.

The log and the admin socket belong to the daemon: run commands that need them with sudo, or as
the daemon's user.
""",
    ),
    "log": (
        "What the lines of the daemon's log mean.",
        """\
The daemon's log (journalctl -u wxgptd) is in English. The first line of each message ends with
an id in brackets; with --log-format json it is the field `id`. A message about an event has its
kind as its id, as in `wxgpt tail --kind SessionOpened`. The others:
{lines}
""",
    ),
}


def topic_text(name: str) -> str:
    """Return a topic's text in the operator's language, translated by paragraphs."""
    text = "\n\n".join(map(shown, TOPICS[name][1].rstrip().split("\n\n")))
    statuses = (f"  {code:>3}  {shown(what)}" for code, what in EXIT_STATUSES.items())
    text = text.replace("{statuses}", "\n".join(statuses))
    return text.replace("{lines}", "\n".join(_lines_of_the_log())) + "\n"


def _lines_of_the_log() -> Iterator[str]:
    for name, meaning in MEANINGS.items():
        for n, part in enumerate(render.wrap(shown(meaning), 78 - ID_COLUMNS)):
            yield f"  {render.pad('' if n else name, ID_COLUMNS)}{part}"
