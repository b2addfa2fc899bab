"""Telling people by webhook or mail: the UID of a study and what it is about, no patient.

Critical findings, next steps on their day, and second opinions that somebody is asked for or gets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Protocol

import httpx2

from hoichan.adapters.notice_rows import Notice
from hoichan.adapters.reminders_sql import Reminder
from hoichan.adapters.tls import client_context
from hoichan.errors import Unreachable
from hoichan.settings import AnyChannel, EmailChannel, WebhookChannel

SIGNATURE = "Hoichan-Signature"  # t=<seconds since 1970>,v1=<hex of HMAC-SHA256 over "t.body">

_WITHDRAWN = {
    "vi": "[Hội Chẩn] Bác sĩ ĐÃ RÚT LẠI kết quả có phát hiện nguy kịch",
    "en": "[Hội Chẩn] A physician WITHDREW the report of a critical finding",
}
_SUBJECT = {
    ("vi", True): "[Hội Chẩn] Phát hiện nguy kịch, bác sĩ đã ký",
    ("vi", False): "[Hội Chẩn] AI nghi ngờ phát hiện nguy kịch, CHƯA bác sĩ nào xác nhận",
    ("en", True): "[Hội Chẩn] Critical finding, signed by a physician",
    ("en", False): "[Hội Chẩn] AI suspects a critical finding, NOT confirmed by any physician",
}
_TAKEN_BACK = {
    "vi": "[Hội Chẩn] AI nghi ngờ phát hiện nguy kịch, kết quả ĐÃ BỊ LOẠI BỎ tại hệ thống lưu trữ hình ảnh",
    "en": "[Hội Chẩn] AI suspected a critical finding, the image archive REJECTED that result",
}
_BODY = {
    "vi": "Ca chụp: {study}\nThông báo số {number}\n{link}Hãy mở ca chụp và xác nhận đã nhận thông báo.\n",
    "en": "Study: {study}\nNotice {number}\n{link}Open the study and acknowledge this notice.\n",
}


_REMINDED = {
    ("vi", "due"): "[Hội Chẩn] Việc theo dõi đến hạn",
    ("vi", "asked"): "[Hội Chẩn] Có câu hỏi hội chẩn chờ trả lời",
    ("vi", "answered"): "[Hội Chẩn] Câu hỏi hội chẩn đã có trả lời",
    ("en", "due"): "[Hội Chẩn] A next step is due",
    ("en", "asked"): "[Hội Chẩn] A second opinion is asked for",
    ("en", "answered"): "[Hội Chẩn] A second opinion was given",
}
_REMINDER = {
    "vi": "Ca chụp: {study}\nSố {number}, người nhận việc: {user}\n{link}",
    "en": "Study: {study}\nNumber {number}, for: {user}\n{link}",
}


class Teller(Protocol):
    """Tells people. Raises Unreachable for whatever did not arrive: it is tried again."""

    def tell(self, notice: Notice, now: datetime) -> str:
        """Returns what the other side said, without anything of a patient."""

    def remind(self, reminder: Reminder, now: datetime) -> str:
        """The same for a next step on its day, or an opinion that is asked for."""


def teller_of(channel: AnyChannel, language: str) -> Teller:
    """What tells by a channel of the settings."""
    match channel:
        case WebhookChannel():
            return Webhook(channel)
        case EmailChannel():
            return Mail(channel, language)


def people_of(channel: AnyChannel) -> Sequence[str]:
    """Whom a channel reaches, as far as the settings say; () for a webhook."""
    return channel.to if isinstance(channel, EmailChannel) else ()


def signature(secret: str, body: bytes, now: datetime) -> str:
    """The value of the header that shows who sent a body, and when."""
    seconds = str(int(now.timestamp()))
    mac = hmac.digest(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hex()
    return f"t={seconds},v1={mac}"


class Webhook:
    """HTTPS POST of JSON. A second POST of the same `notice` says the same thing again."""

    def __init__(self, channel: WebhookChannel, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._channel = channel
        self._transport = transport

    def tell(self, notice: Notice, now: datetime) -> str:
        """See Teller."""
        channel = self._channel
        said = {
            "notice": notice.number,
            "study_instance_uid": notice.study_instance_uid,
            "level": "critical",
            "confirmed": notice.confirmed,
            "withdrawn": notice.is_withdrawal,
            "taken_back": notice.taken_back,
        }
        if channel.link:
            said["link"] = _link(channel, notice.study_instance_uid)
        return self._post(said, now)

    def remind(self, reminder: Reminder, now: datetime) -> str:
        """See Teller."""
        said = {
            "reminder": reminder.number,
            "study_instance_uid": reminder.study_instance_uid,
            "kind": reminder.what,
            "for": reminder.user,
        }
        if reminder.place:
            said["answer"] = reminder.place
        if self._channel.link:
            said["link"] = _link(self._channel, reminder.study_instance_uid)
        return self._post(said, now)

    def _post(self, said: Mapping[str, object], now: datetime) -> str:
        channel = self._channel
        body = json.dumps(said).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(channel.secret.get_secret_value(), body, now),
        }
        try:
            verify: Any = client_context(channel.tls) if channel.tls is not None else True
            with httpx2.Client(
                timeout=channel.timeout_seconds,
                transport=self._transport,
                verify=verify,
                follow_redirects=False,
            ) as client:
                answer = client.post(str(channel.url), content=body, headers=headers)
        except (httpx2.HTTPError, OSError) as error:  # their texts have the URL, which may hold a secret
            raise Unreachable(channel.name, type(error).__name__) from None
        if not answer.is_success:
            raise Unreachable(channel.name, f"HTTP {answer.status_code}")
        return f"HTTP {answer.status_code}"


class Mail:
    """One message to all addresses of the channel."""

    def __init__(self, channel: EmailChannel, language: str) -> None:
        self._channel = channel
        self._language = language

    def tell(self, notice: Notice, now: datetime) -> str:
        """See Teller. Where the server takes the message for some addresses only, it is sent again to all."""
        return self._send(self._message(notice, now))

    def remind(self, reminder: Reminder, now: datetime) -> str:
        """See Teller. To the person's own address, where the settings have one."""
        channel, uid = self._channel, reminder.study_instance_uid
        link = _link(channel, uid)
        subject = _REMINDED[self._language, reminder.what]
        which = f".{reminder.place}" if reminder.place else ""
        identity = f"{reminder.what}-{reminder.number}{which}-{uid}"
        message = self._envelope(subject, now, identity)
        message["To"] = channel.people.get(reminder.user) or ", ".join(channel.to)
        body = _REMINDER[self._language].format(
            study=uid, number=reminder.number, user=reminder.user, link=f"{link}\n" if link else ""
        )
        message.set_content(f"{subject}.\n\n{body}")
        return self._send(message)

    def _send(self, message: EmailMessage) -> str:
        channel = self._channel
        try:
            with self._server() as server:
                if channel.username:
                    server.login(channel.username, channel.password.get_secret_value())
                refused = server.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise Unreachable(channel.name, f"SMTP {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unreachable(channel.name, type(error).__name__) from None
        if refused:
            raise Unreachable(channel.name, f"SMTP refused {len(refused)} addresses")
        return "SMTP 250"

    def _server(self) -> smtplib.SMTP:
        channel = self._channel
        if channel.security == "none":
            return smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_seconds)
        context = client_context(channel.tls) if channel.tls is not None else ssl.create_default_context()
        if channel.security == "tls":
            return smtplib.SMTP_SSL(
                channel.host, channel.port, timeout=channel.timeout_seconds, context=context
            )
        server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_seconds)
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, notice: Notice, now: datetime) -> EmailMessage:
        channel, link = self._channel, _link(self._channel, notice.study_instance_uid)
        subject = _SUBJECT[self._language, notice.confirmed]
        if notice.is_withdrawal or notice.taken_back:
            subject = (_WITHDRAWN if notice.is_withdrawal else _TAKEN_BACK)[self._language]
        message = self._envelope(subject, now, f"notice-{notice.number}-{notice.report_uid}")
        message["To"] = ", ".join(channel.to)
        body = _BODY[self._language].format(
            study=notice.study_instance_uid, number=notice.number, link=f"{link}\n" if link else ""
        )
        message.set_content(f"{subject}.\n\n{body}")
        return message

    def _envelope(self, subject: str, now: datetime, identity: str) -> EmailMessage:
        """`identity`: the same each time, so that a mail that came twice is one."""
        message = EmailMessage()
        message["Subject"] = subject
        message["From"] = self._channel.sender
        message["Date"] = now
        message["Message-ID"] = f"<{identity}@{self._channel.sender.partition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a machine
        return message


def _link(channel: AnyChannel, study: str) -> str:
    return channel.link.replace("{study_instance_uid}", study)
