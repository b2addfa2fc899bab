"""`hoichan audit verify|head|export`: whether the log of who did what is as it was written.

Export the head from time to time and keep it elsewhere: records cut off at the end are seen only by it. Exit
code 0 all is well, 1 it is not, 2 used wrongly.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoichan.settings import load

if TYPE_CHECKING:
    from hoichan.adapters.audit_sql import AuditSql
    from hoichan.guard.audit import Head
    from service.reviews_check import Checked

app = typer.Typer(no_args_is_help=True, help="The log of who did what.")

Config = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML).")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder for everything that is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for a machine to read.")]
_DAY = ["%Y-%m-%d"]
_HEAD = re.compile(r"([0-9]+):([0-9a-f]{64})")


@app.command("verify")
def verify(
    head: Annotated[
        str,
        typer.Option("--head", help="What `hoichan audit head` said once, LENGTH:HASH; or a file with such."),
    ] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check every record against the one before it, and every signed review against its hash."""
    from hoichan.adapters.page_seal import PageSeal  # noqa: PLC0415
    from hoichan.adapters.reviews_sql import ReviewsSql  # noqa: PLC0415
    from service.reviews_check import check_reviews  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    exported = _parse(head) if head else None
    house = open_house(load(config, data_dir=data_dir))
    log = house.audit
    broken = log.verify(exported)
    length = log.head().length
    pades = house.settings.pades
    seal = PageSeal(pades) if pades is not None else None
    checked = check_reviews(ReviewsSql(house.engine, house.objects, house.clock), log, seal)
    if as_json:
        told = {
            "intact": broken is None and checked.is_intact,
            "records": length,
            "first_broken": None if broken is None else log.position(broken),
            "reviews": checked.reviews,
            "changed_reviews": list(checked.changed),
            "missing_reviews": list(checked.missing),
            "sealed_pages": checked.sealed_pages,
            "bad_pages": dict(checked.bad_pages),
        }
        print(json.dumps(told))
        raise typer.Exit(0 if told["intact"] else 1)
    if broken is None:
        print(f"All {length} records are as they were written.")
    elif broken >= length and exported is not None:
        print(f"Records are missing at the end: {length} are here, {exported.length} were there.")
    else:
        print(f"Record {log.position(broken)} is not as it was written, or one before it is missing.")
    _tell_reviews(checked, told=broken is None)
    raise typer.Exit(0 if broken is None and checked.is_intact else 1)


@app.command("head")
def show_head(config: Config = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the end of the log, to be kept on paper or in another system."""
    head = _audit(config, data_dir).head()
    if as_json:
        print(json.dumps({"length": head.length, "hash": head.hash.hex()}))
    else:
        print(f"{head.length}:{head.hash.hex()}")


@app.command("export")
def export(
    fhir: Annotated[bool, typer.Option("--fhir", help="As FHIR R4 AuditEvent, one a line (NDJSON).")] = False,
    bundle: Annotated[bool, typer.Option("--bundle", help="With --fhir: one Bundle of them all.")] = False,
    who: Annotated[str, typer.Option("--who", help="Only of this account.")] = "",
    study: Annotated[str, typer.Option("--study", help="Only of this study.")] = "",
    since: Annotated[datetime | None, typer.Option("--since", formats=_DAY, help="From this day on.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=_DAY, help="To its end.")] = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Write the log to standard output, oldest first; itself recorded. Without --fhir: as it is hashed."""
    from hoichan.adapters.audit_sql import Wanted  # noqa: PLC0415
    from hoichan.encoding.fhir_audit import audit_event  # noqa: PLC0415
    from hoichan.guard.audit import Audited, canonical_bytes  # noqa: PLC0415
    from service.shell import record  # noqa: PLC0415
    from service.wiring import open_house  # noqa: PLC0415

    if bundle and not fhir:
        raise typer.BadParameter("only with --fhir", param_hint="--bundle")
    house = open_house(load(config, data_dir=data_dir))
    site = house.settings.site
    wanted = Wanted(
        who=who or None,
        study_instance_uid=study or None,
        since=since.replace(tzinfo=site.zone) if since else None,
        until=until.replace(tzinfo=site.zone) + timedelta(days=1) if until else None,
    )
    record(house, Audited.EXPORTED, *([study] if study else []), detail="audit log")
    lines = house.audit.lines(wanted)
    if not fhir:
        for line in lines:
            print(f"{line.position} {canonical_bytes(line.record).decode('ascii')}")
        return
    events = (audit_event(line.position, line.record, site) for line in lines)
    if not bundle:
        for event in events:
            print(json.dumps(event, ensure_ascii=False))
        return
    print('{"resourceType": "Bundle", "type": "collection", "entry": [')
    for number, event in enumerate(events):
        full = f"{site.identifier_base}/fhir/AuditEvent/{event['id']}"
        print("," * bool(number) + json.dumps({"fullUrl": full, "resource": event}, ensure_ascii=False))
    print("]}")


def _tell_reviews(checked: Checked, *, told: bool) -> None:
    """What is wrong with reviews; `told`: also that nothing is."""
    if checked.is_intact and told:
        print(f"All {checked.reviews} signed reviews are as they were signed.")
    for uid in checked.changed:
        print(f"The signed review {uid} is not as it was signed.")
    for uid in checked.missing:
        print(f"The signed review {uid} is missing.")
    if checked.sealed_pages and told:
        good = checked.sealed_pages - len(checked.bad_pages)
        print(f"{good} of {checked.sealed_pages} pages that a certificate signed are as they were signed.")
    for uid, problem in checked.bad_pages:
        print(f"The page of {uid} is not as it was signed: {problem}.")


def _parse(text: str) -> Head:
    """The head that is given, or the longest one of a file that the service wrote day by day."""
    from hoichan.guard.audit import Head  # noqa: PLC0415

    found = [_HEAD.fullmatch(text.strip())]
    if found[0] is None and (file := Path(text)).is_file():
        found = [
            _HEAD.search(line) for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
        ]
    heads = [Head(length=int(one[1]), hash=bytes.fromhex(one[2])) for one in found if one is not None]
    if not heads:
        raise typer.BadParameter("LENGTH:HASH, as `hoichan audit head` says it", param_hint="--head")
    return max(heads, key=lambda head: head.length)


def _audit(config: Path | None, data_dir: Path | None) -> AuditSql:
    from service.wiring import open_house  # noqa: PLC0415

    return open_house(load(config, data_dir=data_dir)).audit
