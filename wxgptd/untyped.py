"""Names for values that are not checked yet. Each documents why it is not stricter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
"""A JSON object, whose values are checked one by one where they are read."""

JsonView = Mapping[str, Any]
"""A JSON object that is only read."""

Packed = Sequence[Any]
"""An array from msgpack: the codec knows the type of each element."""

Reactor = Any
"""A reactor: no Twisted interface has everything that a process needs from one."""

Given = Any
"""A value in a configuration file before it is structured, or the result of a cattrs hook."""

Table = dict[str, Any]
"""A table in a configuration file."""

Notes = Any
"""A projection's part of a snapshot: the projection knows what it wrote."""

References = dict[str, Any]
"""The reference definitions of a Markdown text, in the form of its parser."""

Result = Any
"""The result of some work; only the caller knows its type."""

Wrapped = Any
"""A library's object that has no interface of its own."""
