"""The page and the API over a record on SQLite, without a socket."""

import json
import re
import shutil

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from hoichan.adapters.schema import studies
from hoichan.testing.reading import HOSTILE_NAME, a_record, fill
from service.api.caller import VISIT, token_of
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    record = a_record(folder)
    uids = fill(record)
    record.engine.dispose()
    return folder, uids


class House:
    """A filled record and a client that asks it."""

    def __init__(self, folder, uids):
        self.record = a_record(folder)
        self.record.clock.advance(7200)
        self.uids = uids
        self.app = an_app(self.record)
        self.client = TestClient(self.app, base_url="http://localhost:8080", client=("127.0.0.1", 50000))

    def token(self):
        """The token that forms of this visitor carry."""
        if VISIT not in self.client.cookies:
            self.client.get("/docs")
        return {"X-CSRF-Token": token_of(self.client.cookies[VISIT])}

    def study(self, name):
        return f"/studies/{self.uids[name]}"

    def api(self, name):
        return f"/api/v1/studies/{self.uids[name]}"

    def dead_key(self):
        dead = [
            one for one in self.client.get(self.api("urgent")).json()["deliveries"] if one["state"] == "dead"
        ]
        return dead[0]["idempotency_key"]


@pytest.fixture
def house(filled, tmp_path):
    folder, uids = filled
    shutil.copytree(folder, tmp_path / "data")
    house = House(tmp_path / "data", uids)
    yield house
    house.client.close()
    house.record.engine.dispose()


# ---------------------------------------------------------------------- API
def test_the_list_tells_what_a_reader_needs(house):
    answer = house.client.get("/api/v1/studies").json()
    first = answer["items"][0]
    assert first["tier"] == "critical"
    assert first["patient"] == {
        "name": "Đặng Như Quỳnh",
        "birth_year": 2003,
        "age_years": 41,
        "sex": "F",
        "masked_id": "•••4155",
    }
    finding = first["report"]["findings"][0]
    assert (finding["display"]["vi"], finding["probability"]) == ("Tràn khí màng phổi", 0.83)
    assert {one["destination"]: one["state"] for one in first["deliveries"]} == {
        "pacs": "pending",
        "emr": "pending",
    }
    assert (answer["total"], answer["page"], answer["pages"]) == (9, 1, 1)
    assert "BN-2026" not in json.dumps(answer)


@pytest.mark.parametrize("path", ["/api/v1/studies", "api"])
def test_polling_costs_nothing_while_nothing_changes(house, path):
    path = house.api("late") if path == "api" else path
    first = house.client.get(path)
    tag = first.headers["etag"]
    again = house.client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    house.record.studies.acknowledged(_pending(house), "0x0000")
    if path.endswith("studies"):
        changed = house.client.get(path, headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag


def _pending(house):
    deliveries = house.client.get(house.api("critical")).json()["deliveries"]
    return next(one["idempotency_key"] for one in deliveries if one["state"] == "pending")


def test_a_state_filters_the_list(house):
    failed = house.client.get("/api/v1/studies", params={"state": "failed"}).json()
    assert [one["study_instance_uid"] for one in failed["items"]] == [house.uids["failed"]]
    assert failed["items"][0]["state_reason"] == "model.runner_failed"


def test_the_trail_has_identifiers_and_counts_only(house):
    lines = house.client.get(house.api("urgent") + "/trail").json()["items"]
    assert lines[0]["event"] == "instances_received"
    assert lines[-1]["details"]["status"] == "HTTP 422 business-rule"


@pytest.mark.parametrize("kind", ["sr", "sc", "fhir"])
def test_documents_are_the_kept_bytes(house, kind):
    answer = house.client.get(f"{house.api('urgent')}/documents/{kind}")
    document = next(
        one for one in house.record.reading.study(house.uids["urgent"]).documents if one.kind == kind
    )
    assert answer.content == house.record.reading.content(document)
    assert answer.headers["content-type"] == document.media_type
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{kind}-')


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/studies/1.2.3", 404, "records.study_unknown"),
        ("/api/v1/studies/1.2.3/trail", 404, "records.study_unknown"),
        ("/api/v1/studies/1.2.3/picture", 404, "records.study_unknown"),
        ("/api/v1/studies/1.2.3/documents/sr", 404, "records.study_unknown"),
        ("/api/v1/studies/1.2.x", 422, "request.malformed"),
        ("/api/v1/studies/" + "1" * 65, 422, "request.malformed"),
        ("/api/v1/studies/%3Cscript%3E", 422, "request.malformed"),
        ("/api/v1/studies?state=lost", 422, "request.malformed"),
        ("/api/v1/studies?page=0", 422, "request.malformed"),
        ("/api/v1/studies?page=99999999999999999999", 422, "request.malformed"),
        ("/api/v1/studies/1.2.3/documents/docx", 422, "request.malformed"),
        ("/api/v1/nothing", 404, "request.not_found"),
        ("/studies/1.2.3", 404, "records.study_unknown"),
        ("/static/../app.py", 404, "request.not_found"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_with_a_stable_code(house, path, status, code):
    answer = house.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "script" not in answer.text


def test_a_study_without_a_report_has_no_picture(house):
    answer = house.client.get(house.api("receiving") + "/picture")
    assert (answer.status_code, answer.json()["code"]) == (404, "document.unknown")


def test_a_picture_that_cannot_be_decoded_is_a_problem(house):
    answer = house.client.get(house.api("urgent") + "/picture")  # the fake encoder's picture is no picture
    assert (answer.status_code, answer.json()["code"]) == (500, "records")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_else_can_be_done(house, method):
    answer = house.client.request(method, "/api/v1/studies")
    assert (answer.status_code, answer.json()["code"]) == (405, "request.method_not_allowed")


# ---------------------------------------------------------------------- replay
def test_a_dead_delivery_is_sent_again(house):
    path = f"/api/v1/deliveries/{house.dead_key()}/replay"
    answer = house.client.post(path, headers=SAME | house.token())
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    again = house.client.post(path, headers=SAME | house.token())
    assert (again.status_code, again.json()["code"]) == (409, "delivery.not_dead")


def test_the_button_leads_back_to_the_study(house):
    path = f"/api/v1/deliveries/{house.dead_key()}/replay"
    answer = house.client.post(path, headers=SAME | PAGE | house.token(), follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        house.study("urgent") + "/record#deliveries",
    )


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_another_site_cannot_press_the_button(house, headers):
    path = f"/api/v1/deliveries/{house.dead_key()}/replay"
    answer = house.client.post(path, headers=headers | house.token())
    assert (answer.status_code, answer.json()["code"]) == (403, "request.cross_origin")
    assert house.dead_key()


def test_a_form_without_the_token_of_its_reader_is_refused(house):
    path = f"/api/v1/deliveries/{house.dead_key()}/replay"
    for token in ({}, {"X-CSRF-Token": token_of("another visitor")}):
        answer = house.client.post(path, headers=SAME | token)
        assert (answer.status_code, answer.json()["code"]) == (403, "request.token_missing")
    assert house.dead_key()


def test_an_unknown_delivery_is_said_so(house):
    answer = house.client.post("/api/v1/deliveries/1.2.3:pacs/replay", headers=SAME | house.token())
    assert (answer.status_code, answer.json()["code"]) == (404, "delivery.unknown")


# ---------------------------------------------------------------------- pages
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("state", ["", "?state=failed", "?state=signed"])
def test_the_list_page_stands_in_both_languages(house, language, state):
    answer = house.client.get(f"/{state}", headers=PAGE | {"Cookie": f"hoichan_lang={language}"})
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    warning = {"vi": "CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN", "en": "NOT VERIFIED"}[language]
    assert (warning in answer.text) == (state != "?state=signed")  # there a physician has the word


def test_nothing_found_is_never_called_normal(house):
    page = house.client.get(f"{house.study('nothing')}/record").text
    assert "AI không phát hiện bất thường vượt ngưỡng" in page
    assert "Bình thường" not in page
    assert "Điều này không có nghĩa là phim bình thường" in page


def test_the_record_leads_to_the_trail(house):
    page = house.client.get(f"{house.study('urgent')}/record").text
    (link,) = set(re.findall(r'href="([^"]*/trail)"', page))
    assert house.client.get(link).status_code == 200


def test_what_was_not_analysed_says_why(house):
    assert "Bộ phận chụp không phải là ngực." in house.client.get(f"{house.study('refused')}/record").text
    assert "Mô hình gặp lỗi khi phân tích." in house.client.get(f"{house.study('failed')}/record").text


@pytest.mark.parametrize("page", ["list", "study", "trail"])
def test_text_of_a_sender_is_never_markup(house, page):
    path = {"list": "/", "study": house.study("routine"), "trail": house.study("routine") + "/trail"}[page]
    text = house.client.get(path).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    if page != "trail":
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert HOSTILE_NAME not in text


def test_the_language_is_remembered(house):
    house.client.get("/?lang=en")
    assert '<html lang="en">' in house.client.get("/").text
    assert '<html lang="vi">' in house.client.get("/?lang=vi").text
    assert '<html lang="vi">' in house.client.get("/?lang=xx").text


def test_the_switch_keeps_the_filter_and_nothing_else(house):
    page = house.client.get("/?state=failed&q=%22%3E%3Cscript%3E").text
    assert 'href="/?state=failed&amp;lang=en"' in page
    assert "script&gt;" not in page.split("</header>")[0]


def test_a_person_gets_a_page_for_a_problem(house):
    answer = house.client.get("/studies/1.2.3", headers=PAGE)
    assert answer.status_code == 404
    assert "Không có ca chụp nào với mã này." in answer.text


def test_every_page_needs_nothing_from_elsewhere(house):
    for path in ("/", house.study("urgent"), house.study("urgent") + "/trail", "/docs"):
        page = house.client.get(path).text
        assert "http://" not in page.replace("http://localhost", "")
        assert "https://" not in page
        assert " style=" not in page
        assert "onclick" not in page


def test_a_second_page_is_offered(house):
    with house.record.engine.begin() as connection:
        row = connection.execute(sa.select(studies).limit(1)).mappings().one()
        more = [{**row, "study_instance_uid": f"1.2.{number}"} for number in range(50)]
        connection.execute(studies.insert(), more)
    first = house.client.get("/").text
    (following,) = re.findall(r'href="(/\?page=2&amp;after=[0-9.-]+)" rel="next"', first)
    second = house.client.get(following.replace("&amp;", "&")).text
    assert second == second.replace('rel="next"', "")
    assert second.count("data-key=") == 9
    assert 'start="51"' in second
    by_number = house.client.get("/?page=2").text
    assert re.findall('data-key="[^"]+"', by_number) == re.findall('data-key="[^"]+"', second)
    answer = house.client.get("/api/v1/studies").json()
    assert (answer["previous"], answer["has_more"]) == (None, False)
    rest = house.client.get("/api/v1/studies", params={"after": answer["next"], "page": 2}).json()
    assert len(rest["items"]) == 9 and rest["next"] is None
    back = house.client.get("/api/v1/studies", params={"before": rest["previous"]}).json()
    assert back["items"] == answer["items"]


@pytest.mark.parametrize("place", ["1", "a-b-c", "9-1-1.2.x", "9-1-", "9--1-1.2"])
@pytest.mark.parametrize("side", ["after", "before"])
def test_what_is_no_place_in_the_list_is_malformed(house, side, place):
    answer = house.client.get("/api/v1/studies", params={side: place})
    assert (answer.status_code, answer.json()["code"]) == (422, "request.malformed")


# ---------------------------------------------------------------------- operation
def test_operations_are_listed_and_described(house):
    page = house.client.get("/docs").text
    for path in house.client.get("/openapi.json").json()["paths"]:
        assert path in page


def test_the_process_is_alive(house):
    assert house.client.get("/healthz").text == "ok\n"


# ---------------------------------------------------------------------- privacy
def test_no_person_in_any_log_line_or_metric(house):
    with capture_logs() as lines:
        for name in house.uids:
            for path in (
                house.study(name),
                house.study(name) + "/trail",
                house.api(name),
                house.api(name) + "/picture",
            ):
                house.client.get(path, headers=PAGE)
        house.client.get("/studies/Nguyen%20Van%20An?patient=BN-2026-004127")
        metrics = house.client.get("/metrics").text
    told = repr(lines) + metrics
    for text in ("Nguyễn", "Nguyen", "HOANG", "BN-2026", "XR2611", "script", "19580315", "1958-03-15"):
        assert text not in told
    assert {line["event"] for line in lines} == {"http_request"}
    assert {line["status"] for line in lines} == {200, 404, 422, 500}  # the fake picture is none
    assert {line["route"] for line in lines} == {
        "/studies/{study_uid}",
        "/studies/{study_uid}/trail",
        "/api/v1/studies/{study_uid}",
        "/api/v1/studies/{study_uid}/picture",
        "/metrics",
    }
