// Who has the study open, and what of this page does not stand any more: asked again and again while it is open.

import { useEffect, useState } from "preact/hooks";

import type { Api } from "./api";
import type { Lock, Reading, TakenLock } from "./types";

const LOCK_MS = 30_000; // the service forgets a reader after 90 s

/** What came after this page; the gravest alone. */
export type News = "patient" | "signature" | "result" | "";

export function newsOf(reading: Reading, now: TakenLock): News {
  if (now.whose !== reading.study.whose) return "patient";
  if (now.last_signed !== (reading.history.at(-1)?.report_uid ?? "")) return "signature";
  const isOther = now.report_uid !== (reading.report?.report_uid ?? null) || now.taken_back !== Boolean(reading.report?.taken_back);
  return isOther ? "result" : "";
}

export function useLock(api: Api, reading: Reading, signedIn: boolean): { lock: Lock | null; news: News } {
  const [lock, setLock] = useState<Lock | null>(reading.lock ? { ...reading.lock, mine: reading.mine } : null);
  const [news, setNews] = useState<News>("");
  useEffect(() => {
    const taken = (now: TakenLock) => {
      setLock(now);
      setNews(newsOf(reading, now));
    };
    if (!reading.may.review && !signedIn) return; // no lock to hold, no session to end
    const renew = () => void (reading.may.review ? api.lock().then(taken) : api.stillThere()).catch(() => undefined);
    renew();
    const timer = setInterval(renew, LOCK_MS);
    if (reading.may.review) addEventListener("pagehide", api.unlock);
    return () => {
      clearInterval(timer);
      removeEventListener("pagehide", api.unlock);
    };
  }, []);
  return { lock, news };
}
