"""The trail of a study in plain words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

from hoichan.errors import ConfigurationError
from hoichan.intake.door import is_uid
from hoichan.ports import TrailEntry
from hoichan.types import StudyInstanceUID

EVENTS: Mapping[str, Mapping[str, str]] = {
    "instances_received": {"vi": "Nhận ảnh", "en": "Images received"},
    "study_assembled": {"vi": "Ca chụp đã đủ ảnh", "en": "Study complete"},
    "study_failed": {"vi": "Phân tích thất bại", "en": "Analysis failed"},
    "analysis_requested_again": {"vi": "Yêu cầu phân tích lại", "en": "Analysis requested again"},
    "report_saved": {"vi": "Đã lập báo cáo AI", "en": "AI report written"},
    "delivery_acknowledged": {"vi": "Nơi nhận đã xác nhận", "en": "Receiver has it"},
    "delivery_postponed": {"vi": "Nơi nhận không trả lời, sẽ gửi lại", "en": "No answer, will be sent again"},
    "delivery_refused": {"vi": "Nơi nhận từ chối", "en": "Receiver refused"},
    "delivery_revived": {"vi": "Yêu cầu gửi lại", "en": "Sending requested again"},
}


def study_uid(text: str) -> StudyInstanceUID:
    """The text as a UID. Raises ConfigurationError when it cannot be one."""
    if not is_uid(text):
        raise ConfigurationError("A Study Instance UID holds only digits and dots, 64 at most.")
    return StudyInstanceUID(text)


def trail(entries: Sequence[TrailEntry], language: str, zone: ZoneInfo) -> Iterator[str]:
    """One line an entry: site time, what happened, and the details."""
    for entry in entries:
        words = EVENTS.get(entry.event, {}).get(language, entry.event)
        details = "  ".join(f"{key}={value}" for key, value in entry.details.items())
        yield f"{entry.at.astimezone(zone):%Y-%m-%d %H:%M:%S}  {words:<36}{details}"
