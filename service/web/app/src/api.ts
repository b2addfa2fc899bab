// What is asked of the service: JSON with the session's cookie and the token of its forms.

import type { Draft, FollowUps, Judgement, Language, Reading, Sections, TakenLock } from "./types";

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly body: Record<string, unknown>,
  ) {
    super(code || String(status));
  }
}

/** The report of the last signature that the reader has on the screen; "" for none. */
export interface Seen {
  last_signed: string;
}

/** No answer came: the line is down, or the service is. What was asked may be asked again. */
export class NoLine extends Error {}

export class Api {
  private readonly base: string;

  constructor(
    study: string,
    private readonly csrf: string,
  ) {
    this.base = `/api/v1/studies/${study}`;
  }

  reading = (): Promise<Reading> => this.ask("GET", "/reading");
  saveDraft = (draft: Pick<Draft, "version" | "judgements" | "sections" | "volumes" | "seconds_spent" | "report_uid"> & Seen & { carry_over?: boolean }): Promise<{ version: number; updated_at: string }> =>
    this.ask("PUT", "/draft", draft);
  write = async (judgements: Judgement[], language: Language): Promise<Partial<Sections>> =>
    (await this.ask<{ sections: Partial<Sections> }>("POST", "/draft/text", { judgements, language })).sections;
  lock = (): Promise<TakenLock> => this.ask("PUT", "/lock");
  unlock = (): void => {
    void fetch(`${this.base}/lock`, { method: "DELETE", headers: { "X-CSRF-Token": this.csrf }, keepalive: true }).catch(() => undefined);
  };
  sign = (what: { whose: string; version: number; password: string; may_train: boolean; kind: string; reason: string; language: Language } & Seen): Promise<{ report_uid: string; status: string; signed_at: string; content_sha256: string }> =>
    this.ask("POST", "/sign", what);
  // An account of the hospital's own sign-in says there again who it is: where to go.
  signElsewhere = (what: { whose: string; version: number; may_train: boolean; kind: string; reason: string; language: Language } & Seen): Promise<{ address: string }> => this.ask("POST", "/sign/elsewhere", what);
  withdraw = (what: { password: string; reason: string } & Seen): Promise<{ report_uid: string; status: string }> => this.ask("POST", "/withdraw", what);

  followUps = (): Promise<FollowUps> => this.ask("GET", "/follow-ups");
  askFollowUp = (what: Record<string, string>): Promise<unknown> => this.ask("POST", "/follow-ups", what);
  acknowledge = (number: number): Promise<unknown> => this.ask("POST", `/notices/${number}/acknowledge`, undefined, "/api/v1");

  /** Whether the session still lives, for who takes no lock. */
  stillThere = async (): Promise<void> => {
    const answer = await fetch("/account", { headers: { "X-Hoichan-Poll": "1" } }).catch(() => null);
    if (answer?.redirected) location.reload();
  };

  private async ask<T>(method: string, path: string, body?: unknown, base = this.base): Promise<T> {
    let answer: Response;
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method !== "GET") headers["X-CSRF-Token"] = this.csrf;
    if (path === "/lock") headers["X-Hoichan-Poll"] = "1"; // the page asks by itself: that keeps no session alive
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      answer = await fetch(base + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(30_000) });
    } catch {
      throw new NoLine(method);
    }
    if (answer.status === 502 || answer.status === 504) throw new NoLine(method);
    if (answer.status === 401) location.reload(); // signed out: nobody's data stays on the screen; the vault has the draft
    const told = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Problem(answer.status, String((told as { code?: string }).code ?? ""), told as Record<string, unknown>);
    return told as T;
  }
}
