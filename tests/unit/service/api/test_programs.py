"""Programs with tokens: what each scope opens, and what a wrong token hears."""

import shutil

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from hoichan.adapters.schema import audit
from hoichan.guard.roles import Role
from hoichan.guard.scopes import Scope, actions_of
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from hoichan.testing.reading import a_record
from service.api.caller import SESSION, token_of
from service.api.gate import ROUTES
from service.api.stow import StowDoor, stow_app
from service.api.stow_access import StowAccess
from service.api.witness import Witness
from tests.unit.service.api.test_gate import ACTIONS, NETWORK, Site

HERE = ("127.0.0.1", 50000)
TYPE = 'multipart/related; type="application/dicom"; boundary=edge'
BODY = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + as_file(film()) + b"\r\n--edge--\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    site = Site(folder)
    yield site
    site.record.engine.dispose()
    shutil.rmtree(folder)


def ask(site, text, method, route, *, client=HERE, scheme="http", **headers):
    with TestClient(
        site.app, base_url=f"{scheme}://localhost", client=client, follow_redirects=False
    ) as browser:
        return browser.request(
            method, site.address(route), headers={"Authorization": f"Bearer {text}", **headers}
        )


@pytest.mark.parametrize("scope", Scope)
def test_each_scope_opens_what_the_table_says(site, scope):
    name = f"cell-{scope.value.replace('_', '-')}"
    text = site.record.tokens.add(name, [scope])
    for (method, route), wanted in ACTIONS.items():
        answer = ask(site, text, method, route, client=NETWORK, scheme="https")
        if wanted in actions_of([scope]):
            assert answer.status_code not in (401, 403), (method, route)
            assert answer.status_code != 303 or method == "POST"
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "access.forbidden"), (method, route)
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_a_wrong_token_is_told_so_and_then_slowed_down(site):
    right = site.record.tokens.add("patient", [Scope.READ])
    site.record.clock.advance(100_000)
    answers = [ask(site, f"hoichan_{n}", "GET", "/api/v1/studies") for n in range(12)]
    assert [one.status_code for one in answers[:10]] == [401] * 10
    assert 'error="invalid_token"' in answers[0].headers["www-authenticate"]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
    assert ask(site, right, "GET", "/api/v1/studies").status_code == 200  # who has one is not held up
    site.record.clock.advance(400)
    assert ask(site, "hoichan_13", "GET", "/api/v1/studies").status_code == 401


def test_a_token_never_crosses_the_network_in_clear(site):
    text = site.record.tokens.add("clear", [Scope.READ])
    answer = ask(site, text, "GET", "/api/v1/studies", client=NETWORK)
    assert (answer.status_code, answer.json()["code"]) == (403, "access.tls_required")
    assert ask(site, text, "GET", "/api/v1/studies", client=NETWORK, scheme="https").status_code == 200
    assert ask(site, text, "GET", "/api/v1/studies").status_code == 200  # this machine


def test_a_wrong_token_is_not_made_good_by_a_session(site):
    session = site.record.people.begin_session(Role.RADIOLOGIST.value)
    answer = ask(site, "hoichan_x", "GET", "/api/v1/studies", Cookie=f"{SESSION}={session}")
    assert answer.status_code in (401, 429)


def test_a_session_still_needs_the_token_of_its_form(site):
    session = site.record.people.begin_session(Role.RADIOLOGIST.value)
    with TestClient(site.app, base_url="http://localhost", client=NETWORK) as browser:
        headers = {"Cookie": f"{SESSION}={session}", "Authorization": "Basic eDp5"}
        path = site.address("/api/v1/deliveries/{idempotency_key}/replay")
        assert browser.post(path, headers=headers).status_code == 403
        headers |= {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": token_of(session)}
        assert browser.post(path, headers=headers).status_code == 404


def test_the_audit_log_names_the_program(site):
    text = site.record.tokens.add("auditor-sees", [Scope.READ])
    ask(site, text, "GET", "/studies/{study_uid}")
    with site.record.engine.connect() as connection:
        last = connection.execute(sa.select(audit).order_by(audit.c.position.desc()).limit(1)).one()
    assert (last.who, last.role, last.what) == ("token:auditor-sees", "program", "study_viewed")


def test_without_a_token_a_program_learns_what_to_show(site):
    with TestClient(site.app, base_url="http://localhost", client=NETWORK) as browser:
        answer = browser.get("/api/v1/studies")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="hoichan"')


def test_every_route_is_asked(site):
    assert ACTIONS.keys() <= ROUTES.keys()


# ---------------------------------------------------------------------- STOW-RS
class Door:
    def __init__(self, record, host):
        self.record, self.spool = record, FakeSpool()
        access = StowAccess(record.tokens, record.people, Witness(record.audit, record.clock), host=host)
        door = StowDoor(self.spool, record.spool_root, admit=access, maximum_bytes=1 << 20, reserve_bytes=0)
        self.app = Starlette(routes=[Mount("/dicom-web", stow_app(door))])

    def post(self, *, client=HERE, base="http://localhost", **headers):
        with TestClient(self.app, base_url=base, client=client) as browser:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return browser.post("/dicom-web/studies", content=BODY, headers={"Content-Type": TYPE, **named})


@pytest.fixture
def doors(tmp_path):
    record = a_record(tmp_path)
    made = [Door(record, "127.0.0.1"), Door(record, "0.0.0.0")]
    yield made
    for door in made:
        door.spool.close()
    record.engine.dispose()


@pytest.mark.parametrize(
    ("client", "base", "headers", "status"),
    [
        (HERE, "http://localhost", {}, 200),
        (HERE, "http://127.0.0.1:8080", {}, 200),
        (HERE, "http://pacs.example.vn", {}, 401),  # a proxy on this machine
        (HERE, "http://localhost", {"X_Forwarded_For": "10.0.0.1"}, 401),
        (HERE, "http://localhost", {"Forwarded": "for=10.0.0.1"}, 401),
        (NETWORK, "https://localhost", {}, 401),  # who lies about the host
        (HERE, "http://localhost", {"Authorization": "Bearer hoichan_wrong"}, 401),
        (HERE, "http://localhost", {"Authorization": "Basic eDp5"}, 200),
    ],
)
def test_without_a_token_only_programs_of_this_machine_store(doors, client, base, headers, status):
    answer = doors[0].post(client=client, base=base, **headers)
    assert answer.status_code == status
    assert (status != 401) == ("www-authenticate" not in answer.headers)
    assert len(doors[0].spool.every_study()) == (status == 200)


def test_a_page_on_the_network_wants_a_token_even_from_this_machine(doors):
    assert doors[1].post().status_code == 401


def test_a_program_stores_under_its_own_name(doors):
    text = doors[1].record.tokens.add("pacs.north-gateway", [Scope.STOW])
    answer = doors[1].post(client=NETWORK, base="https://pacs.example.vn", Authorization=f"Bearer {text}")
    assert answer.status_code == 200
    (spooled,) = doors[1].spool.listing(film().StudyInstanceUID)
    assert spooled.calling_ae_title == "pacs.north-gatew"


def test_a_token_for_reading_does_not_store(doors):
    text = doors[1].record.tokens.add("viewer", [Scope.READ])
    answer = doors[1].post(client=NETWORK, base="https://pacs.example.vn", Authorization=f"Bearer {text}")
    assert (answer.status_code, answer.json()["code"]) == (403, "access.forbidden")
    assert doors[1].spool.every_study() == []


def test_a_token_in_clear_does_not_store(doors):
    text = doors[1].record.tokens.add("hasty", [Scope.STOW])
    answer = doors[1].post(client=NETWORK, base="http://pacs.example.vn", Authorization=f"Bearer {text}")
    assert (answer.status_code, answer.json()["code"]) == (403, "access.tls_required")


def test_wrong_tokens_are_slowed_down_at_this_door_too(doors):
    answers = [doors[1].post(Authorization=f"Bearer hoichan_{n}").status_code for n in range(12)]
    assert answers[:10] == [401] * 10 and answers[-1] == 429
