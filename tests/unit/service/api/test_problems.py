"""The table from our errors to HTTP statuses, cell by cell."""

import pytest

from hoichan import errors
from service.api.problems import problem_json, status_of


def family(kind):
    return [kind, *(child for one in kind.__subclasses__() for child in family(one))]


OURS = [kind for kind in family(errors.HoichanError) if kind.__module__.startswith("hoichan.errors.")]
KNOWN = {
    errors.StudyUnknown: 404,
    errors.RecordsUnavailable: 503,
    errors.ValueNotKept: 422,
    errors.ObjectUnknown: 503,
    errors.SignInRequired: 401,
    errors.TokenRefused: 401,
    errors.TooManyTries: 429,
    errors.NotHeld: 404,
    errors.NotAcceptable: 406,
    errors.NotConvertible: 406,
    errors.ReviewError: 409,
    errors.DraftChanged: 409,
    errors.PatientChanged: 409,
    errors.ReportChanged: 409,
    errors.StepRefused: 409,
    errors.ReviewRefused: 422,
    errors.NotSignable: 403,
}


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind):
    refused = 403 if issubclass(kind, errors.AccessError) else 500
    assert status_of(kind.__new__(kind)) == KNOWN.get(kind, refused)


def test_unavailable_says_when_to_come_again():
    from http import HTTPStatus

    answer = problem_json(HTTPStatus.SERVICE_UNAVAILABLE, "records.unavailable", "later")
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"] == "application/problem+json"
