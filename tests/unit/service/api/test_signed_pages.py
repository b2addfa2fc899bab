"""Pages of a signed study: a physician's word is never shown as a machine's, nor the other way round."""

from __future__ import annotations

import re

import pytest

from hoichan.codes import BANNER
from tests.unit.service.api.test_reading import Room, signed

BOTH = pytest.mark.parametrize("language", ["vi", "en"])
CONFIRMED = {
    "vi": ("Đồng ý", "Bác bỏ", "Bác sĩ thêm"),
    "en": ("Confirmed", "Rejected", "Added by the physician"),
}
BY_DOCTOR = {"vi": "Bác sĩ đã ký", "en": "Signed by a physician"}
AI = {"vi": "Gợi ý của AI", "en": "AI suggests"}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    made = Room(tmp_path_factory.mktemp("signed"))
    made.record.clock.advance(60)  # a signature comes later than what is signed
    with made.client() as client:
        assert signed(client).status_code == 200
    yield made
    made.record.engine.dispose()


def page(room, path, language):
    with room.client() as client:
        text = client.get(f"http://localhost{path}{'&' if '?' in path else '?'}lang={language}").text
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@BOTH
def test_the_record_tells_what_the_physician_said_of_each(room, language):
    text = page(room, f"/studies/{room.uid}/record", language)
    facts = text.partition('id="facts"')[2]
    for word in CONFIRMED[language]:
        assert facts.count(f"<td>{word}") == 1, word
    assert BANNER[language] not in text.partition('<div class="study">')[0]
    assert AI[language] not in facts
    rows = re.findall(r"<tr class=.*?</tr>", facts, flags=re.DOTALL)
    added = next(row for row in rows if CONFIRMED[language][2] in row)
    assert not re.search(r"1[.,]00", added)  # nobody scored it
    assert len([row for row in rows if "AI</span>" in row]) == 2


@BOTH
def test_the_list_shows_no_score_of_what_is_signed(room, language):
    text = page(room, "/?state=signed", language)
    row = text.partition('id="reading-list"')[2].partition("</ol>")[0]
    assert BY_DOCTOR[language] in row
    assert 'class="number"' not in row
    assert BANNER[language] not in text


@BOTH
@pytest.mark.parametrize("path", ["/trail", "/follow-ups", "/retraction"])
def test_no_page_calls_it_unconfirmed(room, path, language):
    assert BANNER[language] not in page(room, f"/studies/{room.uid}{path}", language)


@BOTH
def test_what_nobody_has_signed_is_called_unconfirmed(tmp_path, language):
    other = Room(tmp_path)
    for path in ("/", f"/studies/{other.uid}/record", f"/studies/{other.uid}/trail"):
        assert BANNER[language] in page(other, path, language)
    assert AI[language] in page(other, f"/studies/{other.uid}/record", language)
    other.record.engine.dispose()
