"""The daemon as it would be if it were older than an event kind: run with `python -m`.

It announces that it lacks the kind, and cannot read it, as any program built before it.
"""

from __future__ import annotations

import sys

from wxgptd.domain.model import events as e
from wxgptd.eventlog import codec
from wxgptd.process.main import main

LATER = codec.TAGS[e.UserErased]

if __name__ == "__main__":
    del codec.VERSIONS[LATER]
    sys.exit(main())
