"""How a version of a network for volumes agrees with the live one and with readers: what its report holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoichan.adapters.volume_evidence_sql import MeasuredSeries, VolumeEvidenceSql
from hoichan.analysis.standing import InUse
from hoichan.analysis.versions import Version
from hoichan.analysis.volume_agreement import Pair, compare_volumes
from hoichan.analysis.volume_gates import check_volumes, read_volume_gates
from hoichan.analysis.volume_truth import Answered, ReadVolume, beside_readers, verdicts
from hoichan.types import VolumeManifest

if TYPE_CHECKING:
    from service.governance import Office

NOTE = (
    "Readers confirmed, corrected or rejected single volumes with the shown version's number before them, so "
    "figures of that version flatter; a volume without a verdict is not counted. Where two networks agree "
    "with each other and nobody judged, both may be wrong."
)
_BY_REVIEWER = frozenset({"view"})  # of films only


def volume_report(office: Office, live: InUse, chosen: Version) -> dict[str, Any]:
    """What both measured and what readers let stand, part by part: the JSON file and what the page shows."""
    rows = VolumeEvidenceSql(office.house.engine)
    before, now = rows.measured(live.version), rows.measured(chosen)
    read = rows.read(chosen.manifest.algorithm_name)
    both = sorted(before.keys() & now.keys())
    groups = office.groups({study for study, _ in both}, left_out=_BY_REVIEWER)
    gates = read_volume_gates(Path(chosen.manifest.root))
    parts: dict[str, dict[str, Any]] = {}
    for code, said in _parts(chosen).items():
        pairs = [
            Pair(
                study_instance_uid=key[0],
                part=code,
                live=before[key].ml[code],
                shadow=now[key].ml[code],
                groups=groups.get(key[0], {}),
            )
            for key in both
            if code in before[key].ml and code in now[key].ml
        ]
        parts[code] = {
            **said,
            **compare_volumes(pairs),
            "verdicts": verdicts([one for (_, _, part), one in sorted(read.items()) if part == code]),
            "readers": beside_readers(_answered(code, before, now, read), within=gates.within),
        }
    return {
        "model": chosen.name,
        "kind": "volumes",
        "made_at": office.house.clock.now().isoformat(timespec="seconds"),
        "note": NOTE,
        "live": _side(live.version, len(before)),
        "shadow": _side(chosen, len(now)),
        "series": {
            "both": len(both),
            "live_only": len(before) - len(both),
            "shadow_only": len(now) - len(both),
        },
        "studies": len({study for study, _ in (*before, *now)}),
        "reviewed": len({one.study_instance_uid for one in read.values()}),
        "gates": check_volumes(gates, {code: one["readers"] for code, one in parts.items()}, parts),
        "parts": parts,
    }


def volume_gates(office: Office, live: InUse, chosen: Version) -> list[dict[str, Any]]:
    """The gates of a version, held against the live one and what readers let stand."""
    gates: list[dict[str, Any]] = volume_report(office, live, chosen)["gates"]
    return gates


_Measured = Mapping[tuple[str, str], MeasuredSeries]


def _answered(
    code: str, live: _Measured, shadow: _Measured, read: Mapping[tuple[str, str, str], ReadVolume]
) -> list[Answered]:
    """The volumes of one part that a reader judged and both versions measured."""
    found = []
    for (study, first, part), one in sorted(read.items()):
        before, now = (side[study, first].ml if (study, first) in side else {} for side in (live, shadow))
        if part == code and code in before and code in now:
            found.append(Answered(read=one, live=before[code], shadow=now[code]))
    return found


def _parts(version: Version) -> dict[str, dict[str, Any]]:
    manifest = version.manifest
    assert isinstance(manifest, VolumeManifest)  # whoever calls has looked
    return {one.code.code_value: {"display": dict(one.display)} for one in manifest.segments}


def _side(version: Version, answered: int) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "weights_sha256": version.manifest.weights_sha256,
        "answered": answered,
    }
