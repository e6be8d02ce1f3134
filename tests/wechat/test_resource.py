"""The webhook over HTTP, backed by fake conversations."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, succeed
from twisted.web.resource import Resource

from tests.support.field import FIELD
from tests.wechat.test_envelope import BAD, TEXT, message
from wxgptd.ports.wechat import Ignore, Say, Silence
from wxgptd.wechat import crypto, envelope, signature
from wxgptd.wechat.resource import WebhookResource
from wxgptd.wechat.signature import Freshness
from wxgptd.wechat.webhook import Credentials, Onward, Webhook

NOW = 1_700_000_000
TOKEN = "token"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OLD_KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
APP_ID = "wx0123456789abcdef"


class FakeConversations:
    """Implements `wxgptd.ports.wechat.Conversations` with the outcome that the test sets."""

    def __init__(self, outcome=None) -> None:
        self.outcome = outcome
        self.attempts: list = []
        self.cancelled = 0

    def attempt(self, user, delivery, content, sent_at, relay=None):
        self.attempts.append((user, delivery, content))
        if self.outcome is not None:
            return succeed(self.outcome)

        def cancelled(_):
            self.cancelled += 1

        return Deferred(cancelled)


class Hook:
    def __init__(self, outcome=None, keys=()) -> None:
        self.answerer = FakeConversations(outcome)
        self.forwarded: list = []
        self.answered = None
        credentials = Credentials(
            "main", TOKEN, APP_ID if keys else "", [crypto.Key(k) for k in keys]
        )
        webhook = Webhook(
            credentials,
            self.answerer,
            freshness=Freshness(lambda: NOW, 300.0),
            onward=Onward(self.forward, self.forward),
            secret=b"s" * 32,
            rejected=lambda account, kind: None,
        )
        root = Resource()
        root.putChild(b"wx", WebhookResource(webhook))
        self.http = StubTreq(root)

    def forward(self, url, original, _arrived):
        self.forwarded.append((url, original))
        return succeed(self.answered)

    def ask(self, method: str, query: dict, body: bytes = b""):
        results: list = []
        url = f"http://test.invalid/wx?{urlencode(query)}"
        self.http.request(method, url, data=body).addBoth(results.append)
        self.http.flush()
        if not results:
            return None
        response, text = results[0], []
        if not hasattr(response, "code"):
            return response
        self.http.content(response).addBoth(text.append)
        self.http.flush()
        return response.code, text[0]

    def post(self, body: bytes = TEXT, **changes):
        return self.ask("POST", {**signed(), **changes}, body)


def signed(nonce: str = "n1", **more: str) -> dict[str, str]:
    return {
        "signature": signature.sign(TOKEN, str(NOW), nonce),
        "timestamp": str(NOW),
        "nonce": nonce,
        "openid": "oUser",
        **more,
    }


def sealed(body: bytes, key: str = KEY, nonce: str = "n1") -> tuple[dict[str, str], bytes]:
    encrypted = crypto.Key(key).encrypt(body.decode(), APP_ID)
    query = signed(nonce, encrypt_type="aes")
    query["msg_signature"] = signature.sign(TOKEN, str(NOW), nonce, encrypted)
    wrapped = f"<xml><ToUserName>gh_1</ToUserName><Encrypt>{encrypted}</Encrypt></xml>"
    return query, wrapped.encode()


def test_wechat_s_url_verification_is_echoed():
    assert Hook().ask("GET", signed(echostr="echo<>&")) == (200, b"echo<>&")


@pytest.mark.parametrize(
    "changes", [{"signature": "0" * 40}, {"timestamp": "1"}, {"echostr": None}]
)
def test_an_unsigned_url_verification_is_rejected(changes):
    query = {k: v for k, v in {**signed(echostr="e"), **changes}.items() if v is not None}
    assert Hook().ask("GET", query)[0] == 403


def test_a_reply_is_addressed_to_the_sender():
    code, body = Hook(Say("你好 ]]>")).post()
    fields = envelope.parse(body)
    assert code == 200
    assert fields["ToUserName"] == "oUser"
    assert fields["FromUserName"] == "gh_1"
    assert fields["CreateTime"] == str(NOW)
    assert fields["Content"] == "你好 ]]>"


def test_an_ignored_message_is_answered_with_success():
    assert Hook(Ignore()).post() == (200, b"success")


def test_silence_closes_the_connection_without_a_response():
    failure = Hook(Silence()).post()
    assert not isinstance(failure, tuple)


def test_a_peer_that_hangs_up_cancels_its_own_attempt():
    hook = Hook()
    assert hook.post() is None
    for pump in list(hook.http._agent._pumps):
        pump.clientIO.abortConnection()
    hook.http.flush()
    assert hook.answerer.cancelled == 1


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_malformed_body_gets_a_400_and_starts_no_attempt(body):
    hook = Hook(Ignore())
    assert hook.post(body)[0] == 400
    assert hook.answerer.attempts == []


def test_a_forged_message_gets_a_403_and_starts_no_attempt():
    hook = Hook(Ignore())
    assert hook.post(signature="0" * 40)[0] == 403
    assert hook.answerer.attempts == []


def test_a_signature_may_be_reused_only_for_the_same_message():
    hook = Hook(Ignore())
    assert hook.post()[0] == 200
    assert hook.post()[0] == 200
    other = message("<MsgType>text</MsgType><Content>x</Content><MsgId>2</MsgId>")
    assert hook.post(other)[0] == 403
    assert len(hook.answerer.attempts) == 2


# Safe mode.


def test_an_encrypted_message_gets_an_encrypted_reply():
    hook = Hook(Say("你好"), keys=[KEY])
    code, body = hook.ask("POST", *sealed(TEXT))
    fields = envelope.parse(body)
    assert code == 200
    expected = signature.sign(TOKEN, fields["TimeStamp"], fields["Nonce"], fields["Encrypt"])
    assert fields["MsgSignature"] == expected
    inner = envelope.parse(crypto.Key(KEY).decrypt(fields["Encrypt"], APP_ID))
    assert inner["Content"] == "你好"


def test_during_a_key_change_a_reply_uses_the_key_of_its_message():
    hook = Hook(Say("你好"), keys=[KEY, OLD_KEY])
    for key in (KEY, OLD_KEY):
        _, body = hook.ask("POST", *sealed(TEXT, key, nonce=key[:8]))
        encrypted = envelope.parse(body)["Encrypt"]
        inner = envelope.parse(crypto.Key(key).decrypt(encrypted, APP_ID))
        assert inner["Content"] == "你好"


def test_plain_text_is_rejected_if_a_key_is_configured():
    hook = Hook(Ignore(), keys=[KEY])
    assert hook.post()[0] == 403
    assert hook.post(encrypt_type="raw")[0] == 403
    assert hook.answerer.attempts == []


@pytest.mark.parametrize("body", [b"no xml", b"<xml><a/><a/></xml>"])
def test_every_failure_in_safe_mode_looks_the_same(body):
    hook = Hook(Ignore(), keys=[KEY])
    assert hook.ask("POST", *sealed(body)) == (403, b"")
    query, wrapped = sealed(TEXT, OLD_KEY)
    assert hook.ask("POST", query, wrapped) == (403, b"")


def test_the_repr_of_credentials_hides_the_token():
    assert TOKEN not in repr(Credentials("main", TOKEN, "", []))


def test_an_unexpected_error_closes_the_connection_without_a_status(logged):
    hook = Hook()

    def fail(*_):
        raise RuntimeError("a bug")

    hook.answerer.attempt = fail
    assert not hasattr(hook.post(), "code")
    assert not isinstance(hook.post(), tuple)
    assert any("a bug" in line for line in logged())


CASE = FIELD / "14-safe-mode-without-its-key"
SEALED = b"<xml><ToUserName>gh_1</ToUserName><Encrypt>QUJD</Encrypt></xml>"


@pytest.mark.parametrize("body", [(CASE / "safe-text.xml").read_bytes(), SEALED])
def test_an_encrypted_message_without_a_configured_key_is_reported(body):
    hook = Hook(Ignore())
    status, response = hook.post(body, encrypt_type="aes")
    assert status == 400
    assert "no aes_key" in response.decode()
    assert "EncodingAESKey" in response.decode()
    assert hook.answerer.attempts == []


def test_a_compatible_mode_message_is_read_as_plain_text():
    hook = Hook(Ignore())
    assert hook.post((CASE / "safe-compat-passes.xml").read_bytes(), encrypt_type="aes")[0] == 200
    assert len(hook.answerer.attempts) == 1
