import gzip
import json

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from service.web.reading_room import CONTENT_SECURITY_POLICY, AppFiles, Built, built, words


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "main-1.js").write_text("1;" * 500, encoding="ascii")
    (tmp_path / "sw.js").write_text("2;", encoding="ascii")
    manifest = {
        "src/pixels.ts": {"file": "assets/pixels-1.js"},
        "src/main.tsx": {"file": "assets/main-1.js", "css": ["assets/main-1.css"], "isEntry": True},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


@pytest.fixture
def client(folder):
    app = Starlette()
    app.mount("/static/app", AppFiles(lambda language: f"<p>{language}</p>", folder))
    return TestClient(app)


def test_it_begins_where_the_build_says(folder, tmp_path):
    assert built(folder) == Built(script="assets/main-1.js", styles=("assets/main-1.css",))
    assert built(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"src/a.ts": {"file": "a"}}'])
def test_a_build_that_cannot_be_read_is_none(folder, text):
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    assert built(folder) is None


def test_a_built_file_is_packed_and_kept_for_ever(client, folder):
    path = "/static/app/assets/main-1.js"
    packed = client.get(path, headers={"accept-encoding": "gzip"})
    plain = client.get(path, headers={"accept-encoding": "identity"})
    assert packed.content == plain.content == (folder / "assets" / "main-1.js").read_bytes()
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 9, mtime=0))
    assert "content-encoding" not in plain.headers
    for answer in (packed, plain):
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_the_policy_lets_no_script_in_but_its_own():
    of = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert of["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert (
        of["default-src"] == "'self'" and of["object-src"] == "'none'" and of["frame-ancestors"] == "'none'"
    )


def test_the_worker_looks_after_the_whole_site_and_is_never_kept(client):
    answer = client.get("/static/app/sw.js")
    assert answer.headers["service-worker-allowed"] == "/"
    assert answer.headers["cache-control"] == "no-cache"


def test_the_words_of_the_room_come_from_the_catalogue(client):
    vi, en = (client.get(f"/static/app/words/{one}.json").json() for one in ("vi", "en"))
    assert vi == words("vi") and vi["room.sign.open"] == "Ký kết quả"
    assert set(vi) == set(en)
    assert all(key.startswith("room.") for key in vi)
    assert client.get("/static/app/words/fr.json").status_code == 404


def test_a_phone_is_told_how_to_install_it_and_what_to_show_without_a_line(client):
    manifest = client.get("/static/app/manifest.webmanifest")
    assert manifest.headers["content-type"] == "application/manifest+json"
    assert (manifest.json()["start_url"], manifest.json()["display"]) == ("/", "standalone")
    assert client.get("/static/app/offline.vi.html").text == "<p>vi</p>"
    assert client.get("/static/app/../page.css").status_code == 404
