"""The metadata required in files with generated text.

人工智能生成合成内容标识办法 and GB 45438-2025, in force since 2025-09-01, require a visible label
and metadata named AIGC. The label is among the texts; this module produces the metadata.
"""

from __future__ import annotations

import json
from hashlib import sha256

GENERATED = "1"
"""The value of `Label` for generated content, as opposed to possibly generated content."""


def metadata(producer: str, token: str) -> str:
    """Return the value of AIGC, as JSON: producer, distributor and content ID.

    The ID is a hash of the link's `token`, so it does not reveal the token.
    """
    name = sha256(b"AIGC\0" + token.encode("utf-8", "replace")).hexdigest()[:32]
    return json.dumps(
        {
            "Label": GENERATED,
            "ContentProducer": producer,
            "ProduceID": name,
            "ReservedCode1": "",
            "ContentPropagator": producer,
            "PropagateID": name,
            "ReservedCode2": "",
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
