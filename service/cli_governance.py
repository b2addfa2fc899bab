"""`hoichan model sign|report|promote|rollback|thresholds|freeze|thaw|drift`: models under governance.

Every change is in the audit log and works with the next study of every worker. Exit code 0 done, 1 a check
failed (a gate does not hold, drift is in alarm), 2 used wrongly or a package that cannot be used.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoichan.errors import ConfigurationError, ManifestInvalid
from hoichan.settings import Settings, load

if TYPE_CHECKING:
    from hoichan.analysis.capacity import Group
    from hoichan.analysis.manifests import Check
    from service.governance import Office

Name = Annotated[str, typer.Argument(help="Name of the model.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for those who look later.")]
Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]


def add_to(app: typer.Typer) -> None:
    """The commands, below `hoichan model`."""
    app.command("sign")(sign)
    app.command("status")(status)
    app.command("report")(report)
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    app.command("thresholds")(thresholds)
    app.command("freeze")(freeze)
    app.command("thaw")(thaw)
    app.command("drift")(drift)


def sign(
    package: Annotated[Path | None, typer.Argument(help="Folder of the package.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Private key (PEM, Ed25519).")] = None,
    make_key: Annotated[
        Path | None, typer.Option("--make-key", help="Make a pair of keys: FILE and FILE.pub.")
    ] = None,
) -> None:
    """Sign a package, so that sites that trust the key can tell it from any other."""
    from hoichan.adapters import signatures  # noqa: PLC0415
    from hoichan.analysis.versions import read  # noqa: PLC0415

    if make_key is not None:
        public = make_key.with_name(make_key.name + ".pub")
        signatures.make_key(make_key, public)
        print(f"{make_key} signs and stays with you; {public} goes into models.trusted_keys of each site.")
    signer = key or make_key
    if package is None and make_key is not None:
        return
    if package is None or signer is None:
        raise typer.BadParameter("a package and --key, or --make-key")
    version = read(package)
    path = signatures.sign(version, signer)
    print(f"{version.name} {version.version}  digest {version.digest}  signed: {path}")


def status(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what is live, what runs in shadow and how it answered, what is frozen, and what was decided."""
    from hoichan.adapters.shadow_sql import ShadowSql  # noqa: PLC0415

    office = _office(config, data_dir)
    standing, rows = office.standing(), ShadowSql(office.house.engine)
    told: dict[str, list[dict[str, Any]]] = {
        "live": [
            {
                "model": one.version.name,
                "version": (one.volume() or one.manifest()).algorithm_version,
                "digest": one.version.digest,
                "frozen": one.frozen,
            }
            for one in standing.live
        ],
        "shadow": [
            {
                "model": one.name,
                "version": one.version,
                "digest": one.digest,
                "outcomes": rows.outcomes(one.digest),
            }
            for one in standing.shadow
        ],
        "decisions": [
            {
                "at": one.at.isoformat(timespec="seconds"),
                "who": one.who,
                "action": str(one.action),
                "model": one.model,
                "version": one.version,
                "thresholds": one.thresholds,
                "reason": one.reason,
            }
            for one in office.governance.decisions()[-20:]
        ],
    }
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
        return
    for live in told["live"]:
        frozen = "  FROZEN" if live["frozen"] else ""
        print(f"live    {live['model']}  {live['version']}  {live['digest'][:12]}{frozen}")
    for one in standing.shadow:
        counts = rows.outcomes(one.digest)
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing yet"
        print(f"shadow  {one.name}  {one.version}  {one.digest[:12]}  {said}")
    for line in told["decisions"]:
        what = f"{line['action']}  {line['model']} {line['version']}"
        print(f"{line['at']}  {line['who']}  {what}  {line['reason']}")


def report(
    name: Name,
    against: Annotated[
        str | None, typer.Option("--against", help="The version; without it the one in shadow.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.html and report.json.")] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Hold a version against the live one by what doctors signed; 1 where a gate does not hold."""
    from service import governance  # noqa: PLC0415
    from service.governance_page import render  # noqa: PLC0415
    from service.governance_volumes_page import render_volumes  # noqa: PLC0415

    office = _office(config, data_dir)
    content = governance.report(office, name, against)
    folder = (
        out or office.house.settings.storage.data_dir / "reports" / f"{name}-{content['shadow']['version']}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    page = render_volumes(content) if content.get("kind") == "volumes" else render(content)
    (folder / "report.html").write_text(page, encoding="utf-8")
    if as_json:
        print(text)
    else:
        _tell_gates(content["gates"])
        print(f"{content['studies']} studies, {content['reviewed']} signed: {folder / 'report.html'}")
    raise typer.Exit(0 if all(gate["held"] for gate in content["gates"]) else 1)


def promote(
    name: Name,
    version: Annotated[str | None, typer.Argument(help="The version; without it the one in shadow.")] = None,
    override: Annotated[
        str, typer.Option("--override", help="Promote although a gate does not hold; why.")
    ] = "",
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Make a version live, where its gates hold. Works with the next study."""
    office = _office(config, data_dir)
    decision, gates = office.promote(name, version, override=override.strip())
    _tell_gates(gates)
    print(f"{name} {decision.version} is live from the next study on. Back: hoichan model rollback {name}")


def rollback(name: Name, reason: Reason = "", config: Config = None, data_dir: DataDir = None) -> None:
    """Go back to what was live before. Works with the next study."""
    decision = _office(config, data_dir).rollback(name, reason=reason)
    told = f" with thresholds {decision.thresholds[:12]}" if decision.thresholds else ""
    print(f"{name} {decision.version}{told} is live again from the next study on.")


def freeze(name: Name, reason: Reason, config: Config = None, data_dir: DataDir = None) -> None:
    """Keep a model silent: its studies say that it was not asked, and it runs on in shadow."""
    if not reason.strip():
        raise typer.BadParameter("an empty reason")
    decision = _office(config, data_dir).freeze(name, reason=reason)
    print(f"{name} {decision.version} is silent from the next study on. Again: hoichan model thaw {name}")


def thaw(name: Name, reason: Reason, config: Config = None, data_dir: DataDir = None) -> None:
    """Let a frozen model answer again."""
    decision = _office(config, data_dir).freeze(name, reason=reason, thaw=True)
    print(f"{name} {decision.version} answers again from the next study on.")


def thresholds(
    name: Name,
    finding: Annotated[str, typer.Option("--finding", help="Key of the finding.")] = "",
    per_week: Annotated[
        float | None, typer.Option("--per-week", help="How many a week can be followed up.")
    ] = None,
    weeks: Annotated[float, typer.Option("--weeks", help="How far back the scores are looked at.")] = 12.0,
    by_sex: Annotated[bool, typer.Option("--by-sex", help="Women and men apart.")] = False,
    ages: Annotated[str, typer.Option("--ages", help="Bands of ages apart, e.g. 0-39,40-64,65-130.")] = "",
    source: Annotated[Path | None, typer.Option("--from", help="Thresholds out of a file.")] = None,
    write: Annotated[Path | None, typer.Option("--write", help="Write them into a file.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Use them from the next study on.")] = False,
    reason: Reason = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Propose thresholds by capacity; only a person applies them."""
    from hoichan.analysis.versions import parse_thresholds, thresholds_of  # noqa: PLC0415

    office = _office(config, data_dir)
    expected: dict[str, Any] = {}
    if source is not None:
        chosen = parse_thresholds(_read_json(source))
    elif per_week is not None:
        since = office.house.clock.now() - timedelta(weeks=weeks)
        chosen, expected = office.propose(
            name, finding, per_week=per_week, since=since, parted=_groups(ages, by_sex=by_sex)
        )
    else:
        live = office.live(name)
        chosen = live.thresholds or thresholds_of(live.version.film)
    if chosen.name != name:
        raise ManifestInvalid(f"The thresholds are for {chosen.name}, not for {name}.")
    if write is not None:
        write.write_text(json.dumps(chosen.content, indent=1) + "\n", encoding="utf-8")
    if apply:
        office.apply(chosen, reason=reason, basis=expected)
    if as_json:
        print(json.dumps({"digest": chosen.digest, "thresholds": chosen.content, "expected": expected,
                          "applied": apply}, ensure_ascii=False))  # fmt: skip
        return
    for key, rules in chosen.rules.items():
        if finding in {"", key}:
            for rule in rules:
                who = " ".join(
                    filter(None, (rule.sex, rule.age_years and "-".join(map(str, rule.age_years))))
                )
                print(f"{key}  {who or 'everybody'}  {rule.operating_point:.4f}")
    _tell_expected(expected)
    print(f"digest {chosen.digest}" + ("  applied" if apply else ""))


def drift(
    everything: Annotated[bool, typer.Option("--all", help="Also what is steady.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Judge the last week now, if it was not.")] = False,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show how the last week compares with the first ones; 1 where something is in alarm."""
    from hoichan.adapters.drift_sql import DriftSql  # noqa: PLC0415
    from hoichan.analysis.drift import State  # noqa: PLC0415
    from service.drifting import as_line  # noqa: PLC0415
    from service.wiring import drifting, open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    if now:
        drifting(house).step()
    latest = DriftSql(house.engine).latest()
    told = [
        {"model": model, "week": week.isoformat(), **as_line(row)}
        for model, (week, rows) in latest.items()
        for row in rows
        if everything or row.drift.state in {State.ALARM, State.WATCH}
    ]
    if as_json:
        print(json.dumps(told))
    else:
        for model, (week, rows) in latest.items():
            print(f"{model}  week of {week}  {len(rows)} measures")
        for line in told:
            numbers = ("reference", "value", "psi", "ks", "p_value")
            figures = "  ".join(f"{key} {line[key]:.4g}" for key in numbers if line[key] is not None)
            who = line["sender"] or "everybody"
            print(f"{line['state']}  {line['model']}  {who}  {line['measure']}  {figures}")
    raise typer.Exit(1 if any(line["state"] == State.ALARM for line in told) else 0)


def signature_checks(settings: Settings, folder: Path) -> tuple[Check, ...]:
    """What `hoichan model verify` says of the signature where the site requires one."""
    from hoichan.adapters.signatures import TrustedKeys  # noqa: PLC0415
    from hoichan.analysis.manifests import Check  # noqa: PLC0415
    from hoichan.analysis.versions import read  # noqa: PLC0415

    if not settings.models.require_signature:
        return ()
    try:
        identifier = TrustedKeys(settings.models.trusted_keys).check(read(folder))
    except ManifestInvalid as error:
        return (Check(name="signature", passed=False, detail=str(error)),)
    return (Check(name="signature", passed=True, detail=f"key {identifier}"),)


def _tell_gates(gates: list[dict[str, Any]]) -> None:
    for gate in gates:
        measured = "unknown" if gate["measured"] is None else f"{gate['measured']:.3f}"
        state = "holds" if gate["held"] else "DOES NOT HOLD"
        print(f"{gate['finding']}  {gate['gate']}  {measured}  bar {gate['bar']:.3f}  {state}")


def _tell_expected(expected: dict[str, Any]) -> None:
    if not expected:
        return
    print(f"{expected['studies']} studies in {expected['weeks']:.1f} weeks; "
          f"flagged a week: {expected['flagged_per_week']:.1f}")  # fmt: skip
    if not expected["enough_scores"]:
        print("Few studies: the distribution of scores is a guess.")
    if expected["known"]:
        print(f"By {expected['reviewed']} signed studies ({expected['reviewed_positives']} with it), a week: "
              f"{expected['missed_per_week']:.1f} missed, "
              f"{expected['false_alarms_per_week']:.1f} false alarms")  # fmt: skip
    else:
        print(
            f"Misses and false alarms are unknown: {expected['reviewed_positives']} signed studies have it."
        )
    if expected["who"] is not None:
        met = {True: "met", False: "NOT met", None: "unknown"}[expected["who"]["met"]]
        print(f"WHO triage target (sensitivity 0.90, specificity 0.70): {met}")


def _groups(ages: str, *, by_sex: bool) -> tuple[Group, ...]:
    from hoichan.analysis.capacity import groups  # noqa: PLC0415

    bands = []
    for part in filter(None, ages.split(",")):
        low, _, high = part.partition("-")
        if not (low.strip().isdigit() and high.strip().isdigit() and int(low) <= int(high)):
            raise typer.BadParameter("--ages: bands like 0-39,40-130")
        bands.append((int(low), int(high)))
    return groups(by_sex=by_sex, age_bands=bands)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as JSON.") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} holds no thresholds.")
    return found


def _office(config: Path | None, data_dir: Path | None) -> Office:
    from hoichan.adapters.evidence_sql import EvidenceSql  # noqa: PLC0415
    from hoichan.adapters.governance_sql import GovernanceSql  # noqa: PLC0415
    from service.governance import Office  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    house = open_house(load(config, data_dir=data_dir))
    house.audit.check()
    return Office(
        house=house,
        governance=GovernanceSql(house.engine),
        evidence=EvidenceSql(house.engine),
        who=f"uid:{os.getuid()}",
    )
