"""The application: the page, the API, the health checks, behind one doorkeeper."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

import hoichan
from hoichan.adapters.access_sql import AccessSql
from hoichan.adapters.audit_sql import AuditSql
from hoichan.adapters.external_sql import ExternalAccounts
from hoichan.adapters.held_sql import HeldSql
from hoichan.adapters.oidc_client import OidcClient
from hoichan.adapters.passwords import Passwords
from hoichan.adapters.people_sql import PeopleSql
from hoichan.adapters.queue_read import QueueSql
from hoichan.adapters.receivers_sql import ReceiversSql
from hoichan.adapters.records_read import ReadingSql
from hoichan.adapters.second_factor_sql import SecondFactors
from hoichan.adapters.steering_sql import SteeringSql
from hoichan.adapters.tokens_sql import TokensSql
from hoichan.adapters.work_sql import WorkSql
from hoichan.ports import Clock, Studies
from hoichan.settings import Settings
from hoichan.settings.overlay import Overlaid, of_file
from service.api import (
    accounts,
    audit_fhir,
    auditing,
    beginning,
    dicomweb_pixels,
    dicomweb_retrieve,
    dicomweb_search,
    drift_page,
    emergency,
    fhir,
    fhir_orders,
    fhir_tasks,
    follow_ups,
    health,
    messages,
    metrics,
    notices,
    oidc,
    opinions,
    pages,
    people,
    problems,
    quarantine,
    questions,
    reading,
    reading_drafts,
    receivers,
    retraction,
    routing,
    search,
    second_factor,
    shared,
    shares,
    signing_elsewhere,
    steering,
    studies,
    trial,
    unmatched,
    upload,
    ups,
    ups_channel,
    ups_subscribers,
    waits,
    xml4,
)
from service.api.desk import Desk
from service.api.doorkeeper import Doorkeeper
from service.api.gate import admit
from service.api.witness import Witness
from service.readiness import premises
from service.receivers import InForce
from service.web.reading_room import AppFiles
from service.web.rendering import STATIC, Templates

API_ROUTERS = (
    questions.router,
    notices.router,
    follow_ups.router,
    opinions.router,
    shares.router,
    unmatched.router,
    messages.router,
    quarantine.router,
    fhir_orders.router,
    xml4.router,
    fhir_tasks.router,
    ups.router,
    ups_subscribers.router,
    search.router,
    waits.router,
    reading.router,
    reading_drafts.router,
    beginning.router,
    signing_elsewhere.router,
    retraction.router,
    routing.router,
    studies.router,
    audit_fhir.router,  # before the other resources: a route of its own action
    fhir.router,
    steering.router,
    health.router,
    metrics.router,
)
DICOMWEB_ROUTERS = (dicomweb_search.router, dicomweb_retrieve.router, dicomweb_pixels.router)
PAGE_ROUTERS = (
    pages.router,
    search.page_router,
    questions.page_router,
    notices.page_router,
    follow_ups.page_router,
    beginning.page_router,
    opinions.page_router,
    shares.page_router,
    shared.router,
    unmatched.page_router,
    upload.page_router,
    waits.page_router,
    messages.page_router,
    quarantine.page_router,
    people.router,
    emergency.router,
    accounts.router,
    second_factor.router,
    oidc.router,
    auditing.router,
    steering.page_router,
    drift_page.page_router,
    retraction.page_router,
    routing.page_router,
    receivers.page_router,
    trial.page_router,
)


def create_app(
    settings: Settings,
    *,
    reading: ReadingSql,
    studies_port: Studies,
    people_sql: PeopleSql,
    tokens: TokensSql,
    passwords: Passwords,
    audit: AuditSql,
    clock: Clock,
    held: HeldSql,
    spool_root: Path,
    receivers: Overlaid | None = None,
) -> FastAPI:
    """The page and the API over one record of studies. `receivers`: None for those of the file alone."""
    app = FastAPI(
        title="Hội Chẩn",
        version=hoichan.__version__,
        description="Studies in reading order, what the models said, and where each report went. "
        "Nothing here has been verified by a physician unless its status says so.",
        docs_url=None,  # FastAPI's own page loads scripts from elsewhere; /docs is ours
        redoc_url=None,
        openapi_url=None,  # FastAPI's own route would stand outside the gate
        dependencies=[Depends(admit)],
    )
    app.state.desk = Desk(
        settings=settings,
        reading=reading,
        studies=studies_port,
        people=people_sql,
        tokens=tokens,
        passwords=passwords,
        witness=Witness(audit, clock),
        clock=clock,
        held=held,
        spool_root=spool_root,
        premises=premises(settings, reading.engine, spool_root=spool_root, now=clock.now),
        templates=Templates(settings.site),
        queue=QueueSql(reading.engine, clock),
        work=WorkSql(reading.engine, clock),
        receivers=receivers or of_file(settings),
        steering=SteeringSql(reading.engine, reading.objects, clock),
        external=ExternalAccounts(reading.engine, clock),
        issuer=OidcClient(settings.oidc) if settings.oidc is not None else None,
        factors=SecondFactors(reading.engine, clock, lambda: audit.derived_key("second factor")),
        access=AccessSql(
            reading.engine, clock, {one.code: frozenset(one.senders) for one in settings.facilities}
        ),
    )
    app.state.in_force = _in_force(app, app.state.desk)
    problems.register(app)
    app.add_middleware(Doorkeeper, names=settings.web.public_names)
    for router in (*API_ROUTERS, *DICOMWEB_ROUTERS):
        app.include_router(router, responses=problems.RESPONSES)
    for router in PAGE_ROUTERS:
        app.include_router(router, include_in_schema=False)
    app.router.routes.append(ups_channel.route())
    offline = partial(app.state.desk.templates.render, "offline.html", path="/")
    app.mount("/static/app", AppFiles(lambda language: offline(language=language)), name="app")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _in_force(app: FastAPI, desk: Desk) -> InForce:
    """What gives the application another desk when the receivers of the page have changed (ADR-0021)."""

    def put(laid: Overlaid) -> None:
        now: Desk = app.state.desk
        site = replace(now.premises, settings=laid.settings)
        app.state.desk = replace(now, settings=laid.settings, receivers=laid, premises=site)

    return InForce(desk.receivers, ReceiversSql(desk.reading.engine, desk.clock), put)
