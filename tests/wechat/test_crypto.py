"""Safe mode, tested against published vectors and against wechatpy in both directions."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from wechatpy.crypto import PrpCrypto

from wxgptd.wechat import signature
from wxgptd.wechat.crypto import Key, Undecipherable

VECTORS = json.loads(
    (Path(__file__).parent.parent / "fixtures" / "wx_crypto_vectors.json").read_text()
)["vectors"]
KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
APP_ID = "wx0123456789abcdef"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_published_vector_is_decrypted(vector):
    if "sig" in vector and vector.get("enc"):
        parts = (vector["ts"], vector["nonce"], vector["enc"])
        assert signature.sign(vector["token"], *parts) == vector["sig"]
    plain = Key(vector["key"]).decrypt(vector["enc"], vector["appid"])
    assert plain.decode() == vector["plain"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_wechatpy_decrypts_our_messages(message):
    sealed = Key(KEY).encrypt(message, APP_ID)
    theirs = PrpCrypto(base64.b64decode(KEY + "="))
    assert theirs.decrypt(sealed, APP_ID) in (message.encode(), message)
    assert Key(KEY).decrypt(sealed, APP_ID) == message.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_we_decrypt_wechatpy_s_messages(message):
    theirs = PrpCrypto(base64.b64decode(KEY + "="))
    sealed = theirs.encrypt(message, APP_ID)
    text = sealed.decode() if isinstance(sealed, bytes) else sealed
    assert Key(KEY).decrypt(text, APP_ID) == message.encode()


def raw(plain: bytes) -> str:
    """Encrypt without adding any framing."""
    key = base64.b64decode(KEY + "=")
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


SEALED = Key(KEY).encrypt("你好", APP_ID)


MALFORMED = {
    "empty": "",
    "not base64": "not base64!",
    "not ASCII": "天",
    "one block short": SEALED[:-4],
    "four characters more": SEALED + "AAAA",
    "31 bytes": base64.b64encode(b"x" * 31).decode(),
    "32 bytes of nonsense": base64.b64encode(b"x" * 32).decode(),
    "padding of 0": raw(b"\x00" * 32),
    "padding of 33": raw(b"\x21" * 64),
    "length of 0": raw(b"x" * 16 + b"\x00\x00\x00\x00" + b"\x0c" * 12),
    "length of 4 GiB": raw(b"x" * 16 + b"\xff\xff\xff\xff" + b"\x0c" * 12),
    "uneven padding": raw(b"x" * 31 + b"\x02"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_every_malformed_message_raises_the_same_error(name):
    with pytest.raises(Undecipherable) as raised:
        Key(KEY).decrypt(MALFORMED[name], APP_ID)
    assert str(raised.value) == "the message cannot be decrypted"
    assert raised.value.__cause__ is None


def test_a_message_for_another_app_is_rejected():
    with pytest.raises(Undecipherable):
        Key(KEY).decrypt(SEALED, "wxanother")


def test_a_message_encrypted_with_another_key_is_rejected():
    with pytest.raises(Undecipherable):
        Key(KEY[::-1].replace("G", "A", 1)).decrypt(SEALED, APP_ID)


def test_the_repr_of_a_key_hides_it():
    assert KEY not in repr(Key(KEY))
