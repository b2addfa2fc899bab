// The text of the report, its templates, what was signed before, and the state of the draft.

import type { JSX } from "preact";

import type { Desk } from "../desk";
import { filled, SECTIONS } from "../judgements";
import type { Reading, Signed } from "../types";
import { clock, moment, named, t } from "../words";

export function Report({ reading, desk }: { reading: Reading; desk: Desk }): JSX.Element | null {
  if (!reading.may.review) return null;
  return (
    <section class="part report" aria-labelledby="h-report">
      <div class="part-head">
        <h2 id="h-report">{t("report.heading")}</h2>
        <button type="button" class="small" disabled={desk.drafting} onClick={() => void desk.draftText()}>{t("report.draft")}</button>
      </div>
      {reading.templates.length > 0 && (
        <label class="template">
          <span>{t("report.template")}</span>
          <select
            value=""
            onChange={(event) => {
              const chosen = reading.templates.find((one) => one.key === event.currentTarget.value);
              if (chosen) desk.fill(filled(desk.sections, chosen.sections));
              event.currentTarget.value = "";
            }}
          >
            <option value="">{t("report.choose")}</option>
            {reading.templates.map((one) => (
              <option key={one.key} value={one.key}>{named(one.names, one.key)}</option>
            ))}
          </select>
        </label>
      )}
      {SECTIONS.map((key) => (
        <label key={key} class={`section section-${key}`}>
          <span>{t(`sections.${key}`)}</span>
          <textarea name={key} rows={key === "description" ? 4 : 2} maxLength={8000} value={desk.sections[key] ?? ""} onInput={(event) => desk.write(key, event.currentTarget.value)} />
        </label>
      ))}
    </section>
  );
}

export function SaveLine({ desk }: { desk: Desk }): JSX.Element {
  const { save } = desk;
  const told = save.kind === "saved" ? t("save.saved", { time: clock(save.at) }) : save.kind === "refused" ? t("save.refused", { code: save.code }) : save.kind === "overtaken" ? t(`save.overtaken_${save.by}`) : t(`save.${save.kind}`);
  return (
    <p class={`save save-${save.kind}`} role="status">
      {told}
      {desk.restored && save.kind !== "changed" && save.kind !== "overtaken" && <span> · {t("save.restored")}</span>}
    </p>
  );
}

/** What the reader decides before anything more is saved. `again`: show the study as it stands now. */
export function Conflict({ desk, again }: { desk: Desk; again: () => void }): JSX.Element | null {
  if (desk.save.kind === "overtaken") {
    return (
      <div class="conflict" role="alertdialog" aria-labelledby="h-conflict">
        <p id="h-conflict">{t(`save.overtaken_told_${desk.save.by}`)}</p>
        <button type="button" class="small" onClick={again}>{t(desk.save.by === "signature" ? "save.show_signed" : "save.show_result")}</button>
      </div>
    );
  }
  if (desk.save.kind !== "changed") return null;
  const { theirs, signed } = desk.save;
  return (
    <div class="conflict" role="alertdialog" aria-labelledby="h-conflict">
      <p id="h-conflict">{signed ? t("save.conflict_signed", { author: signed.reviewer_name || signed.reviewer, time: moment(signed.signed_at) }) : theirs ? t("save.conflict", { author: theirs.author ?? "", time: clock(theirs.updated_at) }) : t("save.conflict_gone")}</p>
      <button type="button" class="small" onClick={() => void desk.resolve(true)}>{t("save.keep_mine")}</button>
      <button type="button" class="small" onClick={() => void desk.resolve(false).then(again)}>{t(signed && !theirs ? "save.take_signed" : "save.take_theirs")}</button>
    </div>
  );
}

export function History({ history }: { history: readonly Signed[] }): JSX.Element | null {
  if (!history.length) return null;
  return (
    <section class="part history" aria-labelledby="h-history">
      <h2 id="h-history">{t("history.heading")}</h2>
      <ol>
        {[...history].reverse().map((one) => (
          <li key={one.report_uid}>
            <p class="signed">
              <b>{t(`kinds.${one.kind}`)}</b> · {one.reviewer_name || one.reviewer}
              {one.licence_number ? ` · ${t("history.licence", { number: one.licence_number })}` : ""} · {moment(one.signed_at)}
            </p>
            {one.reason && <p>{one.reason}</p>}
            {SECTIONS.filter((key) => one.sections?.[key]).map((key) => (
              <p key={key} class="said">
                <b>{t(`sections.${key}`)}.</b> {one.sections[key]}
              </p>
            ))}
            <p class="digest" title={one.content_sha256}>{t("history.digest", { digest: one.content_sha256.slice(0, 16) })}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}
