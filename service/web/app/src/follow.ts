// Of notices and follow-ups, what needs no page.

import type { Notice } from "./types";

/** The notices of one study, and how many others wait. */
export function noticesHere(all: readonly Notice[], study: string): { here: readonly Notice[]; elsewhere: number } {
  const here = all.filter((one) => one.study_instance_uid === study);
  return { here, elsewhere: all.length - here.length };
}

/** The day as a date field wants it, where the reader is. */
export function isoDay(at: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
