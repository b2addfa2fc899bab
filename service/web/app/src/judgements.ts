// What the reader says of each finding. Pure: a list goes in, a list comes out.

import type { Box, Content, Finding, Judgement, Measured, SectionKey, Sections, Verdict, VolumeJudgement } from "./types";

export const SECTIONS: readonly SectionKey[] = ["description", "comparison", "conclusion", "recommendation"];

/** A judgement's place in the draft: the finding's id, or `+n` for the n-th that the reader added. */
export const keyOf = (one: Judgement, all: readonly Judgement[]): string => one.finding_id ?? `+${all.filter((other) => other.finding_id === null).indexOf(one)}`;

export const of = (all: readonly Judgement[], finding: string): Judgement | undefined => all.find((one) => keyOf(one, all) === finding);

export function judged(all: readonly Judgement[], finding: Finding, verdict: Exclude<Verdict, "added">, change: Partial<Judgement> = {}): Judgement[] {
  const before = all.find((one) => one.finding_id === finding.id);
  const fresh: Judgement = { finding_id: finding.id, key: finding.key, verdict, reason: "", laterality: null, site: null, size_mm: null, text: "", boxes: finding.boxes };
  const after: Judgement = { ...(before ?? fresh), ...change, verdict };
  if (verdict !== "rejected") after.reason = "";
  if (verdict === "accepted") Object.assign(after, { laterality: null, site: null, size_mm: null, text: "", boxes: finding.boxes }); // as the machine said it
  return before ? all.map((one) => (one === before ? after : one)) : [...all, after];
}

export const withdrawn = (all: readonly Judgement[], finding: string): Judgement[] => all.filter((one) => keyOf(one, all) !== finding);

export function added(all: readonly Judgement[], key: string, boxes: Box[]): Judgement[] {
  return [...all, { finding_id: null, key, verdict: "added", reason: "", laterality: null, site: null, size_mm: null, text: "", boxes }];
}

export function changed(all: readonly Judgement[], finding: string, change: Partial<Judgement>): Judgement[] {
  return all.map((one) => (keyOf(one, all) === finding ? { ...one, ...change } : one));
}

/** Whether nobody can sign before saying something about it. */
export const asks = (finding: Finding): boolean => finding.presence !== "absent";

/** What the machine does not call absent and nobody has judged yet. */
export const open = (findings: readonly Finding[], all: readonly Judgement[]): Finding[] => findings.filter((one) => asks(one) && !all.some((judgement) => judgement.finding_id === one.id));

/** What is wrong with a draft before it can be signed: keys below room.missing. */
export function missing(findings: readonly Finding[], draft: Content): string[] {
  const found: string[] = [];
  if (open(findings, draft.judgements).length) found.push("verdict");
  if ([...draft.judgements, ...(draft.volumes ?? [])].some((one) => one.verdict === "rejected" && !one.reason.trim())) found.push("reason");
  if (!draft.sections.conclusion?.trim()) found.push("conclusion");
  return found;
}

/** A verdict about a volume; the same one again takes it back. What is confirmed is the machine's number. */
export function weighed(all: readonly VolumeJudgement[], measured: Measured, verdict: VolumeJudgement["verdict"]): VolumeJudgement[] {
  const before = all.find((one) => one.measurement_id === measured.id);
  const others = all.filter((one) => one !== before);
  if (before?.verdict === verdict) return others;
  return [...others, { measurement_id: measured.id, verdict, value_ml: verdict === "rejected" ? null : measured.value, reason: "" }];
}

/** The same from the keyboard, where a key pressed twice takes nothing back. */
export const weighedOnce = (all: readonly VolumeJudgement[], measured: Measured, verdict: VolumeJudgement["verdict"]): VolumeJudgement[] =>
  all.some((one) => one.measurement_id === measured.id && one.verdict === verdict) ? [...all] : weighed(all, measured, verdict);

export const reweighed = (all: readonly VolumeJudgement[], id: string, change: Partial<VolumeJudgement>): VolumeJudgement[] => all.map((one) => (one.measurement_id === id ? { ...one, ...change } : one));

/** Newly drafted text goes in where the reader has not written: an empty section, or one that is still as drafted. */
export function redrafted(now: Partial<Sections>, before: Partial<Sections>, fresh: Partial<Sections>): Partial<Sections> {
  const next = { ...now };
  for (const key of SECTIONS) {
    const mine = now[key]?.trim() ?? "";
    if (fresh[key] !== undefined && (mine === "" || mine === (before[key]?.trim() ?? ""))) next[key] = fresh[key];
  }
  return next;
}

/** A template fills what is empty and follows what is written. */
export function filled(now: Partial<Sections>, template: Partial<Sections>): Partial<Sections> {
  const next = { ...now };
  for (const key of SECTIONS) {
    const [mine, theirs] = [now[key]?.trim() ?? "", template[key]?.trim() ?? ""];
    if (theirs && !mine.includes(theirs)) next[key] = mine ? `${mine}\n${theirs}` : theirs;
  }
  return next;
}
