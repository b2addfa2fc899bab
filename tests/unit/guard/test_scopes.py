"""Scopes of tokens: the table as it was agreed, cell by cell."""

import pytest

from hoichan.guard.roles import Action, is_user_name
from hoichan.guard.scopes import OF_A_TOKEN, SCOPES, Scope, actions_of, is_token_name

AGREED = {
    "stow": {"instances_store"},
    "read": {"list_read", "study_read", "trail_read", "document_read", "instances_read", "api_read"},
    "replay": {"delivery_replay"},
    "metrics": {"metrics_read"},
    "order": {"order_place"},
    "worklist": {"worklist_use"},
}


@pytest.mark.parametrize("scope", Scope)
def test_each_scope_is_as_agreed(scope):
    assert {action.value for action in SCOPES[scope]} >= AGREED.get(scope.value, set())
    assert scope.value not in AGREED or {action.value for action in SCOPES[scope]} == AGREED[scope.value]


def test_no_program_acts_as_a_person():
    assert not actions_of(tuple(Scope)) & {Action.AUDIT_READ, Action.ACCOUNT_OWN}


def test_scopes_add_up_and_nothing_is_nothing():
    assert actions_of((Scope.STOW, Scope.METRICS)) == {Action.INSTANCES_STORE, Action.METRICS_READ}
    assert actions_of(()) == frozenset()


def test_no_account_can_pose_as_a_token():
    assert not is_user_name(f"{OF_A_TOKEN}pacs")


@pytest.mark.parametrize("name", ["", "a", "Pacs", "token:x", "a b", "a" * 33, "pacs\n"])
def test_no_name_of_a_token(name):
    assert not is_token_name(name)
