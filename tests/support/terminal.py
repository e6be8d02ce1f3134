"""Type at a terminal, as an operator does."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_S = 60.0


def converse(
    command: Sequence[str],
    answers: Sequence[tuple[str, str | None]],
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> tuple[int, str, list[tuple[str, str | None]]]:
    """Run a command at a terminal; give each answer once its prompt is shown, `None` is ^C.

    Return the exit status, all output, and the answers that were not asked for.
    """
    ours, theirs = pty.openpty()
    prompting = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environ,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    output, left, interrupted = "", list(answers), False
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            if prompting.poll() is not None:
                break
            if interrupted:  # the first one came before the prompt could be interrupted
                prompting.send_signal(signal.SIGINT)
            continue
        try:
            output += os.read(ours, 65_536).decode("utf-8", "replace")
        except OSError:
            break
        if left and left[0][0] in output[output.rfind("\n") + 1 :]:
            _, answer = left.pop(0)
            if answer is None:
                prompting.send_signal(signal.SIGINT)
                interrupted = True
            else:
                os.write(ours, f"{answer}\n".encode())
            output += "\n"
    try:
        status = prompting.wait(10)
    except subprocess.TimeoutExpired:  # it prompts for something else: the output tells
        prompting.kill()
        status = prompting.wait(10)
    os.close(ours)
    return status, output, left
