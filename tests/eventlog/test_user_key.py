"""A user's key: no nonce is ever used twice."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.builders import ALICE
from wxgptd.eventlog.user_key import KEY_BYTES, NONCES_DRAWN, UserKey

NONCE_BYTES = 12


def nonces(key: UserKey, count: int) -> list[bytes]:
    return [key.seal(b"text")[:NONCE_BYTES] for _ in range(count)]


def test_a_nonce_is_used_once():
    key = UserKey("main:0123456789abcdef", ALICE, b"k" * KEY_BYTES)
    drawn = nonces(key, 3 * NONCES_DRAWN)
    assert len(set(drawn)) == len(drawn)


def test_threads_use_different_nonces():
    key = UserKey("main:0123456789abcdef", ALICE, b"k" * KEY_BYTES)
    drawn: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: drawn.extend(nonces(key, 2 * NONCES_DRAWN)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 8 * NONCES_DRAWN


@pytest.mark.processes
def test_a_forked_process_uses_nonces_of_its_own():
    key = UserKey("main:0123456789abcdef", ALICE, b"k" * KEY_BYTES)
    nonces(key, 1)  # fills the stock
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, b"".join(nonces(key, 10)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read_end, 10 * NONCE_BYTES)
    os.close(read_end)
    os.close(write_end)
    drawn = [theirs[at : at + NONCE_BYTES] for at in range(0, len(theirs), NONCE_BYTES)]
    assert len(set(drawn + nonces(key, 10))) == 20
