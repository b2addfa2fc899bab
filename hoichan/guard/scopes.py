"""What a program may do with its token: one table of scopes and actions, tested cell by cell.

A token belongs to a program, not to a person: it signs nothing, changes no account and reads no audit log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum

from hoichan.guard.roles import Action

TOKEN_NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}")  # in the audit log for decades, as `token:NAME`
OF_A_TOKEN = "token:"  # what stands before its name in the audit log; no account can be called so


class Scope(StrEnum):
    """What a token is for. Stable: they are in records for decades."""

    STOW = "stow"  # store instances (STOW-RS)
    READ = "read"  # find and retrieve studies, images and results (QIDO-RS, WADO-RS, API)
    REPLAY = "replay"  # send a refused delivery again
    METRICS = "metrics"  # counts, for a monitor
    ORDER = "order"  # say what was ordered (FHIR ServiceRequest)
    WORKLIST = "worklist"  # ask for work, see it, claim it, finish it (UPS-RS)


SCOPES: Mapping[Scope, frozenset[Action]] = {
    Scope.STOW: frozenset({Action.INSTANCES_STORE}),
    Scope.READ: frozenset(
        {
            Action.LIST_READ,
            Action.STUDY_READ,
            Action.TRAIL_READ,
            Action.DOCUMENT_READ,
            Action.INSTANCES_READ,
            Action.API_READ,
        }
    ),
    Scope.REPLAY: frozenset({Action.DELIVERY_REPLAY}),
    Scope.METRICS: frozenset({Action.METRICS_READ}),
    Scope.ORDER: frozenset({Action.ORDER_PLACE}),
    Scope.WORKLIST: frozenset({Action.WORKLIST_USE}),
}


def actions_of(scopes: Collection[Scope]) -> frozenset[Action]:
    """What a token with these scopes may do."""
    return frozenset(action for scope in scopes for action in SCOPES[scope])


def is_token_name(text: str) -> bool:
    """Whether a text can be the name of a token."""
    return TOKEN_NAME.fullmatch(text) is not None
