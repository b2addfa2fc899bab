"""Every page of the route table in a real browser: both languages, desk and phone, axe, nothing too wide.

What is walked comes from the routers themselves, so a page that is added fails here until it has a line in
`LOOKS`: who looks at it, and by which address.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse

from hoichan.adapters.corrections_sql import CorrectionsSql
from hoichan.adapters.drift_sql import DriftRow, DriftSql
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.matches_sql import NO_MATCH
from hoichan.adapters.notices_sql import NoticesSql
from hoichan.adapters.quarantine_disk import Lying
from hoichan.adapters.quarantine_sql import QuarantineSql
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.retractions_sql import RetractionsSql
from hoichan.adapters.set_aside_sql import SetAsideSql
from hoichan.adapters.spool_disk import CHANGED_CONTENT
from hoichan.analysis.drift import Drift, State
from hoichan.errors import KilledItsRecorders, NotDicom, WrongSopClass
from hoichan.guard.roles import Role
from hoichan.guard.second_factor import code_at, step_of
from hoichan.privacy import Phi
from hoichan.settings import Settings
from hoichan.testing.hl7 import order
from hoichan.testing.reading import DESTINATIONS, PASSWORD, a_record, add_user, fill
from hoichan.testing.reports import FolderOfFilms, a_film, a_study, as_bytes
from hoichan.types import DeliveryState, DocumentKind
from service.api.app import PAGE_ROUTERS
from service.api.caller import SESSION
from service.notices import Notices
from service.web.reading_room import built
from tests.peers.browser import DESK, PHONE, SHOTS, axe, marks, served
from tests.unit.service.api.asking import an_app
from tests.unit.service.api.test_messages import refuse
from tests.unit.service.api.test_reading import Room, signed

pytestmark = marks
PATIENCE_MS = 60_000
SIZES = {
    "desk": {**DESK, "color_scheme": "dark"},
    "phone": {**PHONE, "color_scheme": "light"},
}
NOT_RECORDED = "1.2.840.99.7"  # its only image killed who read it
ALL_REFUSED = "1.2.840.99.8"  # every image of it was refused
CHEST = {"name": "chest", "modalities": ["cr", "dx"], "destinations": ["emr"]}
FACILITIES = [
    {"code": "79001", "name": "Bệnh viện tỉnh", "senders": ["CR_ROOM1"]},
    {"code": "79002", "name": "Trạm y tế xã Tân Lập", "senders": ["CR_DISTRICT"]},
]


class Whole(Room):
    """A record in which every page has something to show."""

    def __init__(self, folder):
        asked = {"storage": {"data_dir": folder, "reserve_bytes": 0}, "facilities": FACILITIES}
        record = a_record(folder, Settings.model_validate(asked))
        self.record = replace(
            record, settings=record.settings.model_copy(update={"destinations": DESTINATIONS})
        )
        films = folder / "films"
        films.mkdir()
        self.film = as_bytes(a_film("film", rows=640, columns=560))
        (films / "film.dcm").write_bytes(self.film)
        self.uids = fill(self.record, encode=DocumentEncoder(FolderOfFilms(films), record.settings).encode)
        for name, role in (
            ("bs.chau", Role.RADIOLOGIST),
            ("bs.an", Role.RADIOLOGIST),
            ("bs.binh", Role.CLINICIAN),
            ("bs.ma", Role.RADIOLOGIST),
            ("ktv.an", Role.TECHNICIAN),
            ("ky.su", Role.ML_ENGINEER),
            ("it.nam", Role.IT_ADMIN),
            ("kiem.toan", Role.AUDITOR),
            ("bs.xa", Role.CLINICIAN),
        ):
            add_user(self.record, name, role)
        self.record.people.set_licence("bs.chau", full_name="Lê Minh Châu", licence_number="012345/HCM-CCHN")
        self.uid = self.uids["urgent"]
        self._films()
        aside = SetAsideSql(record.engine, record.clock)
        aside.add(NOT_RECORDED, f"{NOT_RECORDED}.1", code=KilledItsRecorders.code)
        self._refused()
        Notices(
            NoticesSql(record.engine, record.clock), record.audit, record.clock, self.record.settings
        ).step()
        self.app = an_app(self.record)
        self._questions()
        self._taken_back()
        self._matter_of_it()
        self._consultation()
        self._second_factor()

    def _films(self):
        for uid in self.uids.values():
            study = self.record.studies.current(uid)
            for image in study.instances:
                place = self.record.spool_root / image.path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(self.film)

    def _refused(self):
        quarantine = QuarantineSql(self.record.engine, self.record.clock)
        for number, (reason, study) in enumerate(
            (
                (NotDicom.code, ALL_REFUSED),
                (WrongSopClass.code, None),
                (CHANGED_CONTENT, self.uid),
            )
        ):
            one = Lying(
                reason=reason,
                sop_instance_uid=f"{ALL_REFUSED}.{number}",
                study_instance_uid=study,
                calling_ae_title="CR_ROOM1",
                received_at=self.record.clock.now(),
                size_bytes=8_123_456,
            )
            quarantine.tell(f"{number:032}", {f"20261120T08000{number}.000000Z-abcdef01.json": one})

    def _questions(self):
        stranger = a_study(a_film("stranger"), patient_name="Lê^Bình^Thị", patient_id="BN0777")
        corrections = CorrectionsSql(self.record.engine, self.record.clock)
        patient = replace(
            stranger.patient, national_id=None, patient_birth_date=Phi(date(2001, 1, 1)), patient_sex=None
        )
        corrections.arrived([replace(stranger, study_instance_uid=self.uids["nothing"], patient=patient)])
        for one in self.record.reading.study(self.uids["critical"]).deliveries:
            if one.destination == "emr":
                self.record.studies.refused(one.idempotency_key, status=f"{NO_MATCH}: several")

    def _taken_back(self):
        """A result that the archive rejected: one receiver has heard it, one refuses, one was not reached."""
        uid, studies = self.uids["nothing"], self.record.studies
        (made,) = {one.report_uid for one in self.record.reading.study(uid).deliveries}
        sr = studies.document(made, DocumentKind.SR)
        studies.take_back(uid, [sr.uid], note=f"{uid}.9", title="113001")
        taking = RetractionsSql(self.record.engine, self.record.reading.objects, self.record.clock)
        (retraction,) = taking.pending(uid)
        former = [one for one in studies.deliveries(uid) if one.report_uid == made]
        planned = [
            replace(
                one,
                report_uid=f"{uid}.10",
                idempotency_key=f"{uid}.10:{one.destination}",
                state=DeliveryState.PENDING,
                acknowledgement=None,
            )
            for one in former
        ]
        taking.keep(retraction, f"{uid}.10", conclusion={}, made=[], planned=planned)
        for number, one in enumerate(planned):
            if number == 0:
                studies.acknowledged(one.idempotency_key, f"{uid}/{'2.25.' + '9' * 39}")  # as a folder says
            elif number == 1:
                studies.refused(one.idempotency_key, status="HTTP 422 business-rule")

    def _matter_of_it(self):
        refuse(self.record, order())
        drift = Drift(
            reference_count=80, week_count=25, reference_value=0.4, week_value=0.5,
            psi=0.3, ks=0.1, p_value=0.2, state=State.ALARM,
        )  # fmt: skip
        for week in range(3):
            row = DriftRow(sender="", measure="input:brightness", version="1.0.0", drift=drift)
            DriftSql(self.record.engine).keep(
                "cxr-demo", date(2026, 10, 5) + timedelta(weeks=week), "1.0.0", [row]
            )
        with self.client("it.nam") as client:
            told = {"version": 0, "rules": [CHEST], "reason": "Phim phổi chỉ gửi về bệnh án"}
            assert client.put("http://localhost/api/v1/routing", json=told).status_code == 200
        pacs = {"kind": "dicom", "name": "pacs2", "host": "10.1.2.3", "port": 104, "ae_title": "PACS2"}
        ReceiversSql(self.record.engine, self.record.clock).write(
            [pacs, {**pacs, "name": "pacs", "active": False}],
            [{"name": "research", "to": ["pacs2"], "active": False}],
            seen=0,
            who="it.nam",
            reason="PACS mới của khoa",
        )
        access = self.app.state.desk.access
        access.bind("bs.xa", ["79002"])
        with self.client("bs.xa") as client:
            asked = {"study": self.uid, "reason": "emergency", "words": "Người bệnh đang ngừng thở tại trạm"}
            answer = client.post("http://localhost/emergency", data=asked, follow_redirects=False)
            assert answer.status_code == 303

    def _consultation(self):
        with self.client() as client:
            assert signed(client).status_code == 200
            asked = {"user": "bs.an", "words": "Đám mờ thuỳ trên phải này có phải lao không?"}
            assert client.post("opinions", json=asked).status_code == 201
            shared = client.post("shares", json={"days": 3}).json()["address"]
            self.link = shared.removeprefix("http://localhost")
            closed = client.post("shares", json={"pin": "482913"}).json()["address"]
            self.closed_link = closed.removeprefix("http://localhost")
            day = (self.record.clock.now() - timedelta(days=3)).date().isoformat()
            asked = {"finding": "pleural_effusion", "kind": "ct", "owner": "bs.binh", "due_on": day}
            assert client.post("follow-ups", json=asked).status_code == 201

    def _second_factor(self):
        factors, now = self.app.state.desk.factors, self.record.clock.now()
        assert factors.confirm("bs.ma", code_at(factors.begin("bs.ma"), step_of(now)))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Who looks, by which address, and what must have come before the page is judged."""

    who: str = ""
    path: str = ""  # "": the route itself
    waits_for: str = "main"
    by_form: bool = False  # only after a sign-in with the password


STUDY = "/studies/{study_uid}"
LOOKS = {
    "/": (
        Look(who="bs.chau"),
        Look(who="bs.xa"),
        Look(who="it.nam"),
        Look(who="bs.chau", path="/?state=signed"),
    ),
    STUDY: (
        Look(who="bs.chau", path="/studies/{critical}", waits_for=".stage"),  # not signed
        Look(who="bs.chau", path="/studies/{urgent}", waits_for=".history"),  # signed
        Look(who="bs.binh", path="/studies/{critical}", waits_for=".stage"),  # may not judge
    ),
    f"{STUDY}/record": tuple(
        Look(who="bs.chau", path=f"/studies/{{{which}}}/record")
        for which in ("critical", "urgent", "refused", "failed", "receiving")
    ),
    f"{STUDY}/trail": (
        Look(who="bs.chau"),
        Look(who="kiem.toan"),
        Look(who="it.nam", path=f"/studies/{NOT_RECORDED}/trail"),
        Look(who="it.nam", path=f"/studies/{ALL_REFUSED}/trail"),
    ),
    "/docs": (Look(who="it.nam"),),
    "/questions": (Look(who="bs.chau"),),
    "/notices": (Look(who="bs.chau"),),
    "/follow-ups": (Look(who="bs.chau"),),
    f"{STUDY}/follow-ups": (Look(who="bs.chau"),),
    "/opinions": (Look(who="bs.an"), Look(who="bs.chau")),
    f"{STUDY}/opinions": (Look(who="bs.chau"),),
    f"{STUDY}/shares": (Look(who="bs.chau"),),
    "/shared/{token}": (
        Look(path="{link}"),
        Look(path="{closed_link}"),
        Look(path="/shared/" + "x" * 43),
    ),
    "/unmatched": (Look(who="bs.chau"),),
    "/upload": (Look(who="ktv.an"),),
    "/waits": (Look(who="bs.chau"),),
    "/messages": (Look(who="it.nam"),),
    "/quarantine": (Look(who="it.nam"),),
    "/login": (Look(),),
    "/login/code": (Look(who="bs.ma", by_form=True),),
    "/account": (Look(who="bs.chau"),),
    "/account/second-factor": (Look(who="bs.chau"), Look(who="bs.ma")),
    "/emergency": (Look(who="bs.xa"),),
    "/people": (Look(who="it.nam"),),
    "/people/{user_name}": (Look(who="it.nam", path="/people/bs.xa"),),
    "/audit": (Look(who="kiem.toan"),),
    "/audit/emergencies": (Look(who="kiem.toan"),),
    "/queue": (Look(who="it.nam"),),
    "/drift": (Look(who="ky.su"),),
    "/trial": (Look(who="it.nam"),),
    f"{STUDY}/retraction": (
        Look(who="bs.chau"),
        Look(who="bs.chau", path="/studies/{nothing}/retraction", waits_for=".stacked tr:nth-child(2)"),
    ),
    "/receivers": (Look(who="it.nam", path="/receivers?kind=dicom"),),
    "/routing": (Look(who="it.nam"),),
}
NO_PAGES = {"/login/oidc", "/login/oidc/back"}  # they lead to the issuer and back; tests/peers/test_oidc.py


def pages():
    """The routes that answer with a page."""
    for router in PAGE_ROUTERS:
        for route in router.routes:
            kind = getattr(route.response_class, "value", route.response_class)
            if "GET" in route.methods and kind is HTMLResponse and route.path not in NO_PAGES:
                yield route.path


def test_every_page_has_its_look():
    assert set(LOOKS) == set(pages())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Whole(tmp_path_factory.mktemp("every-page"))
    with served(made.app) as made.base:
        yield made
    made.record.engine.dispose()


def opened(site, page, route, look, language):
    """Whatever must have come before the page is judged has come."""
    if look.by_form:
        page.goto(f"{site.base}/login?lang={language}")
        page.fill("#user_name", look.who)
        page.fill("#password", PASSWORD)
        page.click("button.primary")
        page.wait_for_selector("#code")
        return
    path = (look.path or route).format(
        study_uid=site.uid, link=site.link, closed_link=site.closed_link, **site.uids
    )
    page.goto(f"{site.base}{path}{'&' if '?' in path else '?'}lang={language}")
    page.wait_for_selector(look.waits_for)


def wrong_with(page, complaints, language):
    found = [
        (one["id"], one["impact"], one["nodes"][0]["html"][:200])
        for one in axe.Axe().run(page).response["violations"]
    ]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append(("too wide", "", ""))
    found += [("console", "", text) for text in complaints if not is_expected(text)]
    if page.locator("html").get_attribute("lang") != language:
        found.append(("language", "", ""))
    return found


def is_expected(told):
    """A link that ended, and a page that the role may not see, are answers too."""
    return "404" in told or "403" in told


class Browsers:
    """A browser for each person, who is signed in already where the page does not ask for the password."""

    def __init__(self, site, browser):
        self._site, self._browser = site, browser
        self._contexts = {}

    def page(self, look, size):
        key = ("" if look.by_form else look.who, size)
        if key not in self._contexts:
            context = self._browser.new_context(
                locale="vi-VN", timezone_id="Asia/Ho_Chi_Minh", reduced_motion="reduce", **SIZES[size]
            )
            if key[0]:
                session = self._site.record.people.begin_session(key[0])
                context.add_cookies([{"name": SESSION, "value": session, "url": self._site.base}])
            self._contexts[key] = context
        page = self._contexts[key].new_page()
        page.set_default_timeout(PATIENCE_MS)
        return page

    def close(self):
        for context in self._contexts.values():
            context.close()


@pytest.fixture(scope="module")
def browsers(site, browser):
    made = Browsers(site, browser)
    yield made
    made.close()


@pytest.mark.skipif(built() is None, reason="the reading room was not built: make app")
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("route", list(LOOKS))
def test_a_page_is_accessible_and_fits(site, browsers, size, language, route):
    wrong = {}
    for number, look in enumerate(LOOKS[route]):
        page, complaints = browsers.page(look, size), []
        page.on(
            "console",
            lambda told, kept=complaints: kept.append(told.text) if told.type == "error" else None,
        )
        opened(site, page, route, look, language)
        if SHOTS:  # for a person to look at
            name = route.strip("/").replace("/", "_").replace("{", "").replace("}", "") or "list"
            page.wait_for_timeout(500)
            place = Path(SHOTS) / f"{name}-{number}-{size}-{language}.png"
            page.screenshot(path=os.fspath(place), full_page=True)
        if found := wrong_with(page, complaints, language):
            wrong[number] = found
        page.close()
    assert wrong == {}
