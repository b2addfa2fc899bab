"""What fits a query, by the kinds of matching of PS3.4 C.2.2.2."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoichan.intake.matching import Unmatchable, check, matches

AN = ["Nguyễn^An^Văn"]


@pytest.mark.parametrize(
    ("vr", "wanted", "values", "fits"),
    [
        ("LO", "", [], True),  # universal
        ("LO", "*", [], True),
        ("LO", "BN1", ["BN1"], True),
        ("LO", "bn1", ["BN1"], False),
        ("LO", "BN*", ["BN1 "], True),
        ("LO", "B?1", ["BN1"], True),
        ("LO", "B?", ["BN1"], False),
        ("LO", "BN1", [], False),
        ("LO", "a.c", ["abc"], False),  # a dot is a dot
        ("CS", "SR", ["CR", "SR"], True),
        ("UI", "1.2,1.3", ["1.3"], True),
        ("UI", "1.2\\1.3", ["1.2"], True),
        ("UI", "1.*", ["1.2"], False),  # UIDs know no wildcards
        ("DA", "20261120", ["20261120"], True),
        ("DA", "2026.11.20", ["20261120"], True),
        ("DA", "20261101-20261130", ["20261130"], True),
        ("DA", "20261101-20261119", ["20261120"], False),
        ("DA", "-20261120", ["20261120"], True),
        ("DA", "20261121-", ["20261120"], False),
        ("DA", "20261120", [""], False),
        ("TM", "0800-0900", ["081530"], True),
        ("TM", "0800-0900", ["090015"], True),
        ("TM", "0816-", ["081530"], False),
        ("TM", "0815", ["081530.5"], True),
        ("TM", "-08", ["081530"], True),
        ("IS", "1", ["01"], True),
        ("IS", "2", ["1"], False),
        ("US", "512", ["x"], False),
        ("PN", "nguyễn^an^văn", AN, True),
        ("PN", "Nguyễn*", AN, True),
        ("PN", "Nguyen*", AN, False),  # accents count until fuzzy matching is asked for
        ("PN", "Nguyễn^An^Văn^^", AN, True),
        ("PN", unicodedata.normalize("NFD", "Nguyễn^An^Văn"), AN, True),
    ],
)
def test_what_fits(vr, wanted, values, fits):
    assert matches(vr, wanted, values) is fits


@pytest.mark.parametrize("wanted", ["nguyen an", "van a", "NGUYEN*", "nguyễn", "an^nguyen"])
def test_fuzzy_names_know_no_accents_and_no_order(wanted):
    assert matches("PN", wanted, AN, fuzzy=True)


def test_fuzzy_is_not_anything():
    assert not matches("PN", "tran an", AN, fuzzy=True)


@pytest.mark.parametrize(
    ("vr", "wanted"), [("DA", "today"), ("DA", "-"), ("TM", "8 o'clock"), ("IS", "one"), ("SQ", "x")]
)
def test_what_cannot_be_asked(vr, wanted):
    with pytest.raises(Unmatchable):
        check(vr, wanted)


@given(st.text(alphabet="*?a^", max_size=30), st.text(alphabet="ab^", max_size=30))
def test_stars_never_take_long(wanted, value):
    matches("LO", wanted, [value])
    matches("PN", wanted, [value])
