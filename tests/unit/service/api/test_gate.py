"""Every role at every route, asked from outside."""

import shutil
from http import HTTPStatus

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

from hoichan.guard.roles import ASSIGNABLE, Action, Role, may
from hoichan.testing.reading import a_record, add_user, fill
from service.api.app import API_ROUTERS, DICOMWEB_ROUTERS, PAGE_ROUTERS
from service.api.caller import SESSION, token_of
from service.api.gate import MOUNTED, ROUTES, Open
from tests.unit.service.api.asking import an_app

SAME = {"Sec-Fetch-Site": "same-origin"}
NETWORK = ("10.0.0.7", 50000)
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Site:
    """A filled record with an account of each role."""

    def __init__(self, folder):
        self.record = a_record(folder)
        self.uids = fill(self.record)
        for role in ASSIGNABLE:
            add_user(self.record, role.value, role)
        self.app = an_app(self.record)

    def ask(self, role, method, route):
        """The answer to a new session of this role; without a role to nobody."""
        headers = dict(SAME)
        if role is not None:
            session = self.record.people.begin_session(role.value)
            headers |= {"Cookie": f"{SESSION}={session}", "X-CSRF-Token": token_of(session)}
        with TestClient(
            self.app, base_url="http://localhost", client=NETWORK, follow_redirects=False
        ) as client:
            return client.request(method, self.address(route), headers=headers)

    def address(self, route):
        return route.format(
            study_uid=self.uids["assembled" if route.endswith(("/cancel", "}/replay")) else "urgent"],
            destination="nobody",
            finding_identity="00000000-0000-5000-8000-000000000000",
            user_name=Role.CLINICIAN.value,
            verb="role",
            series_uid="1.2.3",
            instance_uid="1.2.3.4",
            numbers="1",
            resource_type="DiagnosticReport",
            resource_id="1.2.3",
            workitem_uid="1.2.3",
            requester="AI2",
            ae_title="AI2",
            message_key="0" * 64,
            number="1",
            name="nobody",
            version="1",
            token="x" * 43,
            tag="7FE00010",
            kind="sr",
            idempotency_key=f"1.2.3:{self.record.settings.site.language}",
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    site = Site(folder)
    yield site
    site.record.engine.dispose()
    shutil.rmtree(folder)


ACTIONS = {key: wanted for key, wanted in ROUTES.items() if isinstance(wanted, Action)}
CELLS = [(role, *key) for key in ACTIONS for role in ASSIGNABLE]


@pytest.mark.parametrize(("role", "method", "route"), CELLS, ids=str)
def test_each_role_gets_what_the_table_says(site, role, method, route):
    answer = site.ask(role, method, route)
    if may(role, ROUTES[method, route]):
        form = route.startswith("/account/")  # refuses an empty form with 403, on a page of its own
        assert answer.status_code not in REFUSED or (form and "card" in answer.text)
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "access.forbidden")


@pytest.mark.parametrize(("method", "route"), list(ACTIONS))
def test_nobody_gets_anything(site, method, route):
    answer = site.ask(None, method, route)
    assert (answer.status_code, answer.json()["code"]) == (401, "access.sign_in_required")


def test_the_table_names_every_route_and_no_other(site):
    served = {
        (method, route.path)
        for router in (*API_ROUTERS, *DICOMWEB_ROUTERS, *PAGE_ROUTERS)
        for route in router.routes
        for method in route.methods
    }
    assert served == set(ROUTES)
    others = [route for route in site.app.routes if type(route) in {Route, APIRoute, Mount}]
    assert [route.path for route in others if isinstance(route, Mount)] == ["/static/app", "/static"]
    assert not [route for route in others if type(route) is Route]  # such a one would stand outside the gate


def test_every_action_stands_at_a_door():
    assert set(ACTIONS.values()) | set(MOUNTED.values()) == set(Action)


def test_only_these_are_open():
    opened = {key for key, wanted in ROUTES.items() if isinstance(wanted, Open)}
    assert opened == {
        *(("GET", "/healthz"), ("GET", "/readyz")),
        *(("GET", "/login"), ("POST", "/login"), ("GET", "/login/code"), ("POST", "/login/code")),
        *(("GET", "/login/oidc"), ("GET", "/login/oidc/back")),
        *(("GET", "/shared/{token}"), ("POST", "/shared/{token}")),
        *(("GET", "/shared/{token}/report.pdf"), ("GET", "/shared/{token}/pictures/{number}")),
    }


@pytest.mark.parametrize("role", ASSIGNABLE)
def test_a_page_offers_only_what_its_reader_may_do(site, role):
    for key, wanted in ACTIONS.items():
        if key[0] != "GET" or key[1] == "/docs" or not may(role, wanted):
            continue
        answer = site.ask(role, *key)
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        main = answer.text.split("<main")[1]
        assert ("/replay" in main) <= may(role, Action.DELIVERY_REPLAY), key
        assert ("/documents/" in main) <= may(role, Action.DOCUMENT_READ), key
        assert ('/trail"' in main) <= may(role, Action.TRAIL_READ), key


def test_who_finds_studies_without_seeing_them_can_send_again(site):
    page = site.ask(Role.IT_ADMIN, "GET", "/studies/{study_uid}/trail").text.split("<main")[1]
    assert "/replay" in page
    assert 'href="/studies/' not in page
