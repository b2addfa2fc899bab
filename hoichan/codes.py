"""The coded concepts we speak, and their Vietnamese and English words.

Codes come from PS3.16 and the public finding tables of the field; a code that could not be checked in two
places is never sent, and then the finding travels under its DICOM, its RadLex or a code of our own
(`hoichan.finding_table`). Vietnamese terms are to be signed off by a radiologist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hoichan import finding_table as table
from hoichan.types import Code, Outcome, Presence, RefusalCode, Tier

FindingTerm = table.FindingTerm
FINDINGS = table.FINDINGS
LUNG, PLEURA, HEART, CHEST = table.LUNG, table.PLEURA, table.HEART, table.CHEST
# What the shipped network for films tells of, and what it is trained on.
FILM_LABELS = tuple(FINDINGS)[:14]

SCHEME_TO_SYSTEM: Mapping[str, str] = {
    "SCT": "http://snomed.info/sct",
    "RADLEX": "http://radlex.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "UCUM": "http://unitsofmeasure.org",
    table.OWN_SCHEME: "urn:oid:2.25.4079915198925189895829786400168140284",  # parts that no public scheme has
}


def _code(value: str, scheme: str, meaning: str) -> Code:
    return Code(code_value=value, coding_scheme_designator=scheme, code_meaning=meaning)


PRESENCE: Mapping[Presence, Code] = {  # CID 240
    Presence.PRESENT: _code("52101004", "SCT", "Present"),
    Presence.ABSENT: _code("272519000", "SCT", "Absent"),
    Presence.INDETERMINATE: _code("373068000", "SCT", "Undetermined"),
}

OUTCOMES: Mapping[Outcome, Code] = {  # CID 6047
    Outcome.WITHOUT_FINDINGS: _code("111241", "DCM", "All algorithms succeeded; without findings"),
    Outcome.WITH_FINDINGS: _code("111242", "DCM", "All algorithms succeeded; with findings"),
    Outcome.PARTIAL_WITHOUT_FINDINGS: _code(
        "111243", "DCM", "Not all algorithms succeeded; without findings"
    ),
    Outcome.PARTIAL_WITH_FINDINGS: _code("111244", "DCM", "Not all algorithms succeeded; with findings"),
    Outcome.NOT_ANALYSED: _code("111245", "DCM", "No algorithms succeeded; without findings"),
}

ACTIONABLE: Mapping[Tier, Code] = {  # CID 7035
    Tier.CRITICAL: _code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding"),
    Tier.URGENT: _code("RID49481", "RADLEX", "ACR Category 2 Actionable Finding"),
    Tier.ROUTINE: _code("RID49482", "RADLEX", "ACR Category 3 Actionable Finding"),
}

TIERS: Mapping[Tier, Mapping[str, str]] = {
    Tier.CRITICAL: {"vi": "Khẩn cấp", "en": "Critical"},
    Tier.URGENT: {"vi": "Ưu tiên", "en": "Urgent"},
    Tier.ROUTINE: {"vi": "Thường quy", "en": "Routine"},
}

BANNER: Mapping[str, str] = {
    "vi": "KẾT QUẢ AI – CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN",
    "en": "AI RESULT – NOT VERIFIED BY A PHYSICIAN",
}
FOOTER: Mapping[str, str] = {
    "vi": "Kết quả do phần mềm trí tuệ nhân tạo tạo ra nhằm hỗ trợ bác sĩ, "
    "không thay thế kết luận chuyên môn.",
    "en": "Produced by artificial intelligence software to support a physician; "
    "it does not replace a professional conclusion.",
}
NOT_ANALYSED: Mapping[str, str] = {"vi": "KHÔNG PHÂN TÍCH", "en": "NOT ANALYSED"}
NOTHING_ABOVE_THRESHOLD: Mapping[str, str] = {  # never "normal"
    "vi": "AI không phát hiện bất thường vượt ngưỡng. Điều này không có nghĩa là phim bình thường.",
    "en": "AI found nothing above its thresholds. This does not mean that the film is normal.",
}
# A network for volumes measures; it looks for nothing, and has nothing to compare with.
MEASURED: Mapping[str, str] = {"vi": "AI đo", "en": "AI measured"}
SERIES: Mapping[str, str] = {"vi": "chuỗi hình", "en": "series"}
NO_REFERENCE: Mapping[str, str] = {
    "vi": "Không có giá trị tham chiếu theo tuổi và giới: thể tích không cho biết thế nào là bình thường.",
    "en": "No reference by age or sex: a volume does not tell what is usual.",
}
NOT_SEARCHED: Mapping[str, str] = {
    "vi": "AI không tìm bất thường trong ca chụp này.",
    "en": "The AI did not look for abnormalities in this study.",
}
VOLUME = Code(code_value="118565006", coding_scheme_designator="SCT", code_meaning="Volume")
MILLILITRE = Code(code_value="ml", coding_scheme_designator="UCUM", code_meaning="Milliliter")
SUSPECTED: Mapping[str, str] = {"vi": "AI gợi ý", "en": "AI suggests"}
SCORE: Mapping[str, str] = {"vi": "điểm AI", "en": "AI score"}

REFUSALS: Mapping[RefusalCode, Mapping[str, str]] = {
    RefusalCode.NO_MODEL: {
        "vi": "Không có mô hình nào phù hợp với ca chụp này.",
        "en": "No installed model fits this study.",
    },
    RefusalCode.NO_IMAGE: {
        "vi": "Ca chụp không có hình ảnh để phân tích.",
        "en": "The study holds no image to analyse.",
    },
    RefusalCode.REJECTED_IMAGE: {
        "vi": "Hình ảnh đã bị loại bỏ bằng phiếu từ chối (rejection note).",
        "en": "The image has been taken back by a rejection note.",
    },
    RefusalCode.REMOVED_IMAGE: {
        "vi": "Hình ảnh gốc đã được xoá theo quy định lưu trữ; kết quả trước đó vẫn còn.",
        "en": "The image was removed by the retention rules; its former result is kept.",
    },
    RefusalCode.WRONG_MODALITY: {
        "vi": "Loại máy chụp không thuộc phạm vi của mô hình.",
        "en": "The modality is outside what the model was made for.",
    },
    RefusalCode.WRONG_BODY_PART: {
        "vi": "Bộ phận chụp không phải là ngực.",
        "en": "The body part is not the chest.",
    },
    RefusalCode.WRONG_VIEW: {
        "vi": "Tư thế chụp không phải ngực thẳng (PA hoặc AP).",
        "en": "The view is not a frontal one (PA or AP).",
    },
    RefusalCode.AGE_UNDER_LIMIT: {
        "vi": "Người bệnh nhỏ tuổi hơn giới hạn của mô hình.",
        "en": "The patient is younger than the model's limit.",
    },
    RefusalCode.AGE_OVER_LIMIT: {
        "vi": "Tuổi người bệnh vượt giới hạn của mô hình.",
        "en": "The patient is older than the model's limit.",
    },
    RefusalCode.DERIVED_IMAGE: {
        "vi": "Hình ảnh đã qua xử lý hoặc chụp lại, không phải ảnh gốc.",
        "en": "The image is derived or a capture, not an original.",
    },
    RefusalCode.FOR_PROCESSING: {
        "vi": "Hình ảnh thô (FOR PROCESSING), chưa xử lý để đọc.",
        "en": "The image is raw (FOR PROCESSING), not meant for reading.",
    },
    RefusalCode.MULTI_FRAME: {
        "vi": "Hình ảnh có nhiều khung, mô hình chỉ nhận phim đơn.",
        "en": "The image has several frames; the model takes single films.",
    },
    RefusalCode.NOT_FRONTAL_CHEST: {
        "vi": "Hình ảnh không giống phim ngực thẳng, đúng chiều.",
        "en": "The pixels do not look like an upright frontal chest film.",
    },
    RefusalCode.PIXELS_OUT_OF_RANGE: {
        "vi": "Giá trị điểm ảnh bất thường (phim trống hoặc hỏng).",
        "en": "The pixel values are not usable (empty or damaged film).",
    },
    RefusalCode.UNDECODABLE_PIXELS: {
        "vi": "Không giải mã được dữ liệu điểm ảnh.",
        "en": "The pixel data cannot be decoded.",
    },
    RefusalCode.WRONG_REGION: {
        "vi": "Bộ phận chụp không thuộc phạm vi của mô hình.",
        "en": "The body part is outside what the model was made for.",
    },
    RefusalCode.WRONG_SEQUENCE: {
        "vi": "Loại chuỗi hình (xung, thuốc tương phản, mô tả) không thuộc phạm vi của mô hình.",
        "en": "The kind of series (sequence, contrast, description) is outside what the model was made for.",
    },
    RefusalCode.WRONG_GEOMETRY: {
        "vi": "Kích thước, độ dày hoặc hướng lát cắt không phải là loại mà mô hình đã học.",
        "en": "Size, spacing or direction of the slices are not what the model was trained on.",
    },
    RefusalCode.OTHER_SERIES: {
        "vi": "Một chuỗi hình khác của ca chụp phù hợp hơn đã được dùng.",
        "en": "Another series of the study fits better and was taken.",
    },
    RefusalCode.MODEL_FAILED: {
        "vi": "Mô hình gặp lỗi khi phân tích.",
        "en": "The model failed while analysing.",
    },
    RefusalCode.MODEL_FROZEN: {
        "vi": "Mô hình đang tạm ngưng theo quyết định của người phụ trách.",
        "en": "The model was put on hold by a person in charge.",
    },
}

# What a refused film looks like to the gate: `hoichan.analysis.gate` names it in the refusal's detail.
LOOKS: Mapping[str, Mapping[str, str]] = {
    "not_upright": {
        "vi": "Phim có vẻ bị xoay hoặc lộn ngược.",
        "en": "The film seems to be turned or upside down.",
    },
    "inverted": {
        "vi": "Phim có vẻ bị đảo đen trắng (âm bản).",
        "en": "The film seems to be inverted, black for white.",
    },
    "mirrored": {
        "vi": "Phim có vẻ bị lật trái – phải; hãy kiểm tra dấu bên.",
        "en": "The film seems to be mirrored left to right; check the side marker.",
    },
    "other_object": {
        "vi": "Có vẻ là bộ phận khác hoặc không phải phim X-quang ngực.",
        "en": "It seems to be another part of the body, or no chest film at all.",
    },
}
_LOOKS = re.compile(r"\blooks=(\w+)")


def refusal_words(code: RefusalCode, detail: str = "") -> dict[str, str]:
    """Why something was not analysed, by language; and what a refused film looks like, where it is known."""
    found = _LOOKS.search(detail)
    more = LOOKS.get(found[1], {}) if found and code == RefusalCode.NOT_FRONTAL_CHEST else {}
    return {
        language: f"{text} {more[language]}" if more else text for language, text in REFUSALS[code].items()
    }
