"""What leaves by webhook and mail, as the other side gets it."""

from __future__ import annotations

import hashlib
import hmac
import json
import socketserver
import threading
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_string
from email.policy import default

import httpx2
import pytest

from hoichan.adapters.notice_channels import SIGNATURE, Mail, Webhook, signature
from hoichan.adapters.notices_sql import Notice
from hoichan.errors import ConfigurationError, Unreachable
from hoichan.reporting.notices import NoticeState
from hoichan.settings import EmailChannel, WebhookChannel, load
from hoichan.testing.ports import FakeClock

NOW = FakeClock().now()
NOTICE = Notice(
    number=7,
    study_instance_uid="1.2.3",
    report_uid="1.2.3.9",
    confirmed=False,
    critical=("pneumothorax",),
    state=NoticeState.OPEN,
    born_at=NOW,
    calling_ae_title="CR",
)
SECRET = "0123456789abcdef"
LINK = "https://ai.example/studies/{study_instance_uid}"


def webhook(answer):
    channel = WebhookChannel(
        kind="webhook", name="pager", url="https://pager.example/x", secret=SECRET, link=LINK
    )
    return Webhook(channel, transport=httpx2.MockTransport(answer))


def test_a_webhook_gets_uid_and_level_and_can_check_who_sent_it():
    asked = []

    def answer(request):
        asked.append(request)
        return httpx2.Response(202)

    assert webhook(answer).tell(NOTICE, NOW) == "HTTP 202"
    (request,) = asked
    assert json.loads(request.content) == {
        "notice": 7,
        "study_instance_uid": "1.2.3",
        "level": "critical",
        "confirmed": False,
        "withdrawn": False,
        "taken_back": False,
        "link": "https://ai.example/studies/1.2.3",
    }
    assert request.headers[SIGNATURE] == signature(SECRET, request.content, NOW)


def test_the_signature_is_what_the_documentation_says():
    expected = hmac.new(b"0123456789abcdef", b"%d.{}" % int(NOW.timestamp()), hashlib.sha256).hexdigest()
    assert signature(SECRET, b"{}", NOW) == f"t={int(NOW.timestamp())},v1={expected}"
    assert signature("another secret !!", b"{}", NOW) != signature(SECRET, b"{}", NOW)


@pytest.mark.parametrize("status", [302, 400, 500])
def test_any_other_answer_is_tried_again(status):
    with pytest.raises(Unreachable) as caught:
        webhook(lambda request: httpx2.Response(status)).tell(NOTICE, NOW)
    assert caught.value.detail == f"HTTP {status}"


class _Session(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as one message needs."""

    timeout = 60

    def handle(self):
        self.say("220 test")
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "EHLO":
                self.say("250 test")
            elif verb == "RCPT" and self.server.refuse in line:
                self.say("550 unknown")
            elif verb == "DATA":
                self.say("354 go on")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += self.rfile.readline()
                self.server.taken.append(text.decode())
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())


@contextmanager
def a_mail_server(refuse="@nowhere"):
    with socketserver.TCPServer(("127.0.0.1", 0), _Session) as server:
        server.taken, server.refuse = [], refuse
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(60)


def mail(server, language="en", to=("chief@example.org",)):
    port = server.server_address[1]
    return Mail(
        EmailChannel(
            kind="email",
            name="chief",
            host="127.0.0.1",
            port=port,
            security="none",
            sender="ai@example.org",
            to=to,
            link=LINK,
            timeout_seconds=60,
        ),
        language,
    )


def test_a_mail_says_whose_word_it_is_and_links_to_the_study():
    with a_mail_server() as server:
        assert mail(server).tell(NOTICE, NOW) == "SMTP 250"
    (text,) = server.taken
    assert "Message-ID: <notice-7-1.2.3.9@example.org>" in text
    assert "NOT confirmed" in text.replace("\r\n", " ")
    assert "https://ai.example/studies/1.2.3" in text
    assert "pneumothorax" not in text


@pytest.mark.parametrize(
    ("language", "words"), [("en", "REJECTED that result"), ("vi", "ĐÃ BỊ LOẠI BỎ tại hệ thống lưu trữ")]
)
def test_a_mail_about_a_result_that_was_taken_back_says_so(language, words):
    with a_mail_server() as server:
        mail(server, language).tell(replace(NOTICE, taken_back=True), NOW)
    subject = message_from_string(server.taken[0], policy=default)["Subject"]
    assert words in subject and "NOT confirmed" not in subject


def test_a_mail_that_one_address_did_not_get_is_tried_again():
    with a_mail_server(refuse="lost@") as server, pytest.raises(Unreachable) as caught:
        mail(server, to=("chief@example.org", "lost@example.org")).tell(NOTICE, NOW)
    assert caught.value.detail == "SMTP refused 1 addresses"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('kind = "webhook"\nname = "a"\nurl = "http://pager/x"\nsecret = "0123456789abcdef"', "https"),
        ('kind = "webhook"\nname = "a"\nurl = "https://pager/x"\nsecret = "short"', "16"),
        ('kind = "email"\nname = "a"\nhost = "m"\nsender = "a@b"\nto = []', "to"),
        ('kind = "email"\nname = "a"\nhost = "m"\nsender = "a@b\\nBcc: x@y"\nto = ["a@b"]', "sender"),
        (
            'kind = "email"\nname = "a"\nhost = "m"\nsender = "a@b"\nto = ["a@b"]\n'
            'security = "none"\nusername = "u"',
            "password",
        ),
    ],
)
def test_settings_that_would_leak_or_tell_nobody_are_refused(tmp_path, text, wrong):
    file = tmp_path / "hoichan.toml"
    file.write_text(f"[[notices]]\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=wrong):
        load(file, environment={})
