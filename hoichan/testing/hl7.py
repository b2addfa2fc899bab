"""HL7 v2 messages as a RIS or HIS writes them, for tests."""

from __future__ import annotations

from collections.abc import Sequence

NAME = "Trần^Hạnh^Thị"
BORN = "19610402"
AT = "20261120080000+0700"


def header(kind: str, control_id: str, *, at: str = AT, charset: str = "UNICODE UTF-8") -> str:
    """MSH from the RIS of the hospital."""
    return rf"MSH|^~\&|RIS|BV|HOICHAN|79001|{at}||{kind}|{control_id}|P|2.5.1||||||{charset}"


def patient(
    number: str = "BN0001", *, name: str = NAME, born: str = BORN, sex: str = "F", citizen: str = ""
) -> str:
    """PID with the facility's number and, where given, the citizen id."""
    numbers = f"{number}^^^BV^MR" + (f"~{citizen}^^^BCA^NNVNM" if citizen else "")
    return f"PID|1||{numbers}||{name}||{born}|{sex}"


def message(*segments: str) -> bytes:
    """The segments as bytes in UTF-8."""
    return "".join(f"{segment}\r" for segment in segments).encode("utf-8")


def order(
    control_id: str = "1",
    *,
    kind: str = "OMI^O23^OMI_O23",
    control: str = "NW",
    placer: str = "ORD1",
    accession: str = "XR1",
    study: str = "",
    priority: str = "R",
    procedure: str = "36554-4^X-quang ngực thẳng^LN",
    modality: str = "CR",
    at: str = AT,
    pid: str | None = None,
    more: Sequence[str] = (),
) -> bytes:
    """An order of one film of the chest."""
    return message(
        header(kind, control_id, at=at),
        pid or patient(),
        f"ORC|{control}|{placer}||||||||{at}",
        f"TQ1|1||||||{at}||{priority}",
        f"OBR|1|{placer}||{procedure}|||||||||||||||||||||||||||Ho kéo dài",
        f"IPC|{accession}|RP1|{study}|SPS1|{modality}",
        *more,
    )


def update(control_id: str = "2", *, trigger: str = "A08", pid: str | None = None) -> bytes:
    """A person as the HIS knows them now."""
    return message(header(f"ADT^{trigger}^ADT_A01", control_id), "EVN||20261120", pid or patient(), "PV1|1|O")


def merge(
    control_id: str = "3", *, prior: str = "BN0001", trigger: str = "A40", pid: str | None = None
) -> bytes:
    """One number becomes another."""
    return message(
        header(f"ADT^{trigger}^ADT_A39", control_id),
        "EVN||20261120",
        pid or patient("BN0002"),
        f"MRG|{prior}^^^BV^MR",
    )
