"""Under which address this page is asked, for the addresses that stand in its answers."""

from __future__ import annotations

from fastapi import Request

from hoichan.settings import is_loopback


def base_url(request: Request) -> str:
    """The base of our DICOMweb services, as the client reaches it.

    Some clients leave the port out of Host; at this machine, where no proxy stands between, it is added.
    """
    url = request.base_url
    server = request.scope.get("server")
    behind = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if url.port is None and is_loopback(url.hostname or "") and not behind and server and server[1]:
        url = url.replace(port=server[1])
    return f"{str(url).rstrip('/')}/dicom-web"
