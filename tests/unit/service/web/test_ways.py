"""Every page can be reached: somewhere a link leads there, and nobody has to know its address."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import HTMLResponse

from service.api.app import PAGE_ROUTERS

TEMPLATES = "".join(
    one.read_text(encoding="utf-8")
    for one in sorted((Path(__file__).parents[4] / "service" / "web" / "templates").glob("*.html"))
)
BY_THEMSELVES = {"/", "/login", "/login/code", "/login/oidc/back"}  # where one is led without a link


def pages():
    for router in PAGE_ROUTERS:
        for route in router.routes:
            kind = getattr(route.response_class, "value", route.response_class)
            if "GET" in route.methods and kind is HTMLResponse and "{" not in route.path:
                yield route.path


@pytest.mark.parametrize("path", sorted(set(pages()) - BY_THEMSELVES))
def test_a_link_leads_there(path):
    assert f'href="{path}' in TEMPLATES
