// The sentences of the message catalogue, as the server gives them.

import type { Language, Named } from "./types";

let sentences: Record<string, string> = {};
let spoken: Language = "vi";
let zone = "Asia/Ho_Chi_Minh";

export async function learn(language: Language, version: string, timezone: string): Promise<void> {
  spoken = language;
  zone = timezone;
  const answer = await fetch(`/static/app/words/${language}.json?v=${version}`);
  if (!answer.ok) throw new Error(`words ${answer.status}`);
  sentences = await answer.json();
}

/** The sentence under `room.<key>`. A key without one is shown as it is: a test finds it. */
export function t(key: string, values: Record<string, string | number> = {}): string {
  const sentence = sentences[`room.${key}`] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

export const knows = (key: string): boolean => `room.${key}` in sentences;
export const language = (): Language => spoken;
export const named = (names: Named | null | undefined, otherwise = ""): string => names?.[spoken] ?? names?.vi ?? otherwise;

const number = (digits: number) => new Intl.NumberFormat(spoken, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const decimal = (value: number, digits = 2): string => number(digits).format(value);

export function moment(iso: string | null | undefined): string {
  if (!iso) return "";
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  const parts = { timeZone: zone, hour: "2-digit", minute: "2-digit", day: "2-digit", month: spoken === "vi" ? "2-digit" : "short", year: "numeric", hourCycle: "h23" } as const;
  return new Intl.DateTimeFormat(spoken === "vi" ? "vi-VN" : "en-GB", parts).format(at);
}

/** A day without a time, as "2026-11-21". */
export function day(iso: string): string {
  const [year, month, date] = iso.split("-");
  return year && month && date ? `${date}/${month}/${year}` : iso;
}

export function clock(iso: string | number | null | undefined): string {
  if (!iso) return "";
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }).format(new Date(iso));
}
