"""A number of health insurance: kept where it came as such, with the patient it came with, and sent on."""

from __future__ import annotations

import json

import pytest

from hoichan import er7
from hoichan.adapters.orders_sql import OrdersSql
from hoichan.encoding.fhir import addressed_to, encode_fhir
from hoichan.encoding.fhir_checks import faults
from hoichan.encoding.fhir_parts import INSURANCE_NUMBER
from hoichan.encoding.hl7 import encode_hl7
from hoichan.encoding.source import document_context
from hoichan.intake.messages import hear
from hoichan.settings import Hl7Destination, Site
from hoichan.testing.reading import a_record, arrive, assemble
from hoichan.testing.reports import NATIONAL_ID, a_film, a_report

SITE = Site(name="BV Kiểm Thử", facility_code="79001", identifier_base="https://ai.example.vn")
CARD, OTHER_CARD = "DN4790123456789", "GD4790987654321"
KNOWN = [("BN-2026-004127", "79001", "MR"), (NATIONAL_ID, "BCA", "NNVNM")]  # of the images
PERSON = ("Nguyễn^An^Văn", "M", 1958, "BN-2026-004127")
ORM = (
    "MSH|^~\\&|HIS|BV|HOICHAN|79001|20261120070000||{kind}|{key}|P|2.5.1\r"
    "PID|1||{identifiers}||Nguyễn^Văn^An||19580315|M\r{rest}"
)
ORDER = "ORC|NW|ORD{key}^EMR\rOBR|1|ORD{key}^EMR||36554-4^XR^LN\r"


class Site_:
    """A record, and the order door."""

    def __init__(self, folder):
        self.record = a_record(folder)
        self.orders = OrdersSql(self.record.engine, self.record.clock)
        self.key = 0

    def tell(self, identifiers, *, kind="ORM^O01", rest=ORDER):
        self.key += 1
        text = ORM.format(kind=kind, key=self.key, identifiers=identifiers, rest=rest.format(key=self.key))
        told = hear(text.encode(), zone=self.record.settings.site.zone)
        assert told.error is None
        self.orders.take(told, text.encode(), source="127.0.0.1", answer="AA", acknowledgement=b"")

    def study(self, name="film", person=PERSON):
        assemble(self.record, arrive(self.record, name, person=person))
        (uid, revision, _) = self.record.studies.unfinished()[-1]
        return self.record.studies.load(uid, revision)

    def number(self, **changes):
        kept = self.study(**changes).patient.insurance_number
        return kept.reveal() if kept else None


@pytest.fixture
def site(tmp_path):
    made = Site_(tmp_path)
    yield made
    made.record.engine.dispose()


def sent(study):
    """PID-3 of the message, and the subject of the report in the bundle."""
    report = a_report(study)
    context = document_context(study, report, source=a_film(), site=SITE, software_version="1")
    to = Hl7Destination(name="his", kind="hl7v2", host="127.0.0.1", port=1)
    pid = er7.read(encode_hl7(context, to)).first("PID")
    numbers = [(pid.part(one, 1), pid.part(one, 4), pid.part(one, 5)) for one in pid.repetitions(3)]
    bundle = json.loads(
        addressed_to(
            encode_fhir(context, SITE, b"\xff\xd8"),
            unread_status="partial",
            patient_identifier_system="http://his/mrn",
        )
    )
    assert faults(bundle) == []
    subjects = [one["resource"]["subject"] for one in bundle["entry"] if "subject" in one["resource"]]
    assert subjects
    return numbers, subjects[0]


def test_a_number_of_an_order_goes_on_with_the_results(site):
    site.tell(f"{PERSON[3]}^^^^MR~{CARD}^^^BHXH^HC")
    numbers, subject = sent(site.study())
    assert numbers == [*KNOWN, (CARD, "VN-BHXH", "HC")]
    assert subject["identifier"]["system"] == INSURANCE_NUMBER
    assert subject["identifier"]["value"] == CARD
    assert subject["identifier"]["type"]["coding"][0]["code"] == "HC"
    assert subject["reference"] == f"Patient?identifier=http://his/mrn|{PERSON[3]}"


def test_nothing_is_sent_that_did_not_come_as_such(site):
    site.tell(f"{PERSON[3]}^^^^MR~{CARD}^^^BHXH^SS")
    numbers, subject = sent(site.study())
    assert numbers == KNOWN
    assert "identifier" not in subject


def test_the_last_word_counts_and_silence_takes_nothing_away(site):
    site.tell(f"{PERSON[3]}^^^^MR~{CARD}^^^BHXH^HC")
    site.tell(f"{PERSON[3]}^^^^MR~{OTHER_CARD}^^^BHXH^HC", kind="ADT^A08", rest="")
    site.tell(f"{PERSON[3]}^^^^MR")
    assert site.number() == OTHER_CARD


def test_nobody_else_gets_it(site):
    site.tell(f"{PERSON[3]}^^^^MR~{CARD}^^^BHXH^HC")
    assert site.number(name="other", person=(*PERSON[:3], "BN-2026-999999")) is None
    assert site.number(name="nobody", person=(*PERSON[:3], "")) is None


def test_one_number_of_two_authorities_is_nobodys(site):
    site.tell(f"{PERSON[3]}^^^BV-A^MR~{CARD}^^^BHXH^HC")
    assert site.number() == CARD  # the film names no authority, and only one is known
    site.tell(f"{PERSON[3]}^^^BV-B^MR~{OTHER_CARD}^^^BHXH^HC")
    assert site.number(name="second") is None


def test_a_merge_takes_it_along(site):
    site.tell(f"OLD-77^^^^MR~{CARD}^^^BHXH^HC")
    site.tell(f"{PERSON[3]}^^^^MR", kind="ADT^A40", rest="MRG|OLD-77^^^^MR\r")
    assert site.number() == CARD
    assert site.number(name="other", person=(*PERSON[:3], "OLD-77")) is None
