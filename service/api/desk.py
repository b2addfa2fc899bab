"""What every handler works with, put together once by `create_app`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from hoichan.adapters.access_sql import AccessSql
from hoichan.adapters.external_sql import ExternalAccounts
from hoichan.adapters.held_sql import HeldSql
from hoichan.adapters.oidc_client import OidcClient
from hoichan.adapters.passwords import Passwords
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.queue_read import QueueSql
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.second_factor_sql import SecondFactors
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.guard.roles import Action
from hoichan.ports import Clock, Studies
from hoichan.settings import Settings
from hoichan.settings.overlay import Overlaid
from service.api.caller import caller_of
from service.api.witness import Witness
from service.readiness import Premises
from service.web.rendering import Templates

UID_PATTERN = r"^[0-9]+(\.[0-9]+)*$"  # PS3.5 9.1, lenient on leading zeros: some modalities send them
UID_MAXIMUM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The record, the settings and the templates."""

    settings: Settings
    reading: ReadingSql
    studies: Studies  # only for the one verb that writes: send a dead delivery again
    people: PeopleSql
    tokens: TokensSql
    passwords: Passwords
    witness: Witness
    clock: Clock
    held: HeldSql  # what is given out as DICOM objects
    spool_root: Path
    premises: Premises
    templates: Templates
    queue: QueueSql
    work: WorkSql
    steering: SteeringSql
    access: AccessSql
    receivers: Overlaid  # the settings by where each receiver came from
    factors: SecondFactors
    external: ExternalAccounts
    issuer: OidcClient | None  # the hospital's own sign-in; None: local accounts only
    sight: Sight = EVERYTHING  # of who asks; whoever reads studies by the engine itself must narrow by it


def whole_desk_of(request: Request) -> Desk:
    """The desk of the application that serves this request, whoever asks. For the gate alone."""
    desk: Desk = request.app.state.desk
    return desk


def desk_of(request: Request) -> Desk:
    """The desk as the one who asks sees it: what reads studies reads those of its facilities only."""
    desk = whole_desk_of(request)
    caller = caller_of(request)
    if caller is not None and caller.session_id and not caller.may(Action.STUDY_READ):
        desk = replace(desk, reading=desk.reading.without_names())
    if caller is None or not caller.sight.is_bound:
        return desk
    sight = caller.sight
    return replace(
        desk,
        sight=sight,
        reading=desk.reading.within(sight),
        held=desk.held.within(sight),
        queue=desk.queue.within(sight),
    )


AtDesk = Annotated[Desk, Depends(desk_of)]
AtWholeDesk = Annotated[Desk, Depends(whole_desk_of)]
