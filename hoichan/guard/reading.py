"""Reads elements of a data set that nobody vouches for: what cannot be understood is None, never an error."""

from __future__ import annotations

import struct

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag, Tag

# What pydicom raises while it turns bytes into values
UNREADABLE = (
    BytesLengthException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
    RecursionError,
)


def expected_vr(tag: BaseTag) -> str | None:
    """The VR of the dictionary, e.g. "OB or OW"; None for private and unknown tags."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def element_of(data_set: Dataset, tag: BaseTag) -> DataElement | None:
    """An element of the VR that the dictionary says; None when absent, unknown, unreadable or of another."""
    expected = expected_vr(tag)
    if expected is None or tag not in data_set:
        return None
    raw = data_set.get_item(tag)
    declared = raw.VR if raw is not None else None
    if declared not in (None, "UN", expected, *expected.split(" or ")):
        return None
    try:
        element = data_set[tag]
    except UNREADABLE:
        return None
    if isinstance(element, RawDataElement) or element.VR not in (expected, *expected.split(" or ")):
        return None
    return element


def has_expected_vm(element: DataElement) -> bool:
    """Whether the number of values is one that the dictionary allows, e.g. "1", "1-3" or "2-2n"."""
    least, _, most = dictionary_VM(element.tag).partition("-")
    count = element.VM
    if isinstance(element.value, bytes) and element.VR.startswith("US or"):
        count = len(element.value) // 2  # implicit syntax: numbers of two bytes, the sign not yet known
    if not most:
        return count == int(least)
    return int(least) <= count and (most.endswith("n") or count <= int(most))


def texts_of(data_set: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value as text, without padding; empty when there is none."""
    element = element_of(data_set, Tag(keyword))
    return () if element is None else values_as_text(element)


def text_of(data_set: Dataset, keyword: str) -> str:
    """The first value as text; "" when there is none."""
    return next(iter(texts_of(data_set, keyword)), "")


def values_as_text(element: DataElement) -> tuple[str, ...]:
    """As `texts_of`, of an element at hand."""
    value = element.value
    if value is None or isinstance(value, bytes):
        return ()
    try:
        parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
        return tuple(str(part).strip(" \0") for part in parts if part is not None)
    except UNREADABLE:
        return ()
