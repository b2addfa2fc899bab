"""Where is this study? The steps in plain words: when, how long, who, what came of it, and what to do.

Made for the page and for the terminal out of what is recorded; nothing here is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hoichan.adapters.audit_sql import Line as AuditLine
from hoichan.adapters.set_aside_sql import SetAside
from hoichan.adapters.views import DeliveryView, StudyView
from hoichan.adapters.work_sql import Reach, Receiver
from hoichan.guard.audit import Audited
from hoichan.ports import TrailEntry
from hoichan.types import DeliveryState, Study, StudyState
from service.causes import cause_of, is_ahead, is_stalled
from service.web.words import Words

MOST_READERS = 20
KEPT = "answer_kept"
ENDS = frozenset({"report_saved", "report_confirmed", KEPT})  # of an analysis
SEEN = frozenset({Audited.VIEWED, Audited.EXPORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One step, or one receiver."""

    label: str
    text: str
    tone: str = ""  # "" | ok | wait | bad
    do: str = ""  # what a person can do about it


def story(
    words: Words,
    view: StudyView,
    lines: Sequence[TrailEntry],
    *,
    receivers: Mapping[str, Receiver],
    opened: Sequence[AuditLine] = (),
    study: Study | None = None,
    near: Sequence[datetime] = (),
) -> list[Part]:
    """The steps of a study in their order. `study` has the single images, for the faults of receiving.

    `near`: when its sender's objects came about that time, of other studies too.
    """
    parts = [*_received(words, view, lines, study, near), *_analysed(words, view, lines)]
    parts += [_delivered(words, one, receivers.get(one.destination)) for one in _newest(view.deliveries)]
    seen = [line.record for line in opened if line.record.what in SEEN][:MOST_READERS]
    readers = dict.fromkeys(f"{one.who} {words.short(one.when)}" for one in seen)
    if readers:
        parts.append(Part(label=words("story.opened"), text="; ".join(readers)))
    return parts


def aside(words: Words, standing: Sequence[SetAside]) -> list[Part]:
    """What of a study was set aside because nobody could record it."""
    return [
        Part(
            label=words("story.aside"),
            text=words("story.set_aside", what=one.sop_instance_uid or one.study_instance_uid, code=one.code),
            tone="bad",
            do=words("story.set_aside_do"),
        )
        for one in standing
    ]


def refused(words: Words, lines: Sequence[TrailEntry]) -> list[Part]:
    """Why nothing is here of a study whose trail has refusals only."""
    if not lines or any(line.event != "instance_refused" for line in lines):
        return []
    reasons = dict.fromkeys(str(line.details.get("reason", "")) for line in lines)
    why = " ".join(words.refused(reason) for reason in reasons)
    return [
        Part(
            label=words("story.refused_label"),
            text=words("story.refused_all", n=len(lines), why=why),
            tone="bad",
            do=words("story.refused_do"),
        )
    ]


def _received(
    words: Words,
    view: StudyView,
    lines: Sequence[TrailEntry],
    study: Study | None,
    near: Sequence[datetime],
) -> list[Part]:
    entry = view.entry
    seconds = (entry.last_received_at - entry.first_received_at).total_seconds()
    text = words(
        "story.received_text",
        sender=words.plain(entry.calling_ae_title),
        images=sum(one.instances for one in view.series),
        at=words.exact(entry.first_received_at),
        day=words.day(entry.first_received_at),
        seconds=words.seconds(seconds),
    )
    parts = [Part(label=words("story.received"), text=text, tone="ok")]
    if is_ahead(entry.study_datetime, entry.first_received_at):
        parts.append(_fault(words, "clock_skew"))
    own = [one.received_at for one in study.instances] if study is not None else []
    if is_stalled(own) or is_stalled(near):
        parts.append(_fault(words, "nagle"))
    closed = _last(lines, "study_assembled", entry.last_revision)
    if closed is None or entry.state is StudyState.RECEIVING:
        parts.append(Part(label=words("story.closed"), text=words("story.not_closed"), tone="wait"))
    else:
        waited = words.seconds((closed.at - entry.last_received_at).total_seconds())
        by = words.known(f"closed_by.{closed.details.get('closed_by')}", "closed_by.other")
        text = words("story.closed_text", revision=entry.last_revision, seconds=waited, closed_by=by)
        parts.append(Part(label=words("story.closed"), text=text, tone="ok"))
    return parts


def _analysed(words: Words, view: StudyView, lines: Sequence[TrailEntry]) -> list[Part]:
    entry = view.entry
    label = words("story.analysed")
    if entry.state is StudyState.CANCELLED:
        return [Part(label=label, text=words("state.cancelled"), tone="bad", do=words("story.replay_do"))]
    if entry.state is StudyState.FAILED:
        return [Part(label=label, text=words.entry_reason(entry), tone="bad", do=words("story.replay_do"))]
    if entry.state is StudyState.RECEIVING:
        return []
    begun = _last(lines, "analysis_begun", entry.last_revision)
    closed = _last(lines, "study_assembled", entry.last_revision)
    parts = []
    if begun is not None and closed is not None:
        waited = words.seconds((begun.at - closed.at).total_seconds())
        parts.append(Part(label=words("story.waited"), text=waited, tone="ok"))
    if entry.state is StudyState.ASSEMBLED:
        text = words("story.running" if begun is not None else "story.waiting")
        return [*parts, Part(label=label, text=text, tone="wait")]
    for run in view.results:
        name = f"{run.algorithm_name} {run.algorithm_version}"
        text = words(
            "story.model_text", model=name, seconds=words.seconds(run.duration_seconds), provider=run.provider
        )
        parts.append(Part(label=label, text=text, tone="ok"))
    told = dict.fromkeys(
        (one.algorithm_name or "", words.refusal(one.code))
        for one in (entry.report.refusals if entry.report else ())
    )
    for model, reason in told:
        text = f"{model}: {reason}" if model else reason
        parts.append(Part(label=words("story.refused"), text=text))
    saved = next((line for line in reversed(lines) if line.event == "report_saved"), None)
    if saved is not None and begun is not None and saved.at >= begun.at:
        took = words.seconds((saved.at - begun.at).total_seconds())
        text = words("story.reported_text", seconds=took, at=words.exact(saved.at))
        parts.append(Part(label=words("story.reported"), text=text, tone="ok"))
    return [*parts, *_repeated(words, lines, entry.last_revision)]


def _repeated(words: Words, lines: Sequence[TrailEntry], revision: int) -> list[Part]:
    """That the last analysis of a revision came to nothing, and the answer before it stands."""
    ends = [line for line in lines if line.event in ENDS and line.details.get("revision") == revision]
    if not ends or ends[-1].event != KEPT:
        return []
    text = f"{words.moment(ends[-1].at)}: {words.happened(ends[-1])}"
    return [Part(label=words("story.again_label"), text=text, tone="bad", do=words("story.again_do"))]


def _delivered(words: Words, one: DeliveryView, receiver: Receiver | None) -> Part:
    label = words("story.receiver", destination=one.destination)
    answer = words.plain(one.acknowledgement)
    cause = cause_of(one.acknowledgement)
    match one.state:
        case DeliveryState.SENT:
            at = one.delivered_at or one.next_attempt_at
            took = words.seconds((at - one.created_at).total_seconds())
            text = words("story.sent_text", at=words.exact(at), seconds=took, answer=answer)
            return Part(label=label, text=text, tone="ok")
        case DeliveryState.DEAD:
            refusal = words("story.dead_text", answer=answer)
            text = (
                words.cause(cause) if cause == "kills_worker" else f"{refusal} {words.cause(cause)}".strip()
            )
            return Part(
                label=label,
                text=text,
                tone="bad",
                do=words.remedy(cause) or words("story.dead_do"),
            )
        case DeliveryState.CANCELLED:
            return Part(label=label, text=words.cause(cause) or words("delivery.cancelled"))
        case DeliveryState.PENDING:
            return _pending(words, one, receiver, label)


def _pending(words: Words, one: DeliveryView, receiver: Receiver | None, label: str) -> Part:
    if receiver is not None and receiver.state is Reach.DOWN:
        cause = cause_of(receiver.detail)
        text = words("story.down_text", since=words.moment(receiver.since), answer=receiver.detail)
        return Part(
            label=label,
            text=" ".join([text, words.cause(cause)]).strip(),
            tone="bad",
            do=words.remedy(cause),
        )
    if one.attempts:
        cause = cause_of(one.acknowledgement)
        answer = words.plain(one.acknowledgement)
        text = words("story.retry_text", n=one.attempts, answer=answer, at=words.moment(one.next_attempt_at))
        return Part(
            label=label,
            text=" ".join([text, words.cause(cause)]).strip(),
            tone="wait",
            do=words.remedy(cause),
        )
    return Part(label=label, text=words("delivery.pending"), tone="wait")


def _fault(words: Words, name: str) -> Part:
    return Part(label=words("story.fault"), text=words.cause(name), tone="bad", do=words.remedy(name))


def _newest(deliveries: Sequence[DeliveryView]) -> list[DeliveryView]:
    """The newest delivery to each receiver."""
    found: dict[str, DeliveryView] = {}
    for one in sorted(deliveries, key=lambda d: (d.revision, d.created_at)):
        found[one.destination] = one
    return [found[name] for name in sorted(found)]


def _last(lines: Sequence[TrailEntry], event: str, revision: int) -> TrailEntry | None:
    fitting = [line for line in lines if line.event == event and line.details.get("revision") == revision]
    return fitting[-1] if fitting else None
