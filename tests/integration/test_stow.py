"""STOW-RS at the web process as it is started in earnest."""

import http.client
import json
import ssl

import pytest

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.errors import ConfigurationError
from hoichan.guard.roles import Role
from hoichan.guard.scopes import Scope
from hoichan.settings import load
from hoichan.testing.certificates import Authority
from hoichan.testing.datasets import film
from hoichan.testing.files import as_file
from service.web_main import check_people
from service.wiring import open_house
from tests.integration.test_page import STOW, Page, stow


def test_stow_fills_the_spool(tmp_path):
    page = Page(tmp_path / "data", tmp_path / "ready", HOICHAN_WEB__STOW="true")
    try:
        status, text = stow(page, as_file(film()), as_file(film(instance="2")))
    finally:
        _, log = page.process.communicate(timeout=60)
    assert status == 200 and len(json.loads(text)["00081199"]["Value"]) == 2
    spool = DiskSpool(tmp_path / "data" / "spool")
    assert len(spool.listing(film().StudyInstanceUID)) == 2
    assert spool.take_fresh() == [film().StudyInstanceUID] and not spool.is_open(film().StudyInstanceUID)
    lines = [json.loads(line) for line in log.decode().splitlines()]
    (request,) = [line for line in lines if line["event"] == "http_request"]
    assert film().StudyInstanceUID not in request["route"] and request["status"] == 200


def test_stow_is_refused_where_the_network_reaches_the_page():
    with pytest.raises(ConfigurationError, match="travel in clear"):
        load(environment={"HOICHAN_WEB__STOW": "true", "HOICHAN_WEB__HOST": "0.0.0.0"})


def test_stow_beyond_this_machine_needs_a_token_before_it_starts(tmp_path):
    settings = load(
        data_dir=tmp_path,
        environment={
            "HOICHAN_WEB__STOW": "true",
            "HOICHAN_WEB__HOST": "0.0.0.0",
            "HOICHAN_WEB__TLS__CERT": "web.crt",
            "HOICHAN_WEB__TLS__KEY": "web.key",
        },
    )
    house = open_house(settings)
    house.people.add("bs.an", display_name="An", role=Role.RADIOLOGIST, password_hash="x")
    with pytest.raises(ConfigurationError, match="hoichan token add"):
        check_people(house)
    house.tokens.add("pacs", [Scope.STOW])
    check_people(house)
    house.engine.dispose()


@pytest.mark.parametrize(
    "pair", [("in", "in"), ("in", "in/below"), ("data", "x"), (".", "x"), ("data/in", "x")]
)
def test_a_watched_folder_stands_apart(pair, tmp_path):
    text = "".join(f"[[folders]]\npath = '{tmp_path / one}'\n" for one in pair)
    (tmp_path / "hoichan.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="one lies in another"):
        load(tmp_path / "hoichan.toml", data_dir=tmp_path / "data", environment={})


def test_a_page_on_the_network_takes_objects_by_tls_and_token_only(tmp_path):
    certificate, key = Authority(tmp_path).issue("localhost")
    settings = load(data_dir=tmp_path / "data", environment={})
    house = open_house(settings)
    house.people.add("bs.an", display_name="An", role=Role.RADIOLOGIST, password_hash="x")
    store, look = (house.tokens.add(name, [Scope(name)]) for name in ("stow", "read"))
    house.engine.dispose()
    page = Page(
        tmp_path / "data",
        tmp_path / "ready",
        HOICHAN_WEB__HOST="0.0.0.0",
        HOICHAN_WEB__STOW="true",
        HOICHAN_WEB__TLS__CERT=str(certificate),
        HOICHAN_WEB__TLS__KEY=str(key),
    )
    context = ssl.create_default_context(cafile=tmp_path / "authority.crt")
    body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + as_file(film()) + b"\r\n--edge--\r\n"

    def ask(method, path, token, content=None):
        connection = http.client.HTTPSConnection("localhost", page.port, timeout=60, context=context)
        headers = {"Content-Type": STOW} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    try:
        told = {name: ask("POST", "/dicom-web/studies", token, body) for name, token in
                (("none", None), ("wrong", "hoichan_x"), ("read", look), ("stow", store))}  # fmt: skip
        found = {name: ask("GET", "/dicom-web/studies", token) for name, token in
                 (("none", None), ("stow", store), ("read", look))}  # fmt: skip
    finally:
        _, log = page.process.communicate(timeout=60)
    assert told == {"none": 401, "wrong": 401, "read": 403, "stow": 200}
    assert found == {"none": 401, "stow": 403, "read": 204}  # nobody has recorded it yet
    spool = DiskSpool(tmp_path / "data" / "spool")
    (spooled,) = spool.listing(film().StudyInstanceUID)
    assert spooled.calling_ae_title == "stow"
    assert store.encode() not in log and look.encode() not in log
