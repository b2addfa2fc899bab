"""A prefill of XML4, "chi tiết dịch vụ cận lâm sàng" (Decision 130/QĐ-BYT as amended by 3176/QĐ-BYT).

The HIS makes and signs the XML; we only give it what a physician signed here. An unsigned text is refused:
there is no form of it, not even a marked one (MA_BS_DOC_KQ is the licence of who signed).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from hoichan.errors import HoichanError
from hoichan.site_codes import SiteCode, chosen
from hoichan.types import Review, ReviewKind

FIELDS = (
    *("MA_LK", "STT", "MA_DICH_VU", "MA_CHI_SO", "TEN_CHI_SO", "GIA_TRI", "DON_VI_DO"),
    *("MO_TA", "KET_LUAN", "NGAY_KQ", "MA_BS_DOC_KQ", "DU_PHONG"),
)


class Unsigned(HoichanError):
    """No physician has signed, or the signature was withdrawn, or has no licence number."""

    code = "report.unsigned"


def prefill(
    review: Review | None,
    *,
    visit: str,
    service_key: str,
    services: Sequence[SiteCode],
    indicators: Sequence[SiteCode],
    indicator_key: str,
    zone: tzinfo,
) -> dict[str, str]:
    """The twelve fields of one line; codes only where the site answers for them. Raises Unsigned.

    `visit`: MA_LK, the visit of the HIS ("" when it is not known here); `service_key`: e.g. "DX/CHEST".
    """
    if review is None or review.kind is ReviewKind.WITHDRAWAL or not review.licence_number.strip():
        raise Unsigned("Only what a physician with a licence number has signed can be given to XML4.")
    description = review.sections.description.reveal().strip()
    conclusion = review.sections.conclusion.reveal().strip()
    if not conclusion:
        raise Unsigned("The signed report has no conclusion.")
    signed_at = review.signed_at.astimezone(zone)
    service = chosen(services, service_key, signed_at.date())
    indicator = chosen(indicators, indicator_key, signed_at.date()) if indicator_key else None
    found = {
        "MA_LK": visit[:100],
        "STT": "1",
        "MA_DICH_VU": service.code if service else "",
        "MA_CHI_SO": indicator.code if indicator else "",
        "TEN_CHI_SO": indicator.display[:255] if indicator else "",
        "GIA_TRI": "",  # imaging has no single value
        "DON_VI_DO": "",
        "MO_TA": description,
        "KET_LUAN": conclusion,
        "NGAY_KQ": signed_at.strftime("%Y%m%d%H%M"),
        "MA_BS_DOC_KQ": review.licence_number.strip()[:255],
        "DU_PHONG": "",
    }
    return {name: found[name] for name in FIELDS}
