"""An id for each kind of line in the daemon's log, which stays when the line is reworded.

Each call of a logger names it (`id`). The log is in English; `wxgpt help log` explains the ids in
the operator's language. A line about an event of the event log has that event's kind as its id, as
`wxgpt tail --kind` accepts it.
"""

from __future__ import annotations

from collections.abc import Mapping

from wxgptd.wording import say

MEANINGS: Mapping[str, str] = {
    "listening": say("systemd passes the port it listens on"),
    "listen-ignored": say(
        "change the port with systemctl edit wxgptd.socket, not in the configuration"
    ),
    "loaded": say("the event log was read"),
    "ready": say("the daemon accepts messages"),
    "stopping": say("the daemon was told to stop"),
    "stopped": say("the daemon has stopped"),
    "failed": say("the daemon cannot start or continue"),
    "state-unusable": say("check the owner and the mode of the state directory: wxgpt doctor"),
    "link-key-missing": say(
        "a key is missing: links sent so far are dead; restore it from a backup"
    ),
    "reloaded": say("a changed configuration applies"),
    "reload-rejected": say("the configuration has a mistake: wxgpt check"),
    "restart-required": say("these keys apply after systemctl restart wxgptd"),
    "sighup-ignored": say("use systemctl reload wxgptd or wxgpt reload"),
    "words-unreadable": say("the list of words cannot be read: the previous one applies"),
    "file-not-served": say("a file for WeChat's verification cannot be served"),
    "url-checked": say("WeChat's backend, or wxgpt doctor, has verified the address"),
    "request-rejected": say(
        "a request is not from WeChat, or the Token or the EncodingAESKey differs"
    ),
    "path-unknown": say(
        "WeChat's backend has a wrong URL: wxgpt check --backend shows the right one"
    ),
    "attempt-failed": say("a request from WeChat got no reply; it comes again"),
    "suspended": say("WeChat delivered nothing for about a minute: the model is slow"),
    "timeouts-used-up": say("slow answers go out unfinished for a while, with a link"),
    "timeouts-available": say("slow answers can wait again"),
    "timeouts-raised": say("WeChat seems to allow more timeouts"),
    "push-paused": say("answers are not pushed for a while"),
    "push-off": say("the account may not push; users read the rest on the page"),
    "push-failed": say("an answer was not pushed; its user can read it on the page"),
    "forwarding-failed": say("the other backend did not answer"),
    "picture-failed": say("a user's picture could not be fetched"),
    "picture-refused": say("if that host is WeChat's, add it to [pictures] hosts"),
    "retrying": say("a model did not answer at once"),
    "model-adapted": say("a parameter that the model's server rejects is left out"),
    "prompt-shortened": say("the conversation is longer than the model accepts"),
    "fallback": say("another model is asked"),
    "breaker-open": say("a model fails for all users and is not asked for a while: wxgpt doctor"),
    "breaker-closed": say("the model answers again"),
    "answer-failed": say("a user got a text instead of an answer: wxgpt usage --failed"),
    "budget-used-up": say(
        "no more questions are answered today: [assistant.X] or [limits] daily_budget"
    ),
    "overloaded": say("a limit of the daemon was reached: wxgpt status"),
    "disk-full": say("free some space on the disk"),
    "disk-free": say("there is space on the disk again"),
    "log-damaged": say("the event log is damaged: wxgpt log verify, then wxgpt log repair"),
    "tail-trimmed": say(
        "the last write before a crash was not complete; nothing that was sent is lost"
    ),
    "snapshot-skipped": say("more of the event log is read: the start takes longer"),
    "snapshot-failed": say("the next start takes longer; check the disk"),
    "health-failed": say("the disk or the machine is stuck; systemd restarts the daemon"),
    "health-passed": say("the daemon works again"),
    "page-failed": say("a page could not be shown"),
    "admin-failed": say("a wxgpt command could not be carried out"),
    "request-failed": say("a fault in wxgptd: report it"),
    "unexpected": say("a fault in wxgptd: report it"),
    "suppressed": say("so many more lines like the one before were left out"),
    "nats-connected": say("the node reaches a NATS server"),
    "nats-failed": say("a NATS server does not answer"),
    "leading": say("this node leads: it handles the messages"),
    "following": say("this node is a standby"),
    "not-leading": say("this node could not take over"),
    "node-name-taken": say("two nodes have the same name"),
    "log-foreign": say("another program writes to the NATS servers: check their credentials"),
}
"""What each id means to the operator."""
