"""Whether a request is signed by WeChat."""

from __future__ import annotations

import pytest
from wechatpy.utils import check_signature

from wxgptd.wechat import signature
from wxgptd.wechat.signature import Forged, Freshness

NOW = 1_714_037_059.0
# The example from WeChat's documentation.
TOKEN, TIMESTAMP, NONCE = "AAAAA", "1714037059", "486452656"
SIGNATURE = "899cf89e464efb63f54ddac96b0a0a235f53aa78"


def query(**changes: object) -> dict[bytes, list[bytes]]:
    values = {"signature": SIGNATURE, "timestamp": TIMESTAMP, "nonce": NONCE, **changes}
    return {
        name.encode(): [v.encode() for v in (value if isinstance(value, list) else [value])]
        for name, value in values.items()
        if value is not None
    }


def check(parameters, token=TOKEN, now=NOW, tolerance_s=300.0):
    return signature.check(token, parameters, Freshness(lambda: now, tolerance_s))


def test_the_documented_vector_is_accepted():
    assert signature.sign(TOKEN, TIMESTAMP, NONCE) == SIGNATURE
    assert check(query()) == SIGNATURE


def test_wechatpy_agrees():
    check_signature(TOKEN, signature.sign(TOKEN, TIMESTAMP, "abc"), TIMESTAMP, "abc")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signature": "0" * 40}, "does not match"),
        ({"signature": SIGNATURE.upper()}, "40 hexadecimal"),
        ({"signature": SIGNATURE[:-1]}, "40 hexadecimal"),
        ({"signature": None}, "signature is missing"),
        ({"signature": [SIGNATURE, SIGNATURE]}, "more than once"),
        ({"timestamp": None}, "timestamp is missing"),
        ({"timestamp": "171403705"}, "10 digits"),
        ({"timestamp": "17140370594"}, "10 digits"),
        ({"timestamp": "171403705４"}, "10 digits"),
        ({"timestamp": "1714037059\n"}, "10 digits"),
        ({"nonce": ""}, "1 to 32"),
        ({"nonce": "a" * 33}, "1 to 32"),
        ({"nonce": "a b"}, "1 to 32"),
        ({"nonce": [NONCE, "x"]}, "more than once"),
    ],
)
def test_an_invalid_request_is_rejected_with_its_reason(changes, why):
    with pytest.raises(Forged, match=why):
        check(query(**changes))


def test_digits_cannot_move_from_the_timestamp_to_the_nonce():
    """Sorted and joined, `1` + `23` equals `12` + `3`; the strict formats prevent that."""
    with pytest.raises(Forged):
        check(query(timestamp="171403705", nonce="9" + NONCE))


def test_an_empty_token_accepts_no_signature():
    forged = signature.sign("", TIMESTAMP, NONCE)
    with pytest.raises(Forged, match="no token"):
        check(query(signature=forged), token="")


@pytest.mark.parametrize(("now", "direction"), [(NOW + 301, "behind"), (NOW - 301, "ahead of")])
def test_a_timestamp_too_far_off_is_rejected_with_the_clock_difference(now, direction):
    with pytest.raises(Forged, match=f"301 s {direction} this machine's clock"):
        check(query(), now=now)


def test_the_tolerance_can_be_switched_off():
    assert check(query(), now=NOW + 1e6, tolerance_s=0.0) == SIGNATURE


def test_in_safe_mode_the_signature_covers_the_encrypted_message():
    signed = signature.sign(TOKEN, TIMESTAMP, NONCE, "sealed")
    parameters = query(signature=None, msg_signature=signed)
    assert (
        signature.check(TOKEN, parameters, Freshness(lambda: NOW, 300.0), encrypted="sealed")
        == signed
    )
    with pytest.raises(Forged, match="does not match"):
        signature.check(TOKEN, parameters, Freshness(lambda: NOW, 300.0), encrypted="other")
