"""A receiver that is away and comes back; and the commands that find a study, stop it and repeat it."""

from __future__ import annotations

import shutil
import time

from pydicom import dcmread

from hoichan import er7
from hoichan.testing import a_film
from hoichan.testing.house import free_ports, wait_until, write_film
from hoichan.testing.mllp import Receiver, answering, taking

SENDERS = """
[[listener.senders]]
ae_title = "CR_ROOM1"
host = "127.0.0.0/8"
[[destinations]]
name = "ris"
kind = "hl7v2"
host = "127.0.0.1"
port = {port}
"""
FOLDERS = """
[[listener.senders]]
ae_title = "CR_ROOM1"
host = "127.0.0.0/8"
[[destinations]]
name = "first"
kind = "folder"
path = "{0}/first"
send = ["sr", "fhir"]
"""
SINCE = """
[[destinations]]
name = "second"
kind = "folder"
path = "{0}/second"
"""
WAKES_SECONDS = 20  # the longest pause between two knocks, and a try


def test_a_receiver_that_was_away_gets_everything_once_as_soon_as_it_is_back(new_house, tmp_path):
    (port,) = free_ports(1)
    quiet = {"HOICHAN_WORK__FIRST_RETRY_SECONDS": "3600"}  # only a knock can find out in time
    house = new_house(config=SENDERS.format(port=port), environment=quiet)
    house.start()
    films = [a_film(f"outage{number}", rows=320, columns=280) for number in range(3)]
    house.send(*[write_film(film, tmp_path) for film in films])
    uids = [film.StudyInstanceUID for film in films]
    house.wait_for_event(uids[0], "report_saved")
    wait_until(
        lambda: any("delivery_postponed" in house.events(uid) for uid in uids),
        seconds=60,
        what="nobody answers",
    )

    said = house.run("study", uids[0], check=True).stdout
    wait_until(
        lambda: "connection_refused" in house.run("study", uids[0], check=True).stdout,
        seconds=60,
        what="the cause is named",
    )
    assert films[0].PatientID not in said
    listed = house.run("study", films[0].AccessionNumber, check=True).stdout
    assert all(uid in listed for uid in uids)

    assert "1 deliveries will not be sent" in house.run("cancel", uids[2], check=True).stdout
    with Receiver(answering(taking), port=port) as receiver:
        back_at = time.monotonic()
        for uid in uids[:2]:
            house.wait_for_event(uid, "delivery_acknowledged", seconds=WAKES_SECONDS * 3)
        print(f"delivered {time.monotonic() - back_at:.1f} s after the receiver was back")
        assert len(receiver.frames) == 2  # once each, and not what was stopped

        house.run("replay", uids[0], "--from", "deliver", "--to", "ris", check=True)
        house.wait_for_event(uids[0], "delivery_acknowledged", number=2)
        sent = [er7.read(frame[1:-2]).control_id for frame in receiver.frames]
        assert len(sent) == 3 and len(set(sent)) == 2  # the same message under the same MSH-10
        assert receiver.frames[2] in receiver.frames[:2]

        house.run("replay", uids[1], "--from", "analyse", check=True)
        house.wait_for_event(uids[1], "report_confirmed")
        assert house.events(uids[1]).count("report_saved") == 1
        assert len(receiver.frames) == 3

        house.run("replay", uids[2], check=True)
        house.wait_for_event(uids[2], "delivery_acknowledged")
    assert house.run("study", "nobody").returncode == 1
    assert house.run("replay", uids[0], "--from", "deliver", "--to", "elsewhere").returncode == 2


def test_a_receiver_that_was_configured_since_gets_what_was_said_without_a_model(new_house, tmp_path):
    house = new_house(config=FOLDERS.format(tmp_path))
    house.start()
    film = a_film("configured since", rows=320, columns=280)
    uid = film.StudyInstanceUID
    house.send(write_film(film, tmp_path))
    house.wait_for_event(uid, "delivery_acknowledged")
    (first,) = (tmp_path / "first" / uid).iterdir()
    house.stop()
    assert "0 deliveries were added" in house.run("replay", uid, "--from", "compose", check=True).stdout

    shutil.rmtree(house.data_dir / "models")  # nobody could say it again
    with house.config.open("a", encoding="utf-8") as config:
        config.write(SINCE.format(tmp_path))
    assert "1 deliveries were added" in house.run("replay", uid, "--from", "compose", check=True).stdout
    house.start()
    house.wait_for_event(uid, "delivery_acknowledged", number=2)
    (second,) = (tmp_path / "second" / uid).iterdir()
    assert second.name == first.name
    for name in ("sr.dcm", "report.fhir.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    picture = dcmread(second / "sc.dcm")
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    events = house.events(uid)
    assert (events.count("report_saved"), events.count("analysis_requested_again")) == (1, 0)
    assert events.count("report_confirmed") == 1
    assert "0 deliveries were added" in house.run("replay", uid, "--from", "compose", check=True).stdout
