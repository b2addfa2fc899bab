"""A site that signs with certificates: what is kept, proved later, and never kept without one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.page_seal import PageSeal, digest
from hoichan.adapters.schema import documents
from hoichan.guard.audit import Audited
from hoichan.settings import Pades
from hoichan.testing.authority import SECRET, SigningAuthority
from hoichan.types import DocumentKind
from service.cli import app as commands
from service.reviews_check import check_reviews
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_reading import Room, signed


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    made.record.clock.advance((datetime.now(UTC) - made.record.clock.now()).total_seconds())
    with SigningAuthority().running() as authority:
        made.authority = authority
        made.doctor = authority.issue("Lê Minh Châu")
        made.pades = Pades.model_validate(
            {
                "certificates": [
                    {
                        "accounts": ["bs.chau"],
                        "pkcs12": made.doctor.pkcs12(tmp_path / "chau.p12"),
                        "secret": SECRET,
                    }
                ],
                "roots": [authority.root(tmp_path / "root.crt")],
            }
        )
        settings = made.record.settings.model_copy(update={"pades": made.pades})
        made.record = replace(made.record, settings=settings)
        made.app = an_app(made.record)
        yield made
    made.record.engine.dispose()


def test_what_was_signed_is_proved_by_its_own_bytes(room, tmp_path):
    with room.client() as client:
        answer = signed(client)
    assert answer.status_code == 200, answer.text
    uid = answer.json()["report_uid"]
    page = room.reviews.signed_page(uid)
    (review,) = room.reviews.reviews(room.uid)
    seal = PageSeal(room.pades)
    assert seal.check(page, review).problem == ""
    _, lines = room.record.audit.search(Wanted(what=Audited.RESULT_SIGNED), limit=5)
    assert lines[0].record.detail == f"final {review.content_sha256} {digest(page)}"
    checked = check_reviews(room.reviews, room.record.audit, seal)
    assert (checked.sealed_pages, checked.bad_pages, checked.is_intact) == (1, (), True)
    told = CliRunner().invoke(commands, ["audit", "verify", "--data-dir", str(tmp_path)])
    assert (told.exit_code, "1 of 1 pages" in told.stdout) == (0, True), told.stdout


def test_a_page_that_was_exchanged_is_seen(room, tmp_path):
    with room.client() as client:
        uid = signed(client).json()["report_uid"]
    with room.record.engine.begin() as connection:
        connection.execute(
            documents.update()
            .where(documents.c.report_uid == uid, documents.c.kind == DocumentKind.FHIR)
            .values(sha256="0" * 64)
        )
    assert check_reviews(room.reviews, room.record.audit).bad_pages == ((uid, "gone"),)
    told = CliRunner().invoke(commands, ["audit", "verify", "--json", "--data-dir", str(tmp_path)])
    assert (told.exit_code, json.loads(told.stdout)["bad_pages"]) == (1, {uid: "gone"})


def test_nothing_is_signed_without_a_good_certificate(room):
    room.authority.revoke(room.doctor)
    with room.client() as client:
        answer = signed(client)
    assert (answer.status_code, answer.json()["code"]) == (403, "review.certificate_refused")
    assert room.reviews.reviews(room.uid) == ()
    assert room.reviews.draft(room.uid) is not None
    with room.record.engine.connect() as connection:
        kinds = connection.execute(sa.select(documents.c.report_uid)).scalars().all()
    assert set(kinds) == {room.report.report_uid}
    _, lines = room.record.audit.search(Wanted(what=Audited.RESULT_SIGNED), limit=5)
    assert [line.record.detail for line in lines] == ["refused review.certificate_refused"]
