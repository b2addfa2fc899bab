"""The reading room's app as it was built (`make app`), and what it is served with.

Sources are in `service/web/app`; the built files lie in `static/app` and travel in the wheel. Where they are
absent the study page is the one written by the server (ADR-0015).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.web.rendering import LANGUAGES, STATIC, catalogue

FOLDER = STATIC / "app"
# What decodes compressed frames is WebAssembly in a worker; Preact and the viewer set style attributes.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "connect-src 'self' blob:",
        "img-src 'self' data: blob:",
        "style-src 'self' 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
FOR_EVER = "public, max-age=31536000, immutable"  # names of built files hold their hash
PACKED = frozenset({".js", ".css", ".wasm", ".json"})
_SPOKEN = ("room.",)  # the tables of the catalogue that the app speaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Where the app begins."""

    script: str  # path below /static/app
    styles: tuple[str, ...]


def built(folder: Path = FOLDER) -> Built | None:
    """The app as it was built; None where it was not."""
    try:
        manifest: Mapping[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        entry = next(one for one in manifest.values() if one.get("isEntry"))
        return Built(script=str(entry["file"]), styles=tuple(map(str, entry.get("css", ()))))
    except (OSError, ValueError, StopIteration, KeyError, AttributeError):
        return None


@lru_cache(maxsize=len(LANGUAGES))
def words(language: str) -> dict[str, str]:
    """The sentences that the app speaks, by key."""
    return {key: text for key, text in catalogue(language).items() if key.startswith(_SPOKEN)}


class AppFiles(StaticFiles):
    """The built app under `/static/app`: kept by browsers for ever, packed, and with a policy of its own.

    Beside the files: `words/{language}.json`, `manifest.webmanifest`, and `offline.html` for the phone.
    """

    def __init__(self, offline: Callable[[str], str], folder: Path = FOLDER) -> None:
        """`offline` writes the page that is shown without a line, in a language."""
        super().__init__(directory=folder, check_dir=False)
        self._offline = offline

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file of the app. Raises HTTPException 404."""
        response = await self._answer(path, scope)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    async def _answer(self, path: str, scope: Scope) -> Response:
        if path in {f"words/{language}.json" for language in LANGUAGES}:
            answer = JSONResponse(words(Path(path).stem), headers={"Cache-Control": "public, max-age=86400"})
            return _packed(answer, bytes(answer.body), scope)
        if path in {f"offline.{language}.html" for language in LANGUAGES}:
            return HTMLResponse(self._offline(path.split(".")[1]), headers={"Cache-Control": "no-cache"})
        if path == "manifest.webmanifest":
            return JSONResponse(_manifest(), media_type="application/manifest+json")
        response = await super().get_response(path, scope)
        if path == "sw.js":  # it looks after the whole site, and is asked for anew each time
            response.headers["Service-Worker-Allowed"] = "/"
            response.headers["Cache-Control"] = "no-cache"
            return response
        if response.status_code == HTTPStatus.OK and path.startswith("assets/"):
            response.headers["Cache-Control"] = FOR_EVER
            if Path(path).suffix in PACKED and "gzip" in Headers(scope=scope).get("accept-encoding", ""):
                whole = Path(str(self.directory)) / path
                return _as_gzip(response, _gzip_of(str(whole), whole.stat().st_mtime_ns))
        return response


def _packed(response: Response, body: bytes, scope: Scope) -> Response:
    if "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
        return response
    return _as_gzip(response, gzip.compress(body, 6, mtime=0))


def _as_gzip(response: Response, body: bytes) -> Response:
    of_body = ("content-length", "etag")
    kept = {key: value for key, value in response.headers.items() if key.lower() not in of_body}
    return Response(body, headers={**kept, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


@lru_cache(maxsize=64)
def _gzip_of(path: str, _changed_at: int) -> bytes:
    return gzip.compress(Path(path).read_bytes(), 9, mtime=0)


def _manifest() -> dict[str, Any]:
    """What a phone needs to install the page (Web Application Manifest)."""
    return {
        "name": "Hội Chẩn",
        "short_name": "Hội Chẩn",
        "lang": "vi",
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#0e1114",
        "theme_color": "#0e1114",
        "icons": [{"src": "/static/favicon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}],
    }
