// Signing: the password again, what is signed, and plain words of what happened.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { NoLine, Problem, type Api } from "../api";
import type { Desk } from "../desk";
import { missing } from "../judgements";
import type { Reading } from "../types";
import { knows, language, t } from "../words";

export type Kind = "final" | "amendment" | "addendum" | "withdrawal";

export function kindsOf(reading: Reading): readonly Kind[] {
  const last = reading.history.at(-1)?.kind;
  return !reading.history.length || last === "withdrawal" ? ["final"] : ["amendment", "addendum", "withdrawal"];
}

export function SignDialog({ reading, desk, api, close, done, again }: { reading: Reading; desk: Desk; api: Api; close: () => void; done: (status: string) => void; again: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const kinds = kindsOf(reading);
  const [kind, setKind] = useState<Kind>(kinds[0] ?? "final");
  const [password, setPassword] = useState("");
  const [reason, setReason] = useState("");
  const [train, setTrain] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const [isOvertaken, setOvertaken] = useState(false); // a signature, a result or another patient came after this page
  const elsewhere = reading.settings.sign_needs === "issuer"; // by the hospital's own sign-in
  const gaps = kind === "withdrawal" ? [] : missing(reading.findings, desk);
  useEffect(() => dialog.current?.showModal(), []);
  const sign = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      if (elsewhere) {
        const at = kind === "withdrawal" ? 0 : await desk.ready();
        location.assign((await api.signElsewhere({ version: at, whose: reading.study.whose, last_signed: desk.lastSigned, may_train: train, kind, reason, language: language() })).address);
        return;
      }
      if (kind === "withdrawal") {
        done((await api.withdraw({ password, reason, last_signed: desk.lastSigned })).status);
        return;
      }
      const version = await desk.ready();
      const answer = await api.sign({ version, whose: reading.study.whose, last_signed: desk.lastSigned, password, may_train: train, kind, reason, language: language() });
      await desk.signed();
      done(answer.status);
    } catch (error) {
      const code = error instanceof Problem ? error.code || String(error.status) : "";
      setOvertaken(["review.step_refused", "review.report_changed", "review.patient_corrected"].includes(code));
      setProblem(error instanceof NoLine ? t("sign.no_line") : error instanceof Problem && knows(`problems.${code}`) ? t(`problems.${code}`) : error instanceof Problem && (error.status === 401 || error.status === 403) ? t("sign.wrong") : t("sign.failed", { code }));
    } finally {
      setBusy(false);
      setPassword("");
    }
  };
  return (
    <dialog class="sheet sign" ref={dialog} aria-labelledby="h-sign" onClose={close}>
      <form method="dialog" onSubmit={(event) => void sign(event)}>
        <h2 id="h-sign">{t(`sign.heading_${kind}`)}</h2>
        {kinds.length > 1 && (
          <div class="chips" role="group" aria-label={t("sign.kind")}>
            {kinds.map((one) => (
              <button key={one} type="button" class="chip" aria-pressed={kind === one} onClick={() => setKind(one)}>{t(`kinds.${one}`)}</button>
            ))}
          </div>
        )}
        {gaps.length > 0 && (
          <ul class="gaps" role="alert">
            {gaps.map((gap) => (
              <li key={gap}>{t(`missing.${gap}`)}</li>
            ))}
          </ul>
        )}
        {kind !== "withdrawal" && <p class="conclusion">{desk.sections.conclusion}</p>}
        {kind !== "final" && (
          <label>
            {t("sign.reason")}
            <input required value={reason} maxLength={300} onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        )}
        {elsewhere ? (
          <p>{t("sign.elsewhere")}</p>
        ) : (
          <label>
            {t("sign.password")}
            <input type="password" required autoComplete="current-password" value={password} onInput={(event) => setPassword(event.currentTarget.value)} />
          </label>
        )}
        {kind !== "withdrawal" && (
          <label class="check">
            <input type="checkbox" checked={train} onChange={(event) => setTrain(event.currentTarget.checked)} /> {t("sign.may_train")}
          </label>
        )}
        <p class="hint">{t("sign.means")}</p>
        {problem && <p class="bad" role="alert">{problem}</p>}
        {isOvertaken && (
          <p>
            <button type="button" class="small" onClick={again}>{t("save.show_signed")}</button>
          </p>
        )}
        <div class="row-buttons">
          <button type="button" class="small" onClick={() => dialog.current?.close()}>{t("cancel")}</button>
          <button type="submit" class={kind === "withdrawal" ? "primary is-grave" : "primary"} disabled={busy || (!password && !elsewhere) || gaps.length > 0 || (kind !== "final" && !reason.trim())}>
            {busy ? t("sign.busy") : t(`sign.do_${kind}`)}
          </button>
        </div>
      </form>
    </dialog>
  );
}
