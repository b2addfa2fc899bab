// The findings: what the machine suggests, what the reader makes of each, and what the machine missed.

import type { JSX } from "preact";
import { useState } from "preact/hooks";

import type { Desk } from "../desk";
import { Icon } from "../icons";
import { asks, changed, judged, keyOf, of, withdrawn } from "../judgements";
import type { Finding, FindingChoice, Judgement, Laterality, Reading } from "../types";
import { decimal, knows, named, t } from "../words";
import { Reason, reasonText } from "./reason";
import { Verbs } from "./verbs";
import { Volumes } from "./volumes";

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
  addOne: (key: string) => void; // without a box
  drawing: boolean;
}

export function nameOf(reading: Reading, key: string): string {
  return named(reading.finding_choices.find((one) => one.key === key)?.names ?? reading.findings.find((one) => one.key === key)?.names, key);
}

export function Findings(props: FindingsProps): JSX.Element {
  const { reading, desk } = props;
  const present = reading.findings.filter(asks);
  const rest = reading.findings.filter((one) => !asks(one));
  const mine = desk.judgements.filter((one) => one.finding_id === null);
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
        {present.map((one) => (
          <Card key={one.id} {...props} finding={one} judgement={of(desk.judgements, one.id)} />
        ))}
        {mine.map((one) => (
          <AddedCard key={keyOf(one, desk.judgements)} {...props} judgement={one} id={keyOf(one, desk.judgements)} />
        ))}
      </ul>
      {rest.length > 0 && (
        <details class="rest">
          <summary>{t("findings.below", { n: rest.length })}</summary>
          <ul class="absent">
            {rest.map((one) => (
              <li key={one.id}>
                <span>{named(one.names, one.key)}</span>
                <Score finding={one} />
                {reading.may.review && (
                  <button type="button" class="small" aria-label={`${t("findings.add")}: ${named(one.names, one.key)}`} onClick={() => props.addOne(one.key)}>
                    <Icon of="plus" />
                  </button>
                )}
              </li>
            ))}
          </ul>
        </details>
      )}
      <Volumes {...props} />
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
  return (
    <li class={`card-finding is-${verdict}${chosen === finding.id ? " is-chosen" : ""}`} data-finding={finding.id} onClick={() => choose(finding.id)}>
      <div class="card-head">
        <h3>
          <TierSign tier={finding.tier} />
          {name}
        </h3>
        <Score finding={finding} />
      </div>
      <p class="verdict">{t(`verdicts.${verdict}`)}{judgement?.verdict === "rejected" && judgement.reason ? `: ${reasonText(judgement.reason, reading)}` : ""}{judgement?.verdict === "edited" ? summary(judgement, reading) : ""}</p>
      {reading.may.review && <Verbs name={name} verdict={verdict} accept={() => judge("accepted")} reject={() => judge("rejected")} edit={() => (judgement?.verdict === "edited" && editing === finding.id ? edit("") : judge("edited"))} />}
      {finding.heatmap && chosen === finding.id && (
        <div class="heat">
          <label class="check">
            <input type="checkbox" checked={shown?.heat ?? false} onChange={(event) => overlay(finding.id, { heat: event.currentTarget.checked })} /> {t("findings.heat")}
          </label>
          <input type="range" min="5" max="100" step="5" aria-label={t("findings.opacity", { name })} value={Math.round((shown?.opacity ?? 0.45) * 100)} onInput={(event) => overlay(finding.id, { heat: true, opacity: Number(event.currentTarget.value) / 100 })} />
        </div>
      )}
      {judgement?.verdict === "rejected" && editing === finding.id && reading.may.review && <Reason reason={judgement.reason} say={(reason) => desk.judge((all) => changed(all, finding.id, { reason }))} reasons={reading.rejection_reasons} done={() => edit("")} />}
      {judgement?.verdict === "edited" && editing === finding.id && reading.may.review && <Details judgement={judgement} id={finding.id} desk={desk} choices={reading.finding_choices} done={() => edit("")} />}
    </li>
  );
}

function Score({ finding }: { finding: Finding }): JSX.Element | null {
  if (finding.probability === null) return null;
  return (
    <span class="score" title={t("findings.score_hint", { model: `${finding.algorithm_name} ${finding.algorithm_version}` })}>
      {decimal(finding.probability)}
      {finding.operating_point !== null && <small> / {decimal(finding.operating_point)}</small>}
    </span>
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

function summary(one: Judgement, reading: Reading): string {
  const site = reading.finding_choices.find((choice) => choice.key === one.key)?.sites.find((place) => place.key === one.site);
  const parts = [one.laterality ? t(`laterality.${one.laterality}`) : "", site ? named(site.names, site.key) : "", one.size_mm ? `${decimal(one.size_mm, 0)} mm` : "", one.text];
  const said = parts.filter(Boolean).join(", ");
  return said ? `: ${said}` : "";
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
                <option key={one.key} value={one.key}>{named(one.names, one.key)}</option>
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
      <svg viewBox="0 0 12 12" aria-hidden="true">{tier === "critical" ? <path d="M6 .8 11.6 11H.4z" /> : tier === "urgent" ? <path d="M6 .4 11.6 6 6 11.6.4 6z" /> : <circle cx="6" cy="6" r="4.6" />}</svg>
      <span class="sr-only">{t(`tiers.${tier}`)}: </span>
    </span>
  );
}
