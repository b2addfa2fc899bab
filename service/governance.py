"""What a person may do with the models in use: judge, promote, roll back, set thresholds, freeze.

Each change is in the audit log before it is done, and works in every worker with its next study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hoichan.adapters.evidence_sql import Answer, EvidenceSql, Facts
from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.analysis.acceptance import check, read_gates
from hoichan.analysis.agreement import Case, compare
from hoichan.analysis.capacity import Group, Scored, propose, who_line
from hoichan.analysis.findings import probability
from hoichan.analysis.manifests import shelf_roots
from hoichan.analysis.standing import Action, Decision, InUse, Standing, stand, way_back
from hoichan.analysis.versions import Thresholds, Version, thresholds_of, with_thresholds
from hoichan.errors import ConfigurationError, ManifestInvalid
from hoichan.guard.audit import Audited
from hoichan.types import Output, VolumeManifest
from service.governance_volumes import volume_gates, volume_report
from service.roster import look
from service.shell import record
from service.wiring import House

_OLD = 60  # years: the subgroups of the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """The models of one site, as the shell sees them."""

    house: House
    governance: GovernanceSql
    evidence: EvidenceSql
    who: str

    # ------------------------------------------------------------------ what there is
    def versions(self) -> tuple[Version, ...]:
        """Every version that may be used here."""
        settings = self.house.settings
        return look(shelf_roots(settings.storage.data_dir), settings.models).versions

    def standing(self) -> Standing:
        """What is in use. Raises ManifestInvalid."""
        return stand(
            self.versions(),
            self.governance.decisions(),
            thresholds=self.governance.thresholds(),
            pins=self.house.settings.models.pins,
        )

    def live(self, name: str) -> InUse:
        """The live version of a model. Raises ManifestInvalid."""
        found = self.standing().named(name)
        if found is None:
            raise ManifestInvalid(f"No version of {name!r} is live.")
        return found

    def version(self, name: str, number: str | None) -> Version:
        """A version by its number; without one the only version in shadow. Raises ManifestInvalid."""
        mine = [one for one in self.versions() if one.name == name]
        if number is not None:
            for one in mine:
                if one.version == number:
                    return one
        else:
            shadows = [one for one in self.standing().shadow if one.name == name]
            if len(shadows) == 1:
                return shadows[0]
        known = ", ".join(one.version for one in mine) or "none"
        asked = f"version {number}" if number else "exactly one version in shadow"
        raise ManifestInvalid(f"Model {name!r} has not {asked} that may be used; there are: {known}.")

    # ------------------------------------------------------------------ decisions
    def promote(
        self, name: str, number: str | None, *, override: str = ""
    ) -> tuple[Decision, list[dict[str, Any]]]:
        """Make a version live. Raises ConfigurationError where a gate does not hold and is not overridden."""
        chosen = self.version(name, number)
        before = self.standing().named(name)
        if before is not None and before.version.digest == chosen.digest:
            raise ConfigurationError(f"{name} {chosen.version} is live already.")
        is_volume = isinstance(chosen.manifest, VolumeManifest)
        if before is not None and isinstance(before.version.manifest, VolumeManifest) != is_volume:
            raise ConfigurationError(f"{name} is a network for volumes in one version only.")
        gates = [] if before is None else self.gates(before, chosen)
        failed = [gate for gate in gates if not gate["held"]]
        if (failed or before is None) and not override:
            names = ", ".join(f"{gate['finding']}.{gate['gate']}" for gate in failed[:6])
            why = (
                f"{len(failed)} gates do not hold ({names})"
                if failed
                else "there is no live version to compare with"
            )
            raise ConfigurationError(
                f"{name} {chosen.version} is not promoted: {why}. See `hoichan model report`."
            )
        decisions = []
        if before is not None and not self._is_on_record(name):
            decisions.append(
                self._decision(Action.PROMOTE, before, reason="as it was before the first decision")
            )
        decision = self._decision(
            Action.PROMOTE,
            InUse(version=chosen, thresholds=None, frozen=False),
            reason=override,
            gates=tuple(gates),
        )
        self._enact(
            [*decisions, decision], f"promote {name} {chosen.version}{' override' if override else ''}"
        )
        return decision, gates

    def rollback(self, name: str, *, reason: str = "") -> Decision:
        """Go back to what was live before. Raises ConfigurationError where nothing was."""
        back = way_back(self.governance.decisions(), name)
        if back is None:
            raise ConfigurationError(f"Nothing was live before the version of {name} that is live now.")
        decision = replace(
            back, at=self.house.clock.now(), who=self.who, action=Action.ROLLBACK, reason=reason, gates=()
        )
        self._check([decision])
        self._enact([decision], f"rollback {name} {decision.version}")
        return decision

    def freeze(self, name: str, *, reason: str, thaw: bool = False) -> Decision:
        """Keep a model silent, or let it speak again."""
        decision = self._decision(Action.THAW if thaw else Action.FREEZE, self.live(name), reason=reason)
        self._enact([decision], f"{decision.action} {name} {decision.version}")
        return decision

    def apply(self, thresholds: Thresholds, *, reason: str, basis: Mapping[str, Any]) -> Decision:
        """Use these thresholds from the next study on. Raises ManifestInvalid where they do not fit."""
        live = self.live(thresholds.name)
        with_thresholds(live.version.film, thresholds)
        self.governance.keep(thresholds, at=self.house.clock.now(), basis=basis)
        decisions = []
        if not self._is_on_record(thresholds.name):
            decisions.append(
                self._decision(Action.PROMOTE, live, reason="as it was before the first decision")
            )
        decision = self._decision(Action.THRESHOLDS, replace(live, thresholds=thresholds), reason=reason)
        self._enact([*decisions, decision], f"thresholds {thresholds.name} {thresholds.digest[:12]}")
        return decision

    def _is_on_record(self, name: str) -> bool:
        silent = {Action.FREEZE, Action.THAW}
        return any(one.model == name and one.action not in silent for one in self.governance.decisions())

    def _decision(
        self, action: Action, used: InUse, *, reason: str, gates: tuple[Mapping[str, Any], ...] = ()
    ) -> Decision:
        return Decision(
            at=self.house.clock.now(),
            who=self.who,
            action=action,
            model=used.version.name,
            version=used.version.version,
            digest=used.version.digest,
            thresholds=None if used.thresholds is None else used.thresholds.digest,
            reason=reason,
            gates=gates,
        )

    def _check(self, more: Sequence[Decision]) -> None:
        """Whether it can be done with what is here. Raises ManifestInvalid."""
        stand(
            self.versions(),
            [*self.governance.decisions(), *more],
            thresholds=self.governance.thresholds(),
            pins=self.house.settings.models.pins,
        )

    def _enact(self, decisions: Sequence[Decision], detail: str) -> None:
        self._check(decisions)
        record(self.house, Audited.MODEL_CHANGED, detail=detail[:256])
        self.governance.decide(*decisions)

    # ------------------------------------------------------------------ evidence
    def gates(self, live: InUse, chosen: Version) -> list[dict[str, Any]]:
        """The gates of a version, held against the live one."""
        if isinstance(chosen.manifest, VolumeManifest):
            return volume_gates(self, live, chosen)
        found = self.compare(live, chosen)
        shown = [o.finding_key for o in chosen.film.outputs if o.enabled]
        return check(read_gates(Path(chosen.manifest.root)), found, shown)

    def groups(
        self, uids: Iterable[str], *, left_out: frozenset[str] = frozenset()
    ) -> dict[str, dict[str, str]]:
        """Study -> what it is counted under in subgroups."""
        found = self.evidence.facts(uids)
        return {
            uid: {name: value for name, value in _groups(one).items() if name not in left_out}
            for uid, one in found.items()
        }

    def compare(self, live: InUse, shadow: Version) -> dict[str, dict[str, Any]]:
        """Finding key -> `agreement.compare` of the studies that both or one of them answered."""
        cases = self.cases(live, shadow)
        return {key: compare(mine) for key, mine in cases.items()}

    def cases(self, live: InUse, shadow: Version) -> dict[str, list[Case]]:
        """Finding key -> one case a study; the live version with the thresholds in use."""
        sides = [self.evidence.answers(one) for one in (live.version, shadow)]
        uids = sorted({one.study_instance_uid for side in sides for one in side})
        facts = self.evidence.facts(uids)
        signed = self.evidence.signed()
        said = [_by_study(side) for side in sides]
        manifests = (live.version.film, shadow.film)
        enabled = [{o.finding_key: o for o in m.outputs if o.enabled} for m in manifests]
        cases: dict[str, list[Case]] = {key: [] for key in sorted({*enabled[0], *enabled[1]})}
        for key, mine in cases.items():
            for uid in uids:
                ours = _held(live, enabled[0].get(key), facts.get(uid))
                before = _score(said[0].get(uid, ()), ours)
                now = _score(said[1].get(uid, ()), enabled[1].get(key))
                mine.append(
                    Case(
                        study_instance_uid=uid,
                        finding_key=key,
                        truth=signed[uid].truths.get(key) if uid in signed else None,
                        live=before[0],
                        live_present=before[1],
                        shadow=now[0],
                        shadow_present=now[1],
                        groups=_groups(facts[uid]) if uid in facts else {},
                    )
                )
        return cases

    def propose(
        self, name: str, key: str, *, per_week: float, since: datetime, parted: Sequence[Group] = ()
    ) -> tuple[Thresholds, dict[str, Any]]:
        """Thresholds of one finding by capacity, and what to expect. Raises ConfigurationError."""
        live = self.live(name)
        manifest = live.version.film
        output = next((o for o in manifest.outputs if o.finding_key == key and o.enabled), None)
        if output is None:
            raise ConfigurationError(f"{name} makes no statement of {key!r}.")
        current = live.thresholds or thresholds_of(manifest)
        output = replace(output, calibration=current.calibration[key])
        answers = self.evidence.answers(live.version, since=since)
        facts, signed = self.evidence.facts(a.study_instance_uid for a in answers), self.evidence.signed()
        scored = []
        for uid, mine in _by_study(answers).items():
            score, _ = _score(mine, output)
            if score is not None and uid in facts:
                truth = signed[uid].truths.get(key) if uid in signed else None
                one = facts[uid]
                scored.append(Scored(score=score, sex=one.sex, age_years=one.age_years, truth=truth))
        weeks = (self.house.clock.now() - since).total_seconds() / 604800
        try:
            rules, expected = propose(scored, weeks=weeks, per_week=per_week, parted=parted)
        except ValueError as error:
            raise ConfigurationError(f"No thresholds can be proposed: {error}.") from error
        expected = {**expected, "finding": key, "who": who_line(key, expected)}
        return replace(current, rules={**current.rules, key: rules}), expected


def _by_study(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for one in answers:
        found.setdefault(one.study_instance_uid, []).append(one)
    return found


def _held(used: InUse, output: Output | None, facts: Facts | None) -> Output | None:
    """An output with the thresholds in use, as they are for such a patient."""
    if output is None or used.thresholds is None or output.finding_key not in used.thresholds.rules:
        return output
    sex, age = (None, None) if facts is None else (facts.sex, facts.age_years)
    rule = next(r for r in used.thresholds.rules[output.finding_key] if r.fits(sex, age))
    calibration = used.thresholds.calibration[output.finding_key]
    return replace(output, operating_point=rule.operating_point, calibration=calibration)


def _score(answers: Sequence[Answer], output: Output | None) -> tuple[float | None, bool | None]:
    """The highest probability over a study's images, and whether it is a statement."""
    if output is None:
        return None, None
    known = [one.logits[output.name] for one in answers if output.name in one.logits]
    if not known:
        return None, None
    best = max(probability(float(logit), output.calibration) for logit in known)
    return best, best >= output.operating_point


def _groups(facts: Facts) -> dict[str, str]:
    age = facts.age_years
    band = "unknown" if age is None else f"under {_OLD}" if age < _OLD else f"{_OLD} and over"
    return {
        "sender": facts.sender,
        "device": facts.device,
        "view": facts.view,
        "sex": facts.sex or "unknown",
        "age": band,
    }


NOTE = (
    "Doctors signed with the live version's answer before them, so figures of the live version flatter, and "
    "a finding that neither version nor doctor named counts as not there. Few studies mean wide intervals."
)


def report(office: Office, name: str, number: str | None) -> dict[str, Any]:
    """How a version compares with the live one: the content of the JSON file and of the page."""
    live, chosen = office.live(name), office.version(name, number)
    if isinstance(chosen.manifest, VolumeManifest):
        return volume_report(office, live, chosen)
    found = office.compare(live, chosen)
    shown = [o.finding_key for o in chosen.film.outputs if o.enabled]
    answered = [office.evidence.answers(one) for one in (live.version, chosen)]
    return {
        "model": name,
        "made_at": office.house.clock.now().isoformat(timespec="seconds"),
        "note": NOTE,
        "live": _side(live.version, live.thresholds, len(answered[0])),
        "shadow": _side(chosen, None, len(answered[1])),
        "studies": len({one.study_instance_uid for side in answered for one in side}),
        "reviewed": max((one["reviewed"] for one in found.values()), default=0),
        "gates": check(read_gates(Path(chosen.manifest.root)), found, shown),
        "findings": found,
    }


def _side(version: Version, thresholds: Thresholds | None, answered: int) -> dict[str, Any]:
    return {
        "version": version.version,
        "digest": version.digest,
        "weights_sha256": version.manifest.weights_sha256,
        "thresholds": (thresholds or thresholds_of(version.film)).digest,
        "answered": answered,
    }
