"""schemathesis over the whole description of the API: what it makes up never brings a surprise."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how

from hoichan.guard.roles import Action, Role, may
from hoichan.testing.reading import a_record, add_user, fill
from service.api.caller import SESSION, token_of
from service.api.gate import ROUTES
from tests.unit.service.api.asking import an_app

pytestmark = pytest.mark.peers
schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 15  # an operation
READERS = (Role.RADIOLOGIST, Role.IT_ADMIN, Role.AUDITOR)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    record = a_record(tmp_path_factory.mktemp("openapi"))
    fill(record)
    for role in READERS:
        add_user(record, role.value, role)
    with TestClient(an_app(record), base_url="http://localhost", follow_redirects=False) as client:
        yield record, client
    record.engine.dispose()


def reader_of(method, path):
    """A role that may ask this; a radiologist where none of them may: then the refusal is looked at."""
    wanted = ROUTES[method, path]
    fitting = (role for role in READERS if isinstance(wanted, Action) and may(role, wanted))
    return next(fitting, Role.RADIOLOGIST)


def asking(site, operation, told):
    """A test that asks one operation what schemathesis makes up, and tells `told` each answer."""
    record, client = site
    role = reader_of(operation.method.upper(), operation.path)

    @how(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case):
        session = record.people.begin_session(role.value)
        request = case.as_transport_kwargs(base_url="http://localhost")
        for ours in ("cookies", "timeout"):
            request.pop(ours, None)
        theirs = {name: value for name, value in (request.pop("headers") or {}).items() if name != "Cookie"}
        headers = {
            **theirs,
            "Sec-Fetch-Site": "same-origin",
            "Cookie": f"{SESSION}={session}",
            "X-CSRF-Token": token_of(session),
        }
        told(client.request(headers=headers, **request))

    return ask


def test_every_answer_is_one_that_the_description_names(site):
    surprises, asked = {}, []
    for found in schemathesis.openapi.from_dict(site[1].app.openapi()).get_all_operations():
        operation = found.ok()
        place, named = f"{operation.method} {operation.path}", operation.definition.raw["responses"]
        answers = []
        asking(site, operation, answers.append)()
        asked += answers
        for answer in answers:
            if str(answer.status_code) not in named or answer.status_code == 500:
                surprises[place, int(answer.status_code)] = answer.text[:200]
    assert surprises == {}
    assert len(asked) > 100
