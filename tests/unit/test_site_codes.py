"""Code tables of the site: all or nothing, by date, and never what nobody answers for."""

from __future__ import annotations

from datetime import date

import pytest

from hoichan.site_codes import CodeTable, SiteCode, TableUnreadable, chosen, read_table

INDICATORS = """code,display,valid_from,valid_until,usable,finding_key,verified_by
2100001,Tràn dịch màng phổi,2025-07-01,2026-06-30,,pleural_effusion,BS Lê Minh Châu
2100002,Tràn dịch màng phổi,01/07/2026,,yes,pleural_effusion,BS Lê Minh Châu
2100003,Tràn khí màng phổi,,,,pneumothorax,
2100004,Xẹp phổi,,,no,atelectasis,BS Lê Minh Châu
"""


def read(text, table=CodeTable.INDICATOR):
    return read_table(table, text.encode("utf-8"))


def test_a_table_is_read_to_the_letter():
    rows = read(INDICATORS)
    assert [row.code for row in rows] == ["2100001", "2100002", "2100003", "2100004"]
    assert rows[0].display == "Tràn dịch màng phổi" and rows[0].verified_by == "BS Lê Minh Châu"
    assert (rows[1].valid_from, rows[1].valid_until) == (date(2026, 7, 1), None)
    assert [row.usable for row in rows] == [True, True, True, False]


@pytest.mark.parametrize("separator", [",", ";"])
def test_spreadsheets_write_it_in_their_ways(separator):
    text = "\ufeff" + INDICATORS.replace(",", separator).replace("\n", "\r\n")
    assert read(text) == read(INDICATORS)


@pytest.mark.parametrize(
    ("key", "day", "code"),
    [
        ("pleural_effusion", date(2026, 6, 30), "2100001"),
        ("pleural_effusion", date(2026, 7, 1), "2100002"),
        ("pleural_effusion", date(2025, 6, 30), None),  # nothing was in force
        ("pneumothorax", date(2026, 7, 1), None),  # nobody answers for it
        ("atelectasis", date(2026, 7, 1), None),  # a more specific one has to be used
        ("edema", date(2026, 7, 1), None),
    ],
)
def test_the_code_of_the_day_is_chosen(key, day, code):
    found = chosen(read(INDICATORS), key, day)
    assert (found.code if found else None) == code


def test_two_that_fit_are_none():
    rows = [SiteCode(code=c, display="x", finding_key="edema", verified_by="y") for c in ("1", "2")]
    assert chosen(rows, "edema", date(2026, 1, 1)) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "first line"),
        ("code,name\n1,x\n", "first line"),
        ("code,display\n", "no rows"),
        ("code,display\n1,\n", "line 2: display is empty"),
        ("code,display\n1,x\na b,y\n", "line 3: this is no code"),
        ("code,display,finding_key\n1,x,colour\n", "finding_key is unknown"),
        ("code,display,usable\n1,x,maybe\n", "usable"),
        ("code,display,valid_from\n1,x,32/01/2026\n", "a date is"),
        ("code,display,valid_from,valid_until\n1,x,2026-02-01,2026-01-01\n", "before valid_from"),
        ("code,display\n1,x\n1,y\n", "twice on one day"),
        ("code,display\n1,x,y\n", "more values"),
        ('code,display\n1,"x\n', "no CSV"),
    ],
)
def test_a_file_with_a_fault_is_not_loaded_at_all(text, why):
    with pytest.raises(TableUnreadable, match=why):
        read(text)


def test_another_character_set_is_refused():
    with pytest.raises(TableUnreadable, match="UTF-8"):
        read_table(CodeTable.ICD10, INDICATORS.encode("utf-16"))


@pytest.mark.parametrize("code", ["J90", "J93.9", "A15.0", "M49.0*", "A17.0†"])
def test_codes_of_icd_10(code):
    assert read(f"code,display\n{code},x\n", CodeTable.ICD10)[0].code == code


@pytest.mark.parametrize("code", ["J84.10A", "90", "j90", "J9", ""])
def test_no_codes_of_icd_10(code):
    with pytest.raises(TableUnreadable):
        read(f"code,display\n{code},x\n", CodeTable.ICD10)


@pytest.mark.parametrize(("key", "good"), [("DX/CHEST", True), ("", True), ("edema", False)])
def test_a_service_is_of_a_modality_and_a_region(key, good):
    text = f"code,display,finding_key\n18.0119.0028,Chụp Xquang ngực thẳng,{key}\n"
    if good:
        assert read(text, CodeTable.SERVICE)[0].finding_key == (key or None)
    else:
        with pytest.raises(TableUnreadable):
            read(text, CodeTable.SERVICE)
