"""`/studies/{uid}` as a reading room: the frame of the app, with the first picture already in it.

The picture is asked for by the page itself, before any script runs: a small JPEG of the first image. Without
JavaScript, and where the app was not built, `/studies/{uid}/record` has the study as the server writes it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from fastapi import Request
from starlette.responses import HTMLResponse

from hoichan.adapters.held_sql import Held
from hoichan.adapters.views import StudyView
from service.api.caller import VISIT, caller_of, cookie
from service.api.desk import Desk
from service.api.questions import told_of
from service.api.show import show
from service.web.reading_room import CONTENT_SECURITY_POLICY, Built

PREVIEW = "viewport=880,880&quality=70"  # under 80 kB for a chest film
# structured reports, segmentations and presentation states
_WITHOUT_PICTURE = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}." for kind in (88, 66, 11))


def reading_page(request: Request, desk: Desk, view: StudyView, app: Built) -> HTMLResponse:
    """The frame of the app around one study."""
    uid = view.entry.study_instance_uid
    first = first_image(view, desk.held.objects(uid))
    page = show(
        request,
        desk,
        "reading.html",
        entry=view.entry,
        app=app,
        first=first,
        preview=PREVIEW,
        doubted=bool(told_of(desk, uid).questions),  # two people in one study: said before anybody reads it
        draft_key=draft_key(request, desk),
        **_user(request),
    )
    page.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return page


def first_image(view: StudyView, held: Sequence[Held]) -> Held | None:
    """What is looked at first: the image that findings speak of, else the first that was received."""
    images = [
        one
        for one in held
        if one.instance_row is not None and not one.sop_class_uid.startswith(_WITHOUT_PICTURE)
    ]
    report = view.entry.report
    spoken = {finding.sop_instance_uid for finding in report.findings} if report else set()
    return next((one for one in images if one.sop_instance_uid in spoken), next(iter(images), None))


def draft_key(request: Request, desk: Desk) -> str:
    """256 bits under which the browser may keep an unsent draft of this reader; hex.

    It is the same for as long as the password is, so that a draft outlives the session; and it is never in
    the browser's store, so that nobody reads a draft there after signing out.
    """
    caller = caller_of(request)
    secret = ""
    if caller is not None and caller.session_id:
        secret = desk.people.password_hash(caller.user_name) or caller.session_id
    return hmac.digest((secret or cookie(request, VISIT)).encode(), b"hoichan draft", hashlib.sha256).hex()


def _user(request: Request) -> dict[str, str]:
    caller = caller_of(request)
    return {"user_name": caller.user_name if caller else ""}
