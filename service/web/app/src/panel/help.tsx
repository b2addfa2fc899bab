// The help sheet: every key, from the one table.

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { KEYS } from "../keys";
import { presetsOf } from "../window";
import { t } from "../words";

const GROUPS = ["reading", "picture", "measure", "compare", "page"] as const;

export function Help({ modality, close }: { modality: string; close: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog class="sheet help" ref={dialog} aria-labelledby="h-help" onClose={close}>
      <div class="part-head">
        <h2 id="h-help">{t("help.heading")}</h2>
        <button type="button" class="small" onClick={() => dialog.current?.close()}>{t("close")}</button>
      </div>
      <div class="keys">
        {GROUPS.map((group) => (
          <section key={group}>
            <h3>{t(`help.${group}`)}</h3>
            <dl>
              {KEYS.filter((one) => one.group === group).map((one) => (
                <div key={one.deed}>
                  <dt><kbd>{one.shown ?? one.keys[0]?.toUpperCase()}</kbd></dt>
                  <dd>{t(`keys.${one.deed}`)}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>{t("help.presets")}</h3>
          <dl>
            {presetsOf(modality).map((one, n) => (
              <div key={one.name}>
                <dt><kbd>{n + 1}</kbd></dt>
                <dd>{t(`presets.${one.name}`)}</dd>
              </div>
            ))}
          </dl>
        </section>
        <section>
          <h3>{t("help.mouse")}</h3>
          <p>{t("help.mouse_text")}</p>
        </section>
      </div>
    </dialog>
  );
}
