"""The webhook over HTTP, with somebody else answering the messages."""

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
from wxgptd.wechat.resource import Credentials, Webhook
from wxgptd.wechat.signature import Freshness

NOW = 1_700_000_000
TOKEN = "token"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OLD_KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
APP_ID = "wx0123456789abcdef"


class Answerer:
    """Implements `wxgptd.ports.wechat.Conversations` by what the test says."""

    def __init__(self, outcome=None) -> None:
        self.outcome = outcome
        self.attempts: list = []
        self.cancelled = 0

    def attempt(self, user, delivery, content, sent_at):
        self.attempts.append((user, delivery, content))
        if self.outcome is not None:
            return succeed(self.outcome)

        def cancelled(_):
            self.cancelled += 1

        return Deferred(cancelled)


class Hook:
    def __init__(self, outcome=None, keys=()) -> None:
        self.answerer = Answerer(outcome)
        self.forwarded: list = []
        self.answered = None
        credentials = Credentials(
            "main", TOKEN, APP_ID if keys else "", [crypto.Key(k) for k in keys]
        )
        webhook = Webhook(
            credentials,
            self.answerer,
            freshness=Freshness(lambda: NOW, 300.0),
            forward=self.forward,
            secret=b"s" * 32,
            rejected=lambda account, kind: None,
        )
        root = Resource()
        root.putChild(b"wx", webhook)
        self.http = StubTreq(root)

    def forward(self, url, original, _arrived):
        self.forwarded.append((url, original))
        return succeed(self.answered)

    def ask(self, method: str, query: dict, body: bytes = b""):
        found: list = []
        url = f"http://test.invalid/wx?{urlencode(query)}"
        self.http.request(method, url, data=body).addBoth(found.append)
        self.http.flush()
        if not found:
            return None
        response, text = found[0], []
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


def test_wechat_s_check_of_the_url_gets_its_echo():
    assert Hook().ask("GET", signed(echostr="echo<>&")) == (200, b"echo<>&")


@pytest.mark.parametrize(
    "changes", [{"signature": "0" * 40}, {"timestamp": "1"}, {"echostr": None}]
)
def test_a_check_by_somebody_else_is_refused(changes):
    query = {k: v for k, v in {**signed(echostr="e"), **changes}.items() if v is not None}
    assert Hook().ask("GET", query)[0] == 403


def test_a_reply_goes_back_to_whom_it_came_from():
    code, body = Hook(Say("你好 ]]>")).post()
    fields = envelope.parse(body)
    assert code == 200
    assert fields["ToUserName"] == "oUser"
    assert fields["FromUserName"] == "gh_1"
    assert fields["CreateTime"] == str(NOW)
    assert fields["Content"] == "你好 ]]>"


def test_what_is_not_for_us_is_success():
    assert Hook(Ignore()).post() == (200, b"success")


def test_silence_closes_the_connection_without_a_byte():
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
def test_a_malformed_body_is_a_400_and_nobody_is_asked(body):
    hook = Hook(Ignore())
    assert hook.post(body)[0] == 400
    assert hook.answerer.attempts == []


def test_a_forged_message_is_a_403_and_nobody_is_asked():
    hook = Hook(Ignore())
    assert hook.post(signature="0" * 40)[0] == 403
    assert hook.answerer.attempts == []


def test_a_signature_is_good_for_one_message_as_often_as_it_comes():
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


def test_while_a_key_is_changed_the_reply_is_made_with_the_one_that_fits():
    hook = Hook(Say("你好"), keys=[KEY, OLD_KEY])
    for key in (KEY, OLD_KEY):
        _, body = hook.ask("POST", *sealed(TEXT, key, nonce=key[:8]))
        encrypted = envelope.parse(body)["Encrypt"]
        inner = envelope.parse(crypto.Key(key).decrypt(encrypted, APP_ID))
        assert inner["Content"] == "你好"


def test_with_a_key_configured_plain_text_is_refused():
    hook = Hook(Ignore(), keys=[KEY])
    assert hook.post()[0] == 403
    assert hook.post(encrypt_type="raw")[0] == 403
    assert hook.answerer.attempts == []


@pytest.mark.parametrize("body", [b"no xml", b"<xml><a/><a/></xml>"])
def test_all_that_fails_in_safe_mode_looks_the_same(body):
    hook = Hook(Ignore(), keys=[KEY])
    assert hook.ask("POST", *sealed(body)) == (403, b"")
    query, wrapped = sealed(TEXT, OLD_KEY)
    assert hook.ask("POST", query, wrapped) == (403, b"")


def test_credentials_show_themselves_to_nobody():
    assert TOKEN not in repr(Credentials("main", TOKEN, "", []))


def test_whatever_goes_wrong_no_error_status_is_sent(logged):
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
def test_an_encrypted_message_without_a_key_is_named_as_that(body):
    hook = Hook(Ignore())
    status, said = hook.post(body, encrypt_type="aes")
    assert status == 400
    assert "no aes_key" in said.decode()
    assert "EncodingAESKey" in said.decode()
    assert hook.answerer.attempts == []


def test_in_compatible_mode_the_plain_message_is_taken():
    hook = Hook(Ignore())
    assert hook.post((CASE / "safe-compat-passes.xml").read_bytes(), encrypt_type="aes")[0] == 200
    assert len(hook.answerer.attempts) == 1
