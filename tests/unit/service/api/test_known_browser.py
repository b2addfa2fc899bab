"""Wrong passwords of others keep nobody waiting who has signed in with the own browser before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hoichan.testing.reading import PASSWORD, add_user
from service.api.caller import KNOWN, SESSION
from service.api.known_browser import LASTS, MOST
from tests.unit.service.api.test_people import Site, post, sign_in


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    add_user(site.record, "bs.an")
    yield site
    site.close()


def annoy(site, name="bs.an", address="10.0.0.66"):
    told = [sign_in(site.browser(address), name, "wrong").status_code for _ in range(7)]
    assert told == [403] * 5 + [429] * 2


def test_the_owner_comes_in_from_the_own_browser_while_others_wait(site):
    mine = site.browser("10.0.0.5")
    assert sign_in(mine).status_code == 303
    post(mine, "/logout")
    assert KNOWN in mine.cookies and SESSION not in mine.cookies
    annoy(site)
    assert sign_in(mine).status_code == 303
    assert sign_in(site.browser("10.0.0.5")).status_code == 429  # another browser, the same desk
    assert sign_in(site.browser("10.0.0.66")).status_code == 429  # and no way round for who annoyed


def test_nor_does_a_noisy_address_stop_it(site):
    mine = site.browser("10.0.0.5")
    assert sign_in(mine).status_code == 303
    post(mine, "/logout")
    for number in range(25):
        sign_in(site.browser("10.0.0.5"), f"user{number}", "wrong")
    assert sign_in(site.browser("10.0.0.5")).status_code == 429
    assert sign_in(mine).status_code == 303


def test_a_known_browser_is_no_way_to_guess(site):
    mine = site.browser()
    assert sign_in(mine).status_code == 303
    post(mine, "/logout")
    assert [sign_in(mine, password="wrong").status_code for _ in range(7)] == [403] * 5 + [429] * 2
    assert sign_in(mine).status_code == 429
    site.record.clock.advance(16 * 60)
    assert sign_in(mine).status_code == 303


def test_it_is_known_for_one_person_for_a_while_and_cannot_be_made_up(site):
    add_user(site.record, "bs.binh")
    mine = site.browser()
    assert sign_in(mine).status_code == 303
    post(mine, "/logout")
    annoy(site, "bs.binh")
    assert sign_in(mine, "bs.binh").status_code == 429
    kept = mine.cookies[KNOWN]
    assert "bs.an" not in kept
    annoy(site, address="10.0.0.67")
    forged = kept[:-1] + ("0" if kept[-1] != "0" else "1")
    for value in (forged, kept.replace(".", ".9", 1), "x", "", "~".join([forged] * MOST + [kept])):
        stranger = site.browser("10.0.0.9")
        stranger.cookies.set(KNOWN, value)
        assert sign_in(stranger).status_code == 429
    site.record.clock.advance((LASTS + timedelta(seconds=1)).total_seconds())
    annoy(site, address="10.0.0.68")
    mine.cookies.set(KNOWN, kept)
    assert sign_in(mine).status_code == 429


def test_people_who_share_a_workstation_are_known_each(site):
    mine = site.browser()
    names = ["bs.an", *(f"bs.{number}" for number in range(MOST))]
    for name in names:
        if name != "bs.an":
            add_user(site.record, name)
        assert sign_in(mine, name, PASSWORD).status_code == 303
        post(mine, "/logout")
    assert mine.cookies[KNOWN].count("~") == MOST - 1
    for name, told in ((names[-1], 303), (names[1], 303), ("bs.an", 429)):  # the first is forgotten
        annoy(site, name, address=f"10.1.0.{names.index(name)}")
        assert sign_in(mine, name, PASSWORD).status_code == told
        if told == 303:
            post(mine, "/logout")


def test_signing_a_report_waits_for_nobody_else(site):
    """The password is asked for again under the same counts."""
    mine = site.browser()
    assert sign_in(mine).status_code == 303
    annoy(site)
    form = {"present": PASSWORD, "new": "một câu dài khác hẳn", "again": "một câu dài khác hẳn"}
    assert post(mine, "/account/password", **form).status_code != 429
