"""Who may do what: one table of roles and actions, tested cell by cell.

What the table does not name is forbidden. An account has one role, so that every line of the audit log
says in which one somebody acted; who does two jobs has two accounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

RESERVED = frozenset({"local", "system", "unknown"})  # have a meaning of their own in the audit log
USER_NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}")  # in the audit log for decades: plain, lower case


class Role(StrEnum):
    """What somebody is here for. Stable: they are in records for decades."""

    RADIOLOGIST = "radiologist"  # reads studies
    TECHNICIAN = "technician"  # takes the films and sees that they arrive
    CLINICIAN = "clinician"  # reads results
    ML_ENGINEER = "ml_engineer"  # keeps the models; sees no patient
    IT_ADMIN = "it_admin"  # keeps the service running; finds a study, sees no picture
    AUDITOR = "auditor"  # reads who did what; sees no patient
    LOCAL = "local"  # whoever sits at this machine while there is no account at all
    PROGRAM = "program"  # a program with a token; what it may do is in its scopes, not here
    HOLDER = "holder"  # of a link to one signed report; no account


class Action(StrEnum):
    """What can be done at the page and the API."""

    LIST_READ = "list_read"  # the reading list: names, suggestions, where each study is
    STUDY_READ = "study_read"  # one study: findings and picture
    STUDY_REVIEW = "study_review"  # judge its findings, write the report's draft
    STUDY_SIGN = "study_sign"  # sign a report, or withdraw one, with the own password
    NOTICE_ACKNOWLEDGE = "notice_acknowledge"  # take note of a critical finding
    FOLLOW_UP_KEEP = "follow_up_keep"  # say what follows a finding, and how it ended
    OPINION_KEEP = "opinion_keep"  # ask a colleague about a study, answer, end it
    SHARE_KEEP = "share_keep"  # make a link to a signed report for an outsider, take it back
    TRAIL_READ = "trail_read"  # what happened to one study: identifiers and codes only
    DOCUMENT_READ = "document_read"  # take a report away as a file
    INSTANCES_READ = "instances_read"  # the images themselves, and results as DICOM objects
    INSTANCES_STORE = "instances_store"  # bring images in (STOW-RS): for programs
    INSTANCES_UPLOAD = "instances_upload"  # bring images in by hand, at the page
    DELIVERY_REPLAY = "delivery_replay"  # send a refused delivery again
    QUEUE_READ = "queue_read"  # what waits and what was refused: titles, UIDs and counts
    STUDY_STEER = "study_steer"  # repeat the work on a study, or stop it
    ORDER_PLACE = "order_place"  # say what was ordered (FHIR ServiceRequest): for programs
    WORKLIST_USE = "worklist_use"  # see and claim work on studies (UPS-RS): for programs
    PATIENT_DECIDE = "patient_decide"  # say whose a study is, where only a person may
    AUDIT_READ = "audit_read"
    METRICS_READ = "metrics_read"  # counts; open on this machine
    API_READ = "api_read"  # the description of the API
    BREAK_GLASS = "break_glass"  # see one study of another facility for a while, with a reason
    ROUTING_MANAGE = "routing_manage"  # which models look at what, and who gets the results
    PEOPLE_MANAGE = "people_manage"  # accounts: add, close, role, facilities, another password
    ACCOUNT_OWN = "account_own"  # one's own account: password, sign out


ASSIGNABLE = tuple(role for role in Role if role not in (Role.LOCAL, Role.PROGRAM, Role.HOLDER))

_EVERYBODY = frozenset({Action.API_READ, Action.ACCOUNT_OWN})
_STEERS = frozenset({Action.QUEUE_READ, Action.STUDY_STEER, Action.DELIVERY_REPLAY})
_DECIDES = frozenset({Action.TRAIL_READ, Action.PATIENT_DECIDE})
_READER = frozenset({Action.LIST_READ, Action.STUDY_READ, Action.INSTANCES_READ})
_REVIEWS = frozenset({Action.STUDY_REVIEW, Action.STUDY_SIGN})
_UPLOADS = frozenset({Action.INSTANCES_UPLOAD})
_BREAKS = frozenset({Action.BREAK_GLASS})
_FOLLOWS = frozenset({Action.NOTICE_ACKNOWLEDGE, Action.FOLLOW_UP_KEEP})
_CONSULTS = frozenset({Action.OPINION_KEEP, Action.SHARE_KEEP})
ALLOWED: Mapping[Role, frozenset[Action]] = {
    Role.RADIOLOGIST: _EVERYBODY
    | _REVIEWS
    | _READER
    | _STEERS
    | _DECIDES
    | _BREAKS
    | _FOLLOWS
    | _CONSULTS
    | _UPLOADS
    | {Action.DOCUMENT_READ},
    Role.TECHNICIAN: _EVERYBODY | _READER | _STEERS | _DECIDES | _BREAKS | _UPLOADS,
    Role.CLINICIAN: _EVERYBODY | _READER | _BREAKS | _FOLLOWS | _CONSULTS | {Action.DOCUMENT_READ},
    Role.ML_ENGINEER: _EVERYBODY | {Action.METRICS_READ},
    Role.IT_ADMIN: _EVERYBODY
    | _STEERS
    | {
        Action.LIST_READ,
        Action.TRAIL_READ,
        Action.METRICS_READ,
        Action.PEOPLE_MANAGE,
        Action.ROUTING_MANAGE,
    },
    Role.AUDITOR: _EVERYBODY | {Action.TRAIL_READ, Action.AUDIT_READ},
    Role.LOCAL: _READER
    | _STEERS
    | _DECIDES
    | {
        Action.DOCUMENT_READ,
        Action.METRICS_READ,
        Action.API_READ,
    },
    Role.PROGRAM: frozenset(),
    Role.HOLDER: frozenset(),
}

# What is about every facility at once: closed to an account that is bound to some, whatever its role.
OF_THE_WHOLE_SITE = frozenset(
    {
        Action.AUDIT_READ,
        Action.METRICS_READ,
        Action.PEOPLE_MANAGE,
        Action.ROUTING_MANAGE,
    }
)


def may(role: Role, action: Action) -> bool:
    """Whether a role allows an action."""
    return action in ALLOWED[role]


def is_user_name(text: str) -> bool:
    """Whether a text can be the name of an account."""
    return USER_NAME.fullmatch(text) is not None and text not in RESERVED
