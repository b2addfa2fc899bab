// Why something of the machine is rejected: a reason of the list, and words.

import type { JSX } from "preact";

import type { Reading } from "../types";
import { named, t } from "../words";

export const reasonText = (reason: string, reading: Reading): string => {
  const [code = "", text = ""] = reason.split(/: (.*)/s);
  return [named(reading.rejection_reasons.find((one) => one.key === code)?.names, code), text].filter(Boolean).join(" – ");
};

export function Reason({ reason, say: told, reasons, done }: { reason: string; say: (reason: string) => void; reasons: Reading["rejection_reasons"]; done: () => void }): JSX.Element {
  const [code = "", text = ""] = reason.split(/: (.*)/s);
  const say = (nextCode: string, nextText: string) => told(nextText.trim() ? `${nextCode || "other"}: ${nextText}` : nextCode);
  return (
    <fieldset class="form">
      <legend>{t("findings.why")}</legend>
      <div class="chips">
        {reasons.map((one) => (
          <button key={one.key} type="button" class="chip" aria-pressed={code === one.key} onClick={() => say(one.key, text)}>
            {named(one.names, one.key)}
          </button>
        ))}
      </div>
      <input value={text} maxLength={300} aria-label={t("findings.why_text")} placeholder={t("findings.why_text")} onInput={(event) => say(code, event.currentTarget.value)} />
      <button type="button" class="small" onClick={done}>{t("done")}</button>
    </fieldset>
  );
}
