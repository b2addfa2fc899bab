// The findings: what the machine suggests, what the reader makes of each, and what the machine missed.

import type { JSX } from "preact";
import { useState } from "preact/hooks";

import type { Desk } from "../desk";
import { Icon } from "../icons";
import { changed, judged, keyOf, of, REASONS, withdrawn } from "../judgements";
import type { Finding, FindingChoice, Judgement, Laterality, Reading, Site } from "../types";
import { decimal, knows, named, t } from "../words";

const siteKey = (site: Site): string => (typeof site === "string" ? site : site.key);
export const siteName = (site: Site): string => (typeof site === "string" ? (knows(`sites.${site}`) ? t(`sites.${site}`) : site) : named(site.names, site.key));

export interface Overlay {
  heat: boolean;
  opacity: number;
}

export interface FindingsProps {
  reading: Reading;
  desk: Desk;
  chosen: string;
  choose: (id: string) => void;
  editing: string;
  edit: (id: string) => void;
  overlays: Record<string, Overlay>;
  overlay: (id: string, change: Partial<Overlay>) => void;
  addByHand: () => void;
  drawing: boolean;
}

export function nameOf(reading: Reading, key: string): string {
  return named(reading.finding_choices.find((one) => one.key === key)?.names ?? reading.findings.find((one) => one.key === key)?.names, key);
}

export function Findings(props: FindingsProps): JSX.Element {
  const { reading, desk } = props;
  const present = reading.findings.filter((one) => one.presence === "present");
  const rest = reading.findings.filter((one) => one.presence !== "present");
  const mine = desk.judgements.filter((one) => one.finding_id === null);
  const judgedRest = rest.filter((one) => of(desk.judgements, one.id));
  return (
    <section class="part findings" aria-labelledby="h-findings">
      <div class="part-head">
        <h2 id="h-findings">{t("findings.heading")}</h2>
        {reading.may.review && (
          <button type="button" class={`small${props.drawing ? " is-on" : ""}`} aria-pressed={props.drawing} onClick={props.addByHand}>
            <Icon of="plus" /> {t("findings.add")}
          </button>
        )}
      </div>
      {props.drawing && <p class="hint" role="status">{t("findings.draw")}</p>}
      {!present.length && !mine.length && <p class="none">{reading.report ? named(reading.report.conclusion) : t("findings.not_analysed")}</p>}
      <ul class="cards">
        {[...present, ...judgedRest].map((one) => (
          <Card key={one.id} {...props} finding={one} judgement={of(desk.judgements, one.id)} />
        ))}
        {mine.map((one) => (
          <AddedCard key={keyOf(one, desk.judgements)} {...props} judgement={one} id={keyOf(one, desk.judgements)} />
        ))}
      </ul>
      {rest.length > judgedRest.length && (
        <details class="rest">
          <summary>{t("findings.below", { n: rest.length - judgedRest.length })}</summary>
          <ul class="cards">
            {rest
              .filter((one) => !judgedRest.includes(one))
              .map((one) => (
                <Card key={one.id} {...props} finding={one} judgement={undefined} />
              ))}
          </ul>
        </details>
      )}
      {reading.report?.refusals.map((one) => (
        <p key={`${one.algorithm_name}${one.code}`} class="refusal">{named(one.text, one.code)}</p>
      ))}
    </section>
  );
}

function Card({ finding, judgement, reading, desk, chosen, choose, editing, edit, overlays, overlay }: FindingsProps & { finding: Finding; judgement: Judgement | undefined }): JSX.Element {
  const shown = overlays[finding.id];
  const verdict = judgement?.verdict ?? "open";
  const name = named(finding.names, finding.key);
  const judge = (to: "accepted" | "rejected" | "edited") => {
    choose(finding.id);
    if (judgement?.verdict === to && to !== "edited") return desk.judge((all) => withdrawn(all, finding.id));
    desk.judge((all) => judged(all, finding, to));
    edit(to === "accepted" ? "" : finding.id);
  };
  const isPresent = finding.presence === "present";
  return (
    <li class={`card-finding is-${verdict}${chosen === finding.id ? " is-chosen" : ""}`} data-finding={finding.id} onClick={() => choose(finding.id)}>
      <div class="card-head">
        <h3>
          {isPresent && <TierSign tier={finding.tier} />}
          {name}
        </h3>
        {finding.probability !== null && (
          <span class="score" title={t("findings.score_hint", { model: `${finding.algorithm_name} ${finding.algorithm_version}` })}>
            {decimal(finding.probability)}
            {finding.operating_point !== null && <small> / {decimal(finding.operating_point)}</small>}
          </span>
        )}
      </div>
      <p class="verdict">{t(`verdicts.${verdict}`)}{judgement?.verdict === "rejected" && judgement.reason ? `: ${reasonText(judgement.reason)}` : ""}{judgement?.verdict === "edited" ? summary(judgement, reading) : ""}</p>
      {reading.may.review && (
        <div class="verbs" role="group" aria-label={`${t("findings.verdict")}: ${name}`}>
          <button type="button" class="verb verb-accept" aria-pressed={verdict === "accepted"} onClick={() => judge("accepted")}>
            <Icon of="check" /> {t("verbs.accept")}
          </button>
          <button type="button" class="verb verb-reject" aria-pressed={verdict === "rejected"} onClick={() => judge("rejected")}>
            <Icon of="cross" /> {t("verbs.reject")}
          </button>
          <button type="button" class="verb" aria-pressed={verdict === "edited"} onClick={() => (judgement?.verdict === "edited" && editing === finding.id ? edit("") : judge("edited"))}>
            <Icon of="pencil" /> {t("verbs.edit")}
          </button>
        </div>
      )}
      {finding.heatmap && chosen === finding.id && (
        <div class="heat">
          <label class="check">
            <input type="checkbox" checked={shown?.heat ?? false} onChange={(event) => overlay(finding.id, { heat: event.currentTarget.checked })} /> {t("findings.heat")}
          </label>
          <input type="range" min="5" max="100" step="5" aria-label={t("findings.opacity", { name })} value={Math.round((shown?.opacity ?? 0.45) * 100)} onInput={(event) => overlay(finding.id, { heat: true, opacity: Number(event.currentTarget.value) / 100 })} />
        </div>
      )}
      {judgement?.verdict === "rejected" && editing === finding.id && reading.may.review && <Reason judgement={judgement} id={finding.id} desk={desk} done={() => edit("")} />}
      {judgement?.verdict === "edited" && editing === finding.id && reading.may.review && <Details judgement={judgement} id={finding.id} desk={desk} choices={reading.finding_choices} done={() => edit("")} />}
    </li>
  );
}

function AddedCard({ judgement, id, reading, desk, chosen, choose, editing, edit }: FindingsProps & { judgement: Judgement; id: string }): JSX.Element {
  return (
    <li class={`card-finding is-added${chosen === id ? " is-chosen" : ""}`} data-finding={id} onClick={() => choose(id)}>
      <div class="card-head">
        <h3>{nameOf(reading, judgement.key)}</h3>
        <span class="score">{t("verdicts.by_reader")}</span>
      </div>
      <p class="verdict">{t("verdicts.added")}{summary(judgement, reading)}</p>
      {reading.may.review && (
        <div class="verbs">
          <button type="button" class="verb" aria-pressed={editing === id} onClick={() => edit(editing === id ? "" : id)}>
            <Icon of="pencil" /> {t("verbs.edit")}
          </button>
          <button type="button" class="verb" onClick={() => desk.judge((all) => withdrawn(all, id))}>
            <Icon of="cross" /> {t("verbs.remove")}
          </button>
        </div>
      )}
      {editing === id && reading.may.review && <Details judgement={judgement} id={id} desk={desk} choices={reading.finding_choices} done={() => edit("")} choosable />}
    </li>
  );
}

const reasonText = (reason: string): string => {
  const [code = "", text = ""] = reason.split(/: (.*)/s);
  return knows(`reasons.${code}`) ? [t(`reasons.${code}`), text].filter(Boolean).join(" – ") : reason;
};

function summary(one: Judgement, reading: Reading): string {
  const site = reading.finding_choices.find((choice) => choice.key === one.key)?.sites.find((place) => siteKey(place) === one.site);
  const parts = [one.laterality ? t(`laterality.${one.laterality}`) : "", site ? siteName(site) : "", one.size_mm ? `${decimal(one.size_mm, 0)} mm` : "", one.text];
  const said = parts.filter(Boolean).join(", ");
  return said ? `: ${said}` : "";
}

function Reason({ judgement, id, desk, done }: { judgement: Judgement; id: string; desk: Desk; done: () => void }): JSX.Element {
  const [code = "", text = ""] = judgement.reason.split(/: (.*)/s);
  const say = (nextCode: string, nextText: string) => desk.judge((all) => changed(all, id, { reason: nextText.trim() ? `${nextCode || "other"}: ${nextText}` : nextCode }));
  return (
    <fieldset class="form">
      <legend>{t("findings.why")}</legend>
      <div class="chips">
        {REASONS.map((one) => (
          <button key={one} type="button" class="chip" aria-pressed={code === one} onClick={() => say(one, text)}>
            {t(`reasons.${one}`)}
          </button>
        ))}
      </div>
      <input value={text} maxLength={300} aria-label={t("findings.why_text")} placeholder={t("findings.why_text")} onInput={(event) => say(code, event.currentTarget.value)} />
      <button type="button" class="small" onClick={done}>{t("done")}</button>
    </fieldset>
  );
}

const SIDES: readonly Laterality[] = ["right", "left", "bilateral"]; // as one stands before the film

function Details({ judgement, id, desk, choices, done, choosable = false }: { judgement: Judgement; id: string; desk: Desk; choices: FindingChoice[]; done: () => void; choosable?: boolean }): JSX.Element {
  const say = (change: Partial<Judgement>) => desk.judge((all) => changed(all, id, change));
  const sites = choices.find((one) => one.key === judgement.key)?.sites ?? [];
  const [text, setText] = useState(judgement.text);
  return (
    <fieldset class="form">
      <legend>{t("findings.details")}</legend>
      {choosable && (
        <label>
          {t("findings.what")}
          <select value={judgement.key} onChange={(event) => say({ key: event.currentTarget.value, site: null })}>
            {choices.map((one) => (
              <option key={one.key} value={one.key}>{named(one.names, one.key)}</option>
            ))}
          </select>
        </label>
      )}
      <div class="chips" role="group" aria-label={t("findings.side")}>
        {SIDES.map((one) => (
          <button key={one} type="button" class="chip" aria-pressed={judgement.laterality === one} onClick={() => say({ laterality: judgement.laterality === one ? null : one })}>
            {t(`laterality.${one}`)}
          </button>
        ))}
      </div>
      <div class="two">
        {sites.length > 0 && (
          <label>
            {t("findings.site")}
            <select value={judgement.site ?? ""} onChange={(event) => say({ site: event.currentTarget.value || null })}>
              <option value="">–</option>
              {sites.map((one) => (
                <option key={siteKey(one)} value={siteKey(one)}>{siteName(one)}</option>
              ))}
            </select>
          </label>
        )}
        <label>
          {t("findings.size")}
          <input type="number" min="0" max="999" step="1" inputMode="decimal" value={judgement.size_mm ?? ""} onInput={(event) => say({ size_mm: event.currentTarget.valueAsNumber > 0 ? event.currentTarget.valueAsNumber : null })} />
        </label>
      </div>
      <label>
        {t("findings.text")}
        <input value={text} maxLength={300} onInput={(event) => (setText(event.currentTarget.value), say({ text: event.currentTarget.value }))} />
      </label>
      <button type="button" class="small" onClick={done}>{t("done")}</button>
    </fieldset>
  );
}

export function TierSign({ tier }: { tier: string | null }): JSX.Element | null {
  if (!tier || !knows(`tiers.${tier}`)) return null;
  return (
    <span class={`tier-sign tier-${tier}`} title={t(`tiers.${tier}`)}>
      <svg viewBox="0 0 12 12" aria-hidden="true">{tier === "critical" ? <path d="M6 .5 11.5 6 6 11.5.5 6z" /> : tier === "urgent" ? <path d="M6 1l5.5 10H.5z" /> : <circle cx="6" cy="6" r="4" />}</svg>
      <span class="sr-only">{t(`tiers.${tier}`)}: </span>
    </span>
  );
}
