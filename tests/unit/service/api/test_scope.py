"""Accounts that are bound to facilities, asked from outside: every route, every list, and break-glass."""

import re
import shutil
from dataclasses import replace
from datetime import date, timedelta
from http import HTTPStatus

import pytest
from fastapi.testclient import TestClient

from hoichan.adapters.access_sql import AccessSql
from hoichan.adapters.audit_sql import Wanted
from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.matches_sql import NO_MATCH
from hoichan.guard.audit import Audited, Outcome
from hoichan.guard.roles import OF_THE_WHOLE_SITE, Action, Role, may
from hoichan.privacy import Phi
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_study, as_bytes
from hoichan.testing.reading import PEOPLE, a_record, add_user, arrive, assemble, report
from service.api.caller import SESSION, token_of
from service.api.gate import NARROWED, OF_NO_STUDY, ROUTES
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}
FACILITIES = [{"code": "79001", "senders": ["CR_ROOM1"]}, {"code": "79002", "senders": ["CR_DISTRICT"]}]
OWN, OTHER = "own", "other"
REASON = {"reason": "emergency", "words": "Người bệnh đang ngừng thở tại phòng cấp cứu"}


class Site:
    """Two studies of one facility, one of another, and accounts bound to either, to none, or to all."""

    def __init__(self, folder):
        settings = Settings.model_validate(
            {"storage": {"data_dir": folder, "reserve_bytes": 0}, "facilities": FACILITIES}
        )
        self.record = a_record(folder, settings)
        films = folder / "films"
        films.mkdir()
        (films / "film.dcm").write_bytes(as_bytes(a_film()))
        encoder = DocumentEncoder(FolderOfFilms(films), settings)
        self.uids, self.reports = {}, {}
        for number, (which, sender) in enumerate(((OTHER, "CR_ROOM1"), (OWN, "CR_DISTRICT"))):
            study = arrive(self.record, which, person=PEOPLE[number], sender=sender)
            study = assemble(self.record, study)
            self.reports[which] = report(self.record, study, {"pneumothorax": 0.9}, encode=encoder.encode)
            self.uids[which] = str(study.study_instance_uid)
            self.record.studies.refused(
                f"{self.reports[which].report_uid}:emr", status=f"{NO_MATCH}: several"
            )
            stranger = a_study(a_film(f"stranger {which}"), patient_name="Lê^Bình^Thị", patient_id="BN0777")
            corrections = CorrectionsSql(self.record.engine, self.record.clock)
            patient = replace(
                stranger.patient, national_id=None, patient_birth_date=Phi(date(2001, 1, 1)), patient_sex=None
            )
            theirs = replace(stranger, study_instance_uid=study.study_instance_uid, patient=patient)
            corrections.arrived([theirs])
        assemble(self.record, arrive(self.record, "more", person=PEOPLE[2]))
        self.app = an_app(self.record)
        self.access = self.app.state.desk.access
        for role in Role:
            if role not in (Role.LOCAL, Role.PROGRAM, Role.HOLDER):
                add_user(self.record, f"{role.value}.d", role)
                self.access.bind(f"{role.value}.d", ["79002"])
        add_user(self.record, "whole", Role.RADIOLOGIST)
        add_user(self.record, "nothing", Role.RADIOLOGIST)
        closed = AccessSql(self.record.engine, self.record.clock, {"79999": frozenset()})
        closed.bind("nothing", ["79999"])  # a facility that was in the settings once
        self.client = TestClient(self.app, base_url="http://localhost", follow_redirects=False)

    def ask(self, who, method, path, **more):
        session = self.record.people.begin_session(who)
        headers = {**SAME, "Cookie": f"{SESSION}={session}", "X-CSRF-Token": token_of(session)}
        return self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    def address(self, route, which):
        made = self.reports[which]
        known = {
            "study_uid": self.uids[which],
            "user_name": "whole",
            "verb": "role",
            "resource_type": "DiagnosticReport",
            "resource_id": made.report_uid,
            "idempotency_key": f"{made.report_uid}:emr",
            "tag": "7FE00010",
            "kind": "sr",
        }
        names = set(re.findall(r"{(\w+)}", route))
        return route.format(**{name: known.get(name, "1") for name in names})

    def events(self, what, who):
        return self.record.audit.search(Wanted(what=what, who=who), limit=100)[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scope")
    site = Site(folder)
    yield site
    site.client.close()
    site.record.engine.dispose()
    shutil.rmtree(folder)


CELLS = [
    (role, method, route)
    for (method, route), wanted in ROUTES.items()
    if isinstance(wanted, Action) and route != "/logout"
    for role in (Role.RADIOLOGIST, Role.TECHNICIAN, Role.CLINICIAN, Role.IT_ADMIN, Role.AUDITOR)
    if may(role, wanted)
]


@pytest.mark.parametrize(("role", "method", "route"), CELLS, ids=str)
def test_nothing_of_another_facility_is_given_out_anywhere(site, role, method, route):
    who, wanted = f"{role.value}.d", ROUTES[method, route]
    answer = site.ask(who, method, site.address(route, OTHER))
    names_a_study = "{study_uid}" in route or "{idempotency_key}" in route
    if wanted in OF_THE_WHOLE_SITE:
        assert (answer.status_code, answer.json()["code"]) == (403, "access.forbidden")
    elif names_a_study or (route not in NARROWED and wanted not in OF_NO_STUDY):
        assert (answer.status_code, answer.json()["code"]) == (403, "access.out_of_scope")
        refused = site.events(Audited.ACCESS_REFUSED, who)
        assert any(line.record.detail == f"scope {wanted}" for line in refused)
        if "{study_uid}" in route:
            assert any(line.record.uids[:1] == (site.uids[OTHER],) for line in refused)
    else:
        assert site.uids[OTHER] not in answer.text
        assert site.reports[OTHER].report_uid not in answer.text


@pytest.mark.parametrize(
    "route", [route for method, route in ROUTES if "{study_uid}" in route and method == "GET"]
)
def test_what_is_its_own_is_open(site, route):
    wanted = ROUTES["GET", route]
    role = next(role for role in (Role.RADIOLOGIST, Role.IT_ADMIN) if may(role, wanted))
    answer = site.ask(f"{role.value}.d", "GET", site.address(route, OWN))
    assert answer.status_code != HTTPStatus.FORBIDDEN


def listed(site, who):
    """UIDs by every door that lists or finds."""
    found = {
        "list": site.ask(who, "GET", "/api/v1/studies"),
        "page": site.ask(who, "GET", "/"),
        "name": site.ask(who, "POST", "/api/v1/studies/search", json={"text": "an"}),
        "number": site.ask(who, "POST", "/api/v1/studies/search", json={"text": "BN-2026"}),
        "uid": site.ask(who, "POST", "/api/v1/studies/search", json={"text": site.uids[OTHER]}),
        "qido": site.ask(who, "GET", "/dicom-web/studies"),
        "qido uid": site.ask(who, "GET", f"/dicom-web/studies?StudyInstanceUID={site.uids[OTHER]}"),
        "series": site.ask(who, "GET", f"/dicom-web/series?StudyInstanceUID={site.uids[OTHER]}"),
        "fhir": site.ask(who, "GET", "/fhir/DiagnosticReport"),
        "imaging": site.ask(who, "GET", "/fhir/ImagingStudy"),
    }
    assert {name: answer.status_code for name, answer in found.items() if answer.status_code >= 300} == {}
    return found


def test_lists_and_searches_hold_its_own_only(site):
    whole, bound = listed(site, "whole"), listed(site, "radiologist.d")
    assert {name for name, answer in whole.items() if site.uids[OTHER] in answer.text} >= {
        *("list", "page", "number", "uid", "qido", "qido uid", "fhir", "imaging"),
    }
    assert [name for name, answer in bound.items() if site.uids[OTHER] in answer.text] == []
    assert site.uids[OWN] in bound["list"].text
    assert bound["list"].json()["total"] == 1
    assert whole["list"].json()["total"] == 3
    assert [one["study_instance_uid"] for one in bound["number"].json()["items"]] == [site.uids[OWN]]


def test_a_facility_that_the_settings_do_not_know_shows_nothing(site):
    assert site.ask("nothing", "GET", "/api/v1/studies").json()["total"] == 0
    assert site.ask("nothing", "GET", f"/api/v1/studies/{site.uids[OWN]}").status_code == 403


def test_the_page_offers_no_way_to_what_is_closed(site):
    page = site.ask("radiologist.d", "GET", "/").text
    assert 'href="/queue"' in page
    assert 'href="/upload"' not in page  # whose film that would be, no facility says
    page = site.ask("it_admin.d", "GET", "/").text
    assert 'href="/people"' not in page
    assert 'href="/routing"' not in page


def test_what_waits_for_a_person_is_its_own(site):
    def asked(who):
        queue = site.ask(who, "GET", "/api/v1/queue").json()
        questions = site.ask(who, "GET", "/api/v1/questions").json()["items"]
        unmatched = site.ask(who, "GET", "/api/v1/unmatched").json()["items"]
        letters = {one["study_instance_uid"] for one in queue["dead_letters"]}
        return (
            letters,
            {one["study_instance_uid"] for one in questions},
            {one["study_instance_uid"] for one in unmatched},
            ({one["name"] for one in queue["by_sender"]}, queue["dead"], queue["waiting"]),
        )

    own, both = {site.uids[OWN]}, {site.uids[OWN], site.uids[OTHER]}
    assert asked("radiologist.d") == (own, own, own, (set(), 1, 0))
    assert asked("whole") == (both, both, both, ({"CR_ROOM1"}, 2, 1))
    number = site.ask("whole", "GET", "/api/v1/questions").json()["items"]
    other = next(one["id"] for one in number if one["study_instance_uid"] == site.uids[OTHER])
    answer = site.ask("radiologist.d", "POST", f"/api/v1/questions/{other}", json={"take": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "question.answered")
    answer = site.ask("radiologist.d", "POST", "/api/v1/receivers/emr/replay")
    assert answer.json() == {"deliveries": 1}
    assert asked("whole")[0] == {site.uids[OTHER]}


def test_break_glass_opens_one_study_for_a_while_and_is_loud(site):
    who, uid = "clinician.d", site.uids[OTHER]
    refused = site.ask(who, "GET", f"/studies/{uid}", headers={"Accept": "text/html"})
    assert refused.status_code == 403
    assert f"/emergency?study={uid}" in refused.text
    answer = site.ask(who, "POST", "/emergency", data={"study": uid, **REASON})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{uid}")
    assert site.ask(who, "GET", f"/api/v1/studies/{uid}").status_code == 200
    assert site.ask(who, "GET", "/api/v1/studies").json()["total"] == 2  # its own, and the opened one
    assert site.ask("radiologist.d", "GET", f"/api/v1/studies/{uid}").status_code == 403  # for nobody else
    (event,) = site.events(Audited.BREAK_GLASS, who)
    assert (event.record.uids, event.record.outcome) == ((uid,), Outcome.SUCCESS)
    assert event.record.detail.startswith("emergency until ")
    assert "ngừng thở" not in event.record.detail
    last = list(site.record.reading.trail(uid))[-1]
    assert (last.event, last.details["who"], last.details["reason"]) == ("glass_broken", who, "emergency")
    site.record.clock.advance(timedelta(hours=4).total_seconds() - 1)
    assert site.ask(who, "GET", f"/api/v1/studies/{uid}").status_code == 200
    site.record.clock.advance(2)
    assert site.ask(who, "GET", f"/api/v1/studies/{uid}").status_code == 403


def test_glass_is_broken_by_a_whole_accession_number_and_by_no_part_of_one(site):
    number = site.record.reading.study(site.uids[OTHER]).entry.accession_number
    for text in (number[:-1], number + "1", "", "%", "1.2.3"):
        answer = site.ask("technician.d", "POST", "/emergency", data={"study": text, **REASON})
        assert answer.status_code == 422
    assert site.ask("technician.d", "POST", "/emergency", data={"study": number, **REASON}).status_code == 303


@pytest.mark.parametrize(
    "said", [{"words": "x"}, {"words": ". . . . . . . . . . . ."}, {"reason": "curious"}, {"reason": ""}]
)
def test_a_reason_is_asked_for(site, said):
    before = len(site.access.emergencies())
    form = {"study": site.uids[OTHER], **REASON, **said}
    assert site.ask("radiologist.d", "POST", "/emergency", data=form).status_code == 422
    assert len(site.access.emergencies()) == before


def test_who_sees_no_picture_breaks_no_glass(site):
    for who in ("it_admin.d", "auditor.d", "ml_engineer.d"):
        assert (
            site.ask(who, "POST", "/emergency", data={"study": site.uids[OTHER], **REASON}).status_code == 403
        )


def test_who_sees_all_breaks_none(site):
    before = len(site.access.emergencies())
    assert (
        site.ask("whole", "POST", "/emergency", data={"study": site.uids[OTHER], **REASON}).status_code == 303
    )
    assert len(site.access.emergencies()) == before


def test_who_looks_after_studies_learns_no_name_and_no_suggestion(site):
    add_user(site.record, "it.whole", Role.IT_ADMIN)
    for who, sees in (("it.whole", False), ("it_admin.d", False), ("whole", True)):
        listed = site.ask(who, "GET", "/api/v1/studies")
        searched = site.ask(who, "POST", "/api/v1/studies/search", json={"text": "hong thu"})
        page = site.ask(who, "GET", "/", headers={"Accept": "text/html"})
        found = site.ask(who, "POST", "/search", data={"text": "hong thu"})
        for answer in (listed, searched, page, found):
            assert answer.status_code == 200
            assert site.uids[OWN] in answer.text
            assert ("Thu Hồng" in answer.text) is sees
        for answer in (listed, page):
            words = ("pneumothorax", "Tràn khí màng phổi")
            assert any(word in answer.text for word in words) is sees
        assert "4131" in page.text  # the masked number, which is asked for on the telephone
        assert site.ask(who, "GET", "/dicom-web/studies").status_code == (200 if sees else 403)
