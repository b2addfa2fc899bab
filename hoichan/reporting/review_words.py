"""The words of a review: places, sides, reasons of a rejection, recommendations, and report templates.

Vietnamese terms are those of a chest film report; a radiologist signs them off like all others. A place whose
own code could not be checked carries the code of what it lies in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hoichan import codes
from hoichan.types import Code, Side

Texts = Mapping[str, str]  # language -> text


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the chest a person says a finding is."""

    key: str
    display: Texts  # as it stands inside a sentence
    code: Code  # SCT 363698007 "Finding Site"


def _code(value: str, meaning: str) -> Code:
    return Code(code_value=value, coding_scheme_designator="SCT", code_meaning=meaning)


MEDIASTINUM = _code("72410000", "Mediastinum")
SITES: Mapping[str, Place] = {
    key: Place(key=key, display={"vi": vi, "en": en}, code=code)
    for key, vi, en, code in (
        ("apex", "vùng đỉnh", "apex", codes.LUNG),
        ("upper_zone", "vùng trên", "upper zone", codes.LUNG),
        ("middle_zone", "vùng giữa", "middle zone", codes.LUNG),
        ("lower_zone", "vùng dưới", "lower zone", codes.LUNG),
        ("hilum", "vùng rốn phổi", "hilum", codes.LUNG),
        ("whole_lung", "lan toả toàn bộ phế trường", "diffuse, whole lung", codes.LUNG),
        ("costophrenic_angle", "góc sườn hoành", "costophrenic angle", codes.PLEURA),
        ("pleura", "màng phổi", "pleura", codes.PLEURA),
        ("heart", "bóng tim", "heart", codes.HEART),
        ("mediastinum", "trung thất", "mediastinum", MEDIASTINUM),
        ("chest_wall", "thành ngực", "chest wall", codes.CHEST),
    )
}
SIDE_CODES: Mapping[Side, Code] = {  # CID 244
    Side.LEFT: _code("7771000", "Left"),
    Side.RIGHT: _code("24028007", "Right"),
    Side.BILATERAL: _code("51440002", "Bilateral"),
}
SIDES: Mapping[Side, Texts] = {
    Side.LEFT: {"vi": "bên trái", "en": "left"},
    Side.RIGHT: {"vi": "bên phải", "en": "right"},
    Side.BILATERAL: {"vi": "hai bên", "en": "bilateral"},
}
REJECTION_REASONS: Mapping[str, Texts] = {
    "not_seen": {"vi": "Không có dấu hiệu này trên phim", "en": "The sign is not on the film"},
    "wrong_place": {"vi": "AI khoanh sai vị trí", "en": "The AI points to the wrong place"},
    "normal_structure": {"vi": "Cấu trúc bình thường hoặc hình chồng lấp", "en": "Normal structure"},
    "artefact": {"vi": "Ảnh giả hoặc vật bên ngoài", "en": "Artefact or foreign object"},
    "known": {"vi": "Tổn thương cũ, không còn hoạt động", "en": "Known, inactive lesion"},
    "other_finding": {"vi": "Là dấu hiệu khác", "en": "It is another finding"},
    "poor_image": {"vi": "Phim không đạt chất lượng", "en": "The quality of the film is too poor"},
    "other": {"vi": "Lý do khác", "en": "Other"},
}
_CT: Texts = {
    "vi": "Đề nghị chụp cắt lớp vi tính lồng ngực và so sánh với phim cũ.",
    "en": "Computed tomography of the chest and comparison with earlier films are advised.",
}
_SPUTUM: Texts = {
    "vi": "Đề nghị kết hợp lâm sàng, xét nghiệm đờm khi nghi lao; chụp kiểm tra sau điều trị.",
    "en": "Clinical correlation, a sputum test where tuberculosis is suspected, and a control film "
    "after treatment are advised.",
}
_HEART: Texts = {
    "vi": "Đề nghị khám tim mạch, siêu âm tim.",
    "en": "Cardiac assessment with echocardiography is advised.",
}
# What a first draft proposes as the next step; the reader decides.
RECOMMENDATIONS: Mapping[str, Texts] = {
    "pneumothorax": {
        "vi": "Đề nghị báo ngay bác sĩ điều trị.",
        "en": "Immediate notification of the treating physician is advised.",
    },
    "pleural_effusion": {
        "vi": "Đề nghị siêu âm màng phổi, kết hợp lâm sàng.",
        "en": "Pleural ultrasound and clinical correlation are advised.",
    },
    "nodule": _CT,
    "mass": _CT,
    "consolidation": _SPUTUM,
    "pneumonia": _SPUTUM,
    "infiltration": _SPUTUM,
    "edema": _HEART,
    "cardiomegaly": _HEART,
}
SENTENCES: Mapping[str, Texts] = {
    "size": {"vi": "kích thước khoảng {size} mm", "en": "about {size} mm"},
    "absent": {"vi": "Không thấy hình ảnh {names}.", "en": "No sign of {names}."},
    "undetermined": {"vi": "Chưa loại trừ {name}.", "en": "{name} cannot be excluded."},
    "nothing": {
        "vi": "Không ghi nhận bất thường trong các dấu hiệu đã xét trên phim này.",
        "en": "None of the signs considered is seen on this film.",
    },
    "no_prior": {"vi": "Không có phim cũ để so sánh.", "en": "No earlier film for comparison."},
    "rejected": {"vi": "Bác sĩ không xác nhận gợi ý của AI", "en": "AI suggestion not confirmed"},
    "signed": {
        "vi": "Bác sĩ {name}, số CCHN {licence} đã xem và xác nhận lúc {time}. AI đã được sử dụng để hỗ trợ.",
        "en": "Read and confirmed by {name}, licence number {licence}, at {time}. AI was used as support.",
    },
    "signed_alone": {
        "vi": "Bác sĩ {name}, số CCHN {licence} đã đọc và xác nhận lúc {time}. "
        "Ca này không có kết quả của máy.",
        "en": "Read and confirmed by {name}, licence number {licence}, at {time}. "
        "There was no machine's result.",
    },
    "signed_taken_back": {
        "vi": "Bác sĩ {name}, số CCHN {licence} đã đọc và xác nhận lúc {time}. "
        "Kết quả của máy đã bị thu hồi và không được sử dụng.",
        "en": "Read and confirmed by {name}, licence number {licence}, at {time}. "
        "The machine's result was taken back and not used.",
    },
}
HEADINGS: Mapping[str, Texts] = {
    "description": {"vi": "Mô tả", "en": "Description"},
    "comparison": {"vi": "So sánh", "en": "Comparison"},
    "conclusion": {"vi": "Kết luận", "en": "Conclusion"},
    "recommendation": {"vi": "Đề nghị", "en": "Recommendation"},
}
KINDS: Mapping[str, Texts] = {
    "final": {"vi": "Kết quả chẩn đoán hình ảnh", "en": "Imaging report"},
    "amendment": {"vi": "Kết quả chẩn đoán hình ảnh (đính chính)", "en": "Imaging report (amended)"},
    "addendum": {"vi": "Kết quả chẩn đoán hình ảnh (bổ sung)", "en": "Imaging report (with addendum)"},
}
REASON_OF: Mapping[str, Texts] = {
    "amendment": {"vi": "Lý do đính chính", "en": "Reason of the amendment"},
    "addendum": {"vi": "Nội dung bổ sung", "en": "Addendum"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A report to begin with."""

    key: str
    names: Texts
    sections: Mapping[str, Mapping[str, str]]  # language -> section -> text


def _template(key: str, vi_name: str, en_name: str, vi: tuple[str, ...], en: tuple[str, ...]) -> Template:
    names = ("description", "conclusion", "recommendation", "comparison")
    sections = {
        language: dict(zip(names, texts, strict=True)) for language, texts in (("vi", vi), ("en", en))
    }
    return Template(key=key, names={"vi": vi_name, "en": en_name}, sections=sections)


TEMPLATES: tuple[Template, ...] = (
    _template(
        "chest_no_finding",
        "Phim ngực thẳng, không thấy tổn thương",
        "Frontal chest film, nothing abnormal seen",
        (
            "Hai phế trường sáng đều, không thấy hình ảnh tổn thương khu trú.\n"
            "Góc sườn hoành hai bên nhọn.\nBóng tim và trung thất không to.\n"
            "Khung xương thành ngực không thấy bất thường.",
            "Hiện tại không thấy hình ảnh bất thường trên phim X-quang ngực thẳng.",
            "",
            "",
        ),
        (
            "Both lungs are clear, no focal lesion is seen.\nBoth costophrenic angles are sharp.\n"
            "Heart and mediastinum are not enlarged.\nThe bony thorax is unremarkable.",
            "No abnormality is seen on this frontal chest film.",
            "",
            "",
        ),
    ),
    _template(
        "chest_tuberculosis",
        "Phim ngực thẳng, theo dõi lao phổi",
        "Frontal chest film, tuberculosis suspected",
        (
            "Đám mờ không đều, ranh giới không rõ ở phế trường …\nGóc sườn hoành …\nBóng tim …",
            "Hình ảnh nghi ngờ lao phổi.",
            "Đề nghị xét nghiệm đờm tìm vi khuẩn lao, kết hợp lâm sàng.",
            "",
        ),
        (
            "Ill-defined opacities in …\nCostophrenic angles …\nHeart …",
            "Findings suspicious of pulmonary tuberculosis.",
            "Sputum examination and clinical correlation are advised.",
            "",
        ),
    ),
    _template(
        "chest_poor_quality",
        "Phim không đạt chất lượng",
        "Film not of diagnostic quality",
        (
            "Phim không đạt chất lượng chẩn đoán: …",
            "Không kết luận được trên phim này.",
            "Đề nghị chụp lại.",
            "",
        ),
        (
            "The film is not of diagnostic quality: …",
            "No conclusion can be drawn from this film.",
            "A repeat film is advised.",
            "",
        ),
    ),
)
