"""The number of health insurance (BHYT), where a message types one as such; its form alone says nothing."""

from __future__ import annotations

from hoichan import er7
from hoichan.intake.names import NumberKind, read_number
from hoichan.privacy import Phi

HEALTH_CARD = "HC"  # HL7 table 0203


def as_insurance(text: str) -> Phi[str] | None:
    """A number that health insurance would take, without separators; None for anything else."""
    number = read_number(text)
    if number is None or number.kind is NumberKind.IDENTITY_CARD:
        return None
    return Phi(number.value)


def insurance_number(pid: er7.Segment) -> Phi[str] | None:
    """The first identifier of PID-3 that is typed HC and could be one."""
    typed = (
        as_insurance(pid.part(repetition, 1))
        for repetition in pid.repetitions(3)
        if pid.part(repetition, 5).upper() == HEALTH_CARD
    )
    return next((number for number in typed if number is not None), None)
