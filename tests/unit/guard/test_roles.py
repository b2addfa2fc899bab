"""Roles and actions: the table as it was agreed, cell by cell."""

import pytest

from hoichan.guard.roles import ALLOWED, ASSIGNABLE, Action, Role, is_user_name, may

COLUMNS = ("radiologist", "technician", "clinician", "ml_engineer", "it_admin", "auditor", "local", "program")
OUTSIDE = ("holder",)  # of a link: may do nothing at all
AGREED = {
    #                  rad   tech  clin  ml    it    aud   local  program
    "list_read":       "yes   yes   yes   no    yes   no    yes    no",
    "study_read":      "yes   yes   yes   no    no    no    yes    no",
    "study_review":    "yes   no    no    no    no    no    no     no",
    "study_sign":      "yes   no    no    no    no    no    no     no",
    "notice_acknowledge": "yes no yes no   no    no    no     no",
    "opinion_keep":    "yes   no    yes   no    no    no    no     no",
    "share_keep":      "yes   no    yes   no    no    no    no     no",
    "follow_up_keep":  "yes   no    yes   no    no    no    no     no",
    "trail_read":      "yes   yes   no    no    yes   yes   yes    no",
    "document_read":   "yes   no    yes   no    no    no    yes    no",
    "instances_read":  "yes   yes   yes   no    no    no    yes    no",
    "instances_store": "no    no    no    no    no    no    no     no",
    "instances_upload": "yes  yes   no    no    no    no    no     no",
    "delivery_replay": "yes   yes   no    no    yes   no    yes    no",
    "queue_read":      "yes   yes   no    no    yes   no    yes    no",
    "study_steer":     "yes   yes   no    no    yes   no    yes    no",
    "order_place":     "no    no    no    no    no    no    no     no",
    "worklist_use":    "no    no    no    no    no    no    no     no",
    "patient_decide":  "yes   yes   no    no    no    no    yes    no",
    "audit_read":      "no    no    no    no    no    yes   no    no",
    "break_glass":     "yes   yes   yes   no    no    no    no     no",
    "routing_manage":  "no    no    no    no    yes   no    no     no",
    "people_manage":   "no    no    no    no    yes   no    no     no",
    "metrics_read":    "no    no    no    yes   yes   no    yes    no",
    "api_read":        "yes   yes   yes   yes   yes   yes   yes    no",
    "account_own":     "yes   yes   yes   yes   yes   yes   no    no",
}  # fmt: skip
CELLS = [
    (role, action, word == "yes")
    for action, line in AGREED.items()
    for role, word in zip(COLUMNS, line.split(), strict=True)
]


@pytest.mark.parametrize(("role", "action", "allowed"), CELLS)
def test_each_cell_is_as_agreed(role, action, allowed):
    assert may(Role(role), Action(action)) is allowed


def test_nothing_is_left_out():
    assert {action.value for action in Action} == AGREED.keys()
    assert {role.value for role in Role} == {*COLUMNS, *OUTSIDE}
    assert all(not ALLOWED[Role(name)] for name in OUTSIDE)
    assert ALLOWED.keys() == set(Role)


def test_nobody_can_be_given_the_role_of_a_machine_without_accounts():
    assert Role.LOCAL not in ASSIGNABLE
    assert Role.PROGRAM not in ASSIGNABLE
    assert Role.HOLDER not in ASSIGNABLE
    assert len(ASSIGNABLE) == 6


@pytest.mark.parametrize("name", ["bs.an", "ktv-01", "x_y", "ab"])
def test_a_user_name(name):
    assert is_user_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "1a", "An", "ấn", "bs an", "a" * 33, "bs.an\n", "../a", "-a", "local", "system"]
)
def test_no_user_name(name):
    assert not is_user_name(name)
