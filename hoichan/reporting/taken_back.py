"""A machine's answer that a rejection note took back: its study is read and signed without it."""

from __future__ import annotations

from dataclasses import replace

from hoichan.types import Outcome, Report

WORDS = {
    "vi": "Kết quả của máy đã bị loại bỏ tại hệ thống lưu trữ hình ảnh.",
    "en": "The machine's result was rejected at the image archive.",
}


def without_answer(report: Report) -> Report:
    """The report without what its models said: nothing is left to judge, to draw or to write down.

    It keeps its identity, so that a draft and a signature follow it; one that stands is returned as it is.
    """
    if not report.taken_back:
        return report
    return replace(
        report,
        outcome=Outcome.NOT_ANALYSED,
        findings=(),
        refusals=(),
        manifests=(),
        results=(),
        measurements=(),
        volumes=(),
        conclusion=dict(WORDS),
    )
