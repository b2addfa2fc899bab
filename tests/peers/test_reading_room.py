"""The reading room in a real browser, on films that came over DICOM: seen, judged, written, signed."""

import json
import os
import re
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hoichan.testing.house import RunningHouse, wait_until
from hoichan.testing.shelf import write_version
from service.web.reading_room import built
from tests.peers.browser import CHROMIUM, DESK, FLAGS, PHONE, Reader, axe, marks

pytestmark = [
    *marks,
    pytest.mark.skipif(built() is None, reason="the reading room was not built: make app"),
]
PATIENCE_MS = 60_000
PASSWORD = "mat-khau-cua-bac-si-ha"
CHEST = "RG1_UNCR.dcm"
PLAIN = Path(__file__).parents[1] / "golden" / "models" / "plain.onnx"
SEES = (DESK, PHONE)


class Room:
    """A house with a radiologist and films of its own for each reading."""

    def __init__(self, folder):
        self.folder = folder
        self.house = RunningHouse(folder)
        package = write_version(self.house.data_dir / "models", PLAIN, intercept=9.0)
        manifest = package / "manifest.toml"  # a model that suggests both of its findings on every film
        told = manifest.read_text(encoding="utf-8").replace("intercept = 0.0", "intercept = 9.0")
        manifest.write_text(told, encoding="utf-8")
        self.house.start()
        self.base = self.house.page.rstrip("/").replace("127.0.0.1", "localhost")
        who = ("--role", "radiologist", "--display-name", "BS. Hà", "--full-name", "Ngô Thị Hà")
        answer = self.house.run(
            *("user", "add", "bs.ha", *who, "--licence", "001234/HCM-CCHN"),
            told=f"{PASSWORD}\n{PASSWORD}\n",
        )
        assert answer.returncode == 0, answer.stderr

    def film(self, number, late=0):
        """The chest film as a study of its own, analysed. `late`: one more of its images."""
        film = pydicom.dcmread(get_testdata_file(CHEST, download=False))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(film, keyword, f"{film[keyword].value[:50]}.{number}")
        if late:
            film.SOPInstanceUID, film.InstanceNumber = f"{film.SOPInstanceUID}.{late}", 1 + late
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        film.PatientID = f"RR-{number}"
        path = self.folder / f"{number}.{late}.dcm"
        film.save_as(path)
        self.house.send(path)
        self.house.wait_for_report(film.StudyInstanceUID, number=1 + late)
        return film.StudyInstanceUID


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = Room(tmp_path_factory.mktemp("room"))
    yield room
    room.house.stop()


def opened(room, reader, study, language="vi"):
    page = reader.page
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{room.base}/login")
    page.fill("#user_name", "bs.ha")
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_selector(".list")
    page.goto(f"{room.base}/studies/{study}?lang={language}")
    page.wait_for_selector(".stage")
    return page


def full_depth(page):
    ask = page.locator(".stage .quiet-button")
    if ask.count():  # a slow machine is taken for a slow line
        ask.evaluate_all("all => all.forEach(one => one.click())")
    page.wait_for_selector("[data-full=yes]")


def drag(page, start, end):
    box = page.locator(".stage").bounding_box()
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move((at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2)
    page.mouse.move(*at[1])
    page.mouse.up()


def grey(page):
    """The mean of the middle of the film on the screen, 0..255."""
    return page.evaluate(
        """() => {
          const c = document.querySelector(".stage-canvas canvas");
          const d = c.getContext("2d").getImageData(c.width / 2 - 40, c.height / 2 - 40, 80, 80).data;
          let sum = 0;
          for (let i = 0; i < d.length; i += 4) sum += d[i];
          return sum / (d.length / 4);
        }"""
    )


def comes(page, true):
    """Wait for an expression; the page's policy forbids playwright's own way of waiting for one."""
    wait_until(lambda: page.evaluate(true), seconds=PATIENCE_MS / 1000, what=true)


def saved(page):
    page.wait_for_selector(".save-saved")


def shown(page, name):
    """For who wants to look: a picture of the page as it is now."""
    if os.environ.get("HOICHAN_TEST_SHOTS"):
        page.screenshot(path=Path(os.environ["HOICHAN_TEST_SHOTS"]) / f"{name}.png")


@pytest.mark.parametrize(
    ("device", "language", "scheme", "number"),
    [
        (DESK, "vi", "dark", 1),
        (PHONE, "vi", "dark", 2),
        (DESK, "en", "light", 3),
        (PHONE, "en", "light", 4),
    ],
    ids=["desk-vi-dark", "phone-vi-dark", "desk-en-light", "phone-en-light"],
)
def test_a_film_is_seen_judged_written_and_signed(room, browser, device, language, scheme, number):
    study = room.film(number)
    with Reader(browser, color_scheme=scheme, **device) as reader:
        page = opened(room, reader, study, language)
        full_depth(page)
        wait_until(lambda: 10 < grey(page) < 250, seconds=60, what="the film")  # its pixel spacing is 0.000
        before = grey(page)
        page.locator(".stage").focus()
        drag(page, (0.5, 0.5), (0.5, 0.75))
        wait_until(lambda: abs(grey(page) - before) > 5, seconds=60, what="the window moved")
        assert page.locator(".status").inner_text() in (
            "Chưa bác sĩ nào duyệt",
            "Not verified by a physician",
        )

        suggested = page.locator(".card-finding")
        assert suggested.count() >= 2
        for at in range(suggested.count()):  # the first is edited, every other rejected
            card = suggested.nth(at)
            card.locator(".verb").nth(2 if at == 0 else 1).click()
            card.locator(".form .chip").nth(1 if at == 0 else 3).click()
            if at == 0:
                card.locator(".form select").first.select_option(index=1)
                card.locator(".form input[type=number]").fill("24")
            card.locator(".form > .small").click()
        page.locator(".findings .part-head button").click()
        drag(page, (0.3, 0.25), (0.42, 0.45))
        mine = page.locator(".card-finding.is-added")
        mine.locator(".form select").first.select_option("nodule")
        mine.locator(".form > .small").click()
        drawn = page.locator(".box-added polygon").bounding_box()
        stage = page.locator(".stage").bounding_box()
        middle = drawn["x"] + drawn["width"] / 2  # its edges have room for the line's joints
        assert abs(middle - (stage["x"] + stage["width"] * 0.36)) < 3
        comes(page, "document.querySelector('textarea[name=description]').value.includes('24')")
        page.locator("textarea[name=recommendation]").fill("Siêu âm màng phổi.")
        saved(page)

        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")

        page.locator(".sign-bar .primary").click()
        page.fill(".sign input[type=password]", "wrong")
        page.locator(".sign button[type=submit]").click()
        page.wait_for_selector(".sign [role=alert]")
        assert page.locator(".history").count() == 0
        page.fill(".sign input[type=password]", PASSWORD)
        page.locator(".sign button[type=submit]").click()
        page.wait_for_selector(".history .signed")
        signed = page.locator(".history").inner_text()
        assert "Ngô Thị Hà" in signed and "001234/HCM-CCHN" in signed and "Siêu âm màng phổi." in signed
        assert page.locator(".status-final").count() == 1
        assert reader.elsewhere == []
        assert [one for one in reader.complaints if "Content Security Policy" in one] == []


def test_a_draft_outlives_a_dead_line_and_a_closed_tab(room, browser):
    study = room.film(5)
    with Reader(browser, **DESK) as reader:
        page = opened(room, reader, study)
        page.locator("textarea[name=conclusion]").fill("Viêm phổi thuỳ dưới phải.")
        saved(page)
        reader.context.set_offline(True)
        page.locator("textarea[name=conclusion]").fill("Viêm phổi thuỳ dưới trái.")
        page.wait_for_selector(".save-offline")
        kept = page.evaluate("JSON.stringify({...localStorage})")
        drafts = [key for key in json.loads(kept) if key.startswith("hoichan.draft.")]
        assert len(drafts) == 1 and "Viêm" not in kept and "phổi" not in kept
        page.close()
        reader.context.set_offline(False)
        page = reader.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{room.base}/studies/{study}")
        page.wait_for_selector(".stage")
        comes(page, "document.querySelector('textarea[name=conclusion]').value.endsWith('dưới trái.')")
        saved(page)
        comes(page, "!Object.keys(localStorage).some(key => key.startsWith('hoichan.draft.'))")


def judged(page, conclusion):
    """Accept what is suggested, and say one's own word."""
    open_ones = page.locator(".verb-accept[aria-pressed=false]")
    while open_ones.count():
        open_ones.first.click()
    page.locator("textarea[name=conclusion]").fill(conclusion)
    saved(page)


def signed(page, *, kind=0, reason=""):
    """Sign in the dialog; `kind`: which of the chips, where there are any."""
    page.locator(".sign-bar .primary").click()
    if reason:
        page.locator(".sign .chip").nth(kind).click()
        page.locator(".sign input[required]:not([type=password])").fill(reason)
    page.fill(".sign input[type=password]", PASSWORD)
    page.locator(".sign button[type=submit]").click()


@pytest.mark.parametrize(("device", "language", "number"), [(PHONE, "en", 21), (DESK, "vi", 22)])
def test_who_did_not_see_a_colleagues_signature_overwrites_nothing(room, browser, device, language, number):
    study = room.film(number)
    with Reader(browser, **DESK) as one, Reader(browser, **device) as other:
        page = opened(room, one, study)
        judged(page, "Bản thứ nhất.")
        signed(page)
        page.wait_for_selector(".history .signed")
        late = opened(room, other, study, language)
        late.wait_for_selector(".history .signed")
        page.locator("textarea[name=conclusion]").fill("Bản thứ hai.")
        signed(page, reason="Đo lại.")
        page.wait_for_selector(".status-amended")

        late.locator("textarea[name=conclusion]").fill("Bản của trang cũ.")
        late.wait_for_selector(".conflict")
        shown(late, f"overtaken-{number}")
        late.locator(".conflict button").click()
        late.wait_for_selector(".conflict button + button")
        assert "Bản thứ hai." in late.locator(".history").inner_text()
        assert "Ngô Thị Hà" in late.locator(".conflict").inner_text()
        assert late.locator("textarea[name=conclusion]").input_value() == "Bản của trang cũ."
        shown(late, f"conflict-{number}")
        assert axe.Axe().run(late).response["violations"] == []
        late.locator(".conflict button").first.click()
        saved(late)
        signed(late, reason="Thêm ý kiến.")
        late.wait_for_selector(".history li:nth-child(3)")

        signed(page, kind=2, reason="Nhầm phim.")  # the one that this page shows stands no more
        page.wait_for_selector(".sign [role=alert]")
        shown(page, f"withdrawal-{number}")
        page.locator(".sign .small", has_text="Xem bản hiện hành").click()
        page.wait_for_selector(".history li:nth-child(3)")
        assert "Bản của trang cũ." in page.locator(".history li").first.inner_text()
        assert page.locator(".status-amended").count() == 1


@pytest.mark.parametrize(("device", "language", "number"), [(PHONE, "vi", 23), (DESK, "en", 24)])
def test_an_image_that_comes_late_takes_no_word_from_the_reader(room, browser, device, language, number):
    study = room.film(number)
    with Reader(browser, **device) as reader:
        page = opened(room, reader, study, language)
        judged(page, "Trước khi có thêm ảnh.")
        cards = page.locator(".card-finding").count()
        room.film(number, late=1)
        page.locator("textarea[name=conclusion]").fill("Sau khi có thêm ảnh.")
        page.wait_for_selector(".conflict")
        shown(page, f"late-{number}")
        page.locator(".conflict button").click()
        wait_until(lambda: page.locator(".card-finding").count() > cards, seconds=60, what="both images")
        page.wait_for_selector(".conflict", state="detached")
        assert page.locator("textarea[name=conclusion]").input_value() == "Sau khi có thêm ảnh."
        assert page.locator(".verb-accept[aria-pressed=true]").count() == cards
        judged(page, "Đã xem cả hai ảnh.")
        signed(page)
        page.wait_for_selector(".history .signed")


def test_nobody_signs_for_a_patient_whom_the_page_did_not_show(room, browser):
    study = room.film(26)
    with Reader(browser, **PHONE) as reader:
        page = opened(room, reader, study)
        judged(page, "Không thấy tổn thương.")
        page.clock.install()
        page.reload()
        page.wait_for_selector(".stage")
        again = pydicom.dcmread(room.folder / "26.0.dcm")
        again.PatientID, again.PatientName = "RR-OTHER", "Khac^Nguoi"
        again.save_as(room.folder / "26.again.dcm")
        asked = f"fetch('/api/v1/studies/{study}/reading').then((answer) => answer.json())"
        told = f"{asked}.then((told) => [told.study.patient.patient_id, told.report.report_uid])"
        _, former = page.evaluate(told)
        room.house.send(room.folder / "26.again.dcm")

        def is_corrected():  # with its result: one that came after the page would hold the draft again
            whose, result = page.evaluate(told)
            return whose == "RR-OTHER" and result != former

        wait_until(is_corrected, seconds=60, what="the correction, and the result for it")
        page.clock.fast_forward(31_000)  # the page asks every half minute
        page.wait_for_selector(".news")
        shown(page, "news")
        signed(page)
        page.wait_for_selector(".sign [role=alert]")
        assert "Bệnh nhân của ca này đã được sửa" in page.locator(".sign").inner_text()
        assert "RG1" in page.locator(".bar-who").inner_text()
        page.locator(".sign .small", has_text="Xem bản hiện hành").click()
        page.locator(".bar-who", has_text="Khac").wait_for()  # the page loads itself anew
        comes(page, "document.querySelector('textarea[name=conclusion]')?.value.startsWith('Không')")
        shown(page, "corrected")
        judged(page, "Vẫn không thấy tổn thương.")
        signed(page)
        page.wait_for_selector(".history .signed")


def test_a_signature_whose_answer_the_line_took_is_found_by_who_signs_again(room, browser):
    study = room.film(25)
    with Reader(browser, **PHONE) as reader:
        page = opened(room, reader, study)
        judged(page, "Không thấy tổn thương.")
        page.route("**/sign", lambda route: (route.fetch(), route.abort()))
        signed(page)
        page.wait_for_selector(".sign [role=alert]")
        page.unroute("**/sign")
        page.fill(".sign input[type=password]", PASSWORD)
        page.locator(".sign button[type=submit]").click()
        page.locator(".sign .small", has_text="Xem bản hiện hành").click()
        page.wait_for_selector(".history .signed")
        assert page.locator(".history li").count() == 1


def test_it_is_read_by_keyboard_alone(room, browser):
    study = room.film(6)
    with Reader(browser, **DESK) as reader:
        page = opened(room, reader, study)
        page.keyboard.press("?")
        page.wait_for_selector(".help[open]")
        assert page.locator(".help kbd").count() > 40
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card-finding.is-accepted")
        page.keyboard.press("x")  # the next one
        page.wait_for_selector(".card-finding.is-rejected")
        saved(page)
        page.keyboard.press("s")
        page.wait_for_selector(".sign[open] .gaps")  # a rejection without a reason is not signed
        assert page.locator(".sign button[type=submit]").is_disabled()


def stands(page, times):
    """Whether film 7 stands at so many times the scale at which all of it fits."""
    scale, fitting = page.evaluate(
        """() => {
          const stage = document.querySelector(".stage");
          const marks = document.querySelector(".stage-marks g");
          const [a, b] = marks.getAttribute("transform").slice(7).split(",");
          return [Math.hypot(a, b), Math.min(stage.clientWidth / 1841, stage.clientHeight / 1955)];
        }"""
    )
    return abs(scale / (fitting * times) - 1) < 0.02


def test_a_film_fits_into_a_pane_that_changed_while_it_came(room, play):
    browser = play.chromium.launch(
        executable_path=CHROMIUM, headless=True, args=[*FLAGS, "--disable-3d-apis"]
    )
    study, held = room.film(7), []
    with Reader(browser, **DESK) as reader:
        reader.page.route(re.compile(r"/instances/[0-9.]+$"), lambda route: held.append(route))  # noqa: PLW0108  playwright takes no builtin
        page = opened(room, reader, study)
        page.locator(".stage .quiet-button").evaluate_all("all => all.forEach(one => one.click())")
        wait_until(lambda: page.evaluate("0") or held, seconds=60, what="the film is asked for")
        page.set_viewport_size({"width": 1000, "height": 600})
        comes(page, "document.querySelector('.stage').clientHeight < 600")
        held[0].continue_()
        full_depth(page)
        wait_until(lambda: stands(page, 1), seconds=60, what="the whole film is on the screen")
    browser.close()


def test_the_film_is_drawn_without_webgl(room, play):
    browser = play.chromium.launch(
        executable_path=CHROMIUM, headless=True, args=[*FLAGS, "--disable-3d-apis"]
    )
    study = room.film(7)
    with Reader(browser, **DESK) as reader:
        page = opened(room, reader, study)
        assert page.evaluate("document.createElement('canvas').getContext('webgl2') === null")
        full_depth(page)
        wait_until(lambda: 10 < grey(page) < 250, seconds=60, what="the film")

        wait_until(lambda: stands(page, 1), seconds=60, what="the whole film is on the screen")
        page.keyboard.press("+")
        wait_until(lambda: stands(page, 1.25), seconds=60, what="a quarter larger")
        page.keyboard.press("0")
        wait_until(lambda: stands(page, 1), seconds=60, what="the whole film again")
        page.keyboard.press("f")
        comes(
            page, "document.querySelector('.stage-marks g').getAttribute('transform').startsWith('matrix(-')"
        )
    browser.close()


def test_a_critical_notice_is_acknowledged_in_the_room(room, browser):
    study = room.film(11)
    with Reader(browser, **DESK) as reader:
        page = opened(room, reader, study)
        page.wait_for_selector(".notice-line")
        assert "CHƯA bác sĩ nào xác nhận" in page.inner_text(".notice-line")
        assert page.title().startswith("(")
        page.click(".notice-line button")
        page.wait_for_selector(".notice-line", state="detached")
        page.click(".bar-bell")
        page.wait_for_selector('.bar-bell[aria-pressed="false"]')
        assert reader.complaints == []


@pytest.mark.parametrize(("device", "number"), [(DESK, 12), (PHONE, 13)], ids=["desk", "phone"])
def test_a_next_step_is_given_in_the_room_after_the_signature(room, browser, device, number):
    study = room.film(number)
    with Reader(browser, **device) as reader:
        page = opened(room, reader, study)
        assert page.locator(".follow").count() == 0  # nothing is signed: nothing to follow
        for card in page.locator(".card-finding").all():
            card.locator(".verb").nth(0).click()
        page.locator("textarea[name=conclusion]").fill("Tràn dịch màng phổi.")
        saved(page)
        page.locator(".sign-bar .primary").click()
        page.fill(".sign input[type=password]", PASSWORD)
        page.locator(".sign button[type=submit]").click()
        page.wait_for_selector(".follow form")
        form = page.locator(".follow form")
        assert form.locator("select[name=owner] option").all_inner_texts() == ["BS. Hà (bs.ha)"]
        form.locator("select[name=kind]").select_option("ct")
        form.locator("input[name=due_on]").fill("2031-05-20")
        form.locator("input[name=words]").fill("Chụp có thuốc")
        form.locator("button[type=submit]").click()
        page.wait_for_selector(".follow ol li")
        told = page.locator(".follow ol li").inner_text()
        assert "Chụp CT" in told and "20/05/2031" in told and "bs.ha" in told and "Chụp có thuốc" in told
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.goto(f"{room.base}/follow-ups")
        assert "Chụp có thuốc" in page.inner_text("main")
        assert reader.complaints == []


def test_the_first_picture_is_small_and_comes_with_the_page(room, browser):
    study = room.film(8)
    with Reader(browser, **DESK) as reader:
        sizes = []
        reader.page.on(
            "response", lambda one: sizes.append(len(one.body())) if "/rendered?" in one.url else None
        )
        page = opened(room, reader, study)
        page.wait_for_load_state("networkidle")
        assert len(sizes) == 1  # asked for once, by the page itself
        assert 5_000 < sizes[0] < 80_000
