"""What a trial found out fills in what the configuration leaves open, and nothing else."""

from __future__ import annotations

import pytest

from hoichan.errors import ConfigurationError
from hoichan.settings import load
from hoichan.settings.profiles import profile_file, write_profile

PACS = """
[[destinations]]
name = "pacs"
kind = "dicom"
host = "127.0.0.1"
port = 104
ae_title = "PACS"
{more}
"""


def loaded(folder, more=""):
    config = folder / "hoichan.toml"
    config.write_text(PACS.format(more=more), encoding="utf-8")
    (pacs,) = load(config, data_dir=folder / "data", environment={}).destinations
    return pacs


def test_a_profile_fills_in_what_is_open(tmp_path):
    write_profile(tmp_path / "data", "pacs", {"send": ["sc", "pdf"], "sr_class": "enhanced"})
    pacs = loaded(tmp_path)
    assert (pacs.send, pacs.sr_class) == (("sc", "pdf"), "enhanced")


def test_the_configuration_has_the_last_word(tmp_path):
    write_profile(tmp_path / "data", "pacs", {"send": ["sc", "pdf"], "sr_class": "enhanced"})
    pacs = loaded(tmp_path, 'send = ["sr"]')
    assert (pacs.send, pacs.sr_class) == (("sr",), "enhanced")


def test_the_profile_of_another_kind_or_receiver_says_nothing(tmp_path):
    write_profile(tmp_path / "data", "pacs", {"unread_status": "P", "charset": "ascii", "host": "evil"})
    write_profile(tmp_path / "data", "other", {"sr_class": "enhanced"})
    pacs = loaded(tmp_path)
    assert (pacs.host, pacs.sr_class, pacs.send) == ("127.0.0.1", "auto", ("sc", "sr"))


@pytest.mark.parametrize("content", ["send = [", 'send = ["fax"]'])
def test_a_profile_that_makes_no_sense_stops_the_start_with_a_sentence(tmp_path, content):
    place = profile_file(tmp_path / "data", "pacs")
    place.parent.mkdir(parents=True)
    place.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"profile|send"):
        loaded(tmp_path)


def test_a_profile_is_replaced_whole(tmp_path):
    write_profile(tmp_path / "data", "pacs", {"sr_class": "enhanced"})
    place = write_profile(tmp_path / "data", "pacs", {"send": ["sr"]})
    assert [one.name for one in place.parent.iterdir()] == ["pacs.toml"]
    assert loaded(tmp_path).sr_class == "auto"
