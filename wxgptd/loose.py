"""Names for values that are not checked yet. Each says why it is no stricter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
"""A JSON object: what is in it is known where it is read, value by value."""

JsonView = Mapping[str, Any]
"""A JSON object that is only read."""

Packed = Sequence[Any]
"""An array as msgpack has it: the codec knows what is in which place."""

Reactor = Any
"""A reactor: no interface of Twisted's has all that a process needs of one."""

Given = Any
"""A value of a configuration file, before it is structured; and what a hook of cattrs gives."""

Table = dict[str, Any]
"""A table of a configuration file."""

Notes = Any
"""What a projection has noted down in a snapshot: it knows what it wrote."""

References = dict[str, Any]
"""The reference definitions of a Markdown text, as its parser has them."""

Result = Any
"""The result of some work; only the caller knows its type."""

Wrapped = Any
"""A library's object that has no interface of its own."""
