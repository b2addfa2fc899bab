// Keeps the draft: in this browser at once, at the service as soon as the line allows. What the reader sees of it
// is `state`; nothing is called saved before the service said so.

import { NoLine, Problem } from "./api";
import type { Content as Written, Draft, Signed } from "./types";
import type { Kept, Vault } from "./vault";

export type SaveState =
  | { kind: "none" } // nothing written
  | { kind: "waiting" } // written, not sent yet
  | { kind: "saving" }
  | { kind: "saved"; at: string }
  | { kind: "offline" } // kept here, sent when the line is back
  | { kind: "changed"; theirs: Draft | null; signed?: Signed } // somebody else's, or another tab's, is newer; or a signature
  | { kind: "overtaken"; by: "signature" | "result" } // it came after this page: what was written is not sent
  | { kind: "refused"; code: string };

type Content = Written & Pick<Draft, "seconds_spent">;

export interface Ports {
  send: (draft: Content & { version: number; last_signed: string; report_uid?: string; carry_over?: boolean }) => Promise<{ version: number; updated_at: string }>;
  vault: Pick<Vault, "keep" | "forget">;
  told: (state: SaveState) => void;
  now?: () => number;
  pauseMs?: number; // after the last key before it is sent
  retryMs?: number;
}

const BY: Record<string, "signature" | "result"> = {
  "review.step_refused": "signature",
  "review.report_changed": "result",
  "review.taken_back": "result",
};

/** Whether the service has this very draft; an empty section and none are the same. */
function isSame(mine: Content, theirs: Draft): boolean {
  const plain = (one: Written): string =>
    JSON.stringify([
      one.judgements.map((judged) => Object.entries(judged).filter(([, value]) => value !== null && value !== "").sort()),
      Object.entries(one.sections).filter(([, text]) => text).sort(),
      (one.volumes ?? []).map((judged) => [judged.measurement_id, judged.verdict, judged.value_ml, judged.reason]),
    ]);
  return plain(mine) === plain(theirs);
}

export class Saver {
  state: SaveState = { kind: "none" };
  version: number;
  private content: Content | null = null; // what the service has not got
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sending: Promise<void> | null = null;
  private seen: string; // the last signature that the writer saw
  private about: string | undefined; // the machine's result that the writer saw

  constructor(
    version: number,
    private readonly ports: Ports,
    private readonly lastSigned = "",
    private readonly result?: string,
  ) {
    this.version = version;
    this.seen = lastSigned;
    this.about = result;
  }

  /** The reader changed something. */
  write(content: Content): void {
    this.content = content;
    const kept: Kept = { ...content, version: this.version, at: (this.ports.now ?? Date.now)(), last_signed: this.seen, report_uid: this.about };
    void this.ports.vault.keep(kept);
    if (this.isHeld) return; // first the reader decides
    if (this.state.kind !== "offline") this.tell({ kind: "waiting" });
    this.later(this.ports.pauseMs ?? 800);
  }

  /** Send what is left; resolves when the service has it or could not be reached. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    while (this.content && !this.isHeld) {
      const before: Content | null = this.content;
      this.sending ??= this.send().finally(() => (this.sending = null));
      await this.sending;
      if (this.content === before) return; // could not
    }
  }

  get isClean(): boolean {
    return this.content === null && this.sending === null;
  }

  /** What this browser had kept comes back: sent, or held where a signature or a result came after it. */
  restore(kept: Kept, theirs: Draft | null, signed: Signed | undefined): void {
    const { version, at: _at, last_signed: seen = "", report_uid: about = this.result, ...content } = kept;
    this.version = version; // where the service has a newer one it says so
    this.seen = seen;
    this.about = about;
    if (seen === this.lastSigned && about === this.result) return this.write(content);
    this.content = content;
    this.tell(seen === this.lastSigned ? { kind: "overtaken", by: "result" } : { kind: "changed", theirs, signed });
  }

  private get isHeld(): boolean {
    return this.state.kind === "changed" || this.state.kind === "overtaken";
  }

  /** After a conflict: mine over the newer one, or theirs instead of mine. */
  async resolve(mine: boolean, theirs: Draft | null): Promise<void> {
    this.version = theirs?.version ?? 0;
    this.seen = this.lastSigned;
    this.tell({ kind: "waiting" });
    if (mine) return this.flush();
    this.about = this.result;
    this.content = null;
    await this.ports.vault.forget();
    this.tell(theirs ? { kind: "saved", at: theirs.updated_at ?? "" } : { kind: "none" });
  }

  /** Have the service keep what was written about a former result: of its verdicts those that hold for the newest.
   * Whether the page may be loaded anew; throws NoLine. */
  async carry(): Promise<boolean> {
    if (this.state.kind !== "overtaken" || this.state.by !== "result" || !this.content) return true;
    const held = this.state;
    await this.send(true);
    const now = this.state as SaveState;
    if (now.kind !== "offline") return now.kind === "saved";
    clearTimeout(this.timer);
    this.tell(held);
    throw new NoLine("draft");
  }

  /** Nothing is left to save: it was signed, or thrown away. */
  async done(version = 0): Promise<void> {
    clearTimeout(this.timer);
    this.content = null;
    this.version = version;
    await this.ports.vault.forget();
    this.tell({ kind: "none" });
  }

  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.flush(), ms);
  }

  private async send(carryOver = false): Promise<void> {
    const content = this.content;
    if (!content) return;
    this.tell({ kind: "saving" });
    try {
      const answer = await this.ports.send({ ...content, version: this.version, last_signed: this.seen, report_uid: this.about, ...(carryOver ? { carry_over: true } : {}) });
      this.version = answer.version;
      if (this.content === content) {
        this.content = null;
        await this.ports.vault.forget();
        this.tell({ kind: "saved", at: answer.updated_at });
      }
    } catch (error) {
      const by = error instanceof Problem ? BY[error.code] : undefined;
      if (by) {
        this.tell({ kind: "overtaken", by });
      } else if (error instanceof Problem && error.code === "draft_changed") {
        const theirs = (error.body.draft ?? error.body.stored ?? null) as Draft | null;
        if (theirs && isSame(content, theirs)) {
          // it was ours: it had arrived, and the line took the answer
          this.version = theirs.version;
          if (this.content === content) {
            this.content = null;
            await this.ports.vault.forget();
            this.tell({ kind: "saved", at: theirs.updated_at ?? "" });
          }
          return;
        }
        this.tell({ kind: "changed", theirs });
      } else if (error instanceof NoLine || (error instanceof Problem && error.status >= 500)) {
        this.tell({ kind: "offline" });
        this.later(this.ports.retryMs ?? 5000);
      } else {
        this.tell({ kind: "refused", code: error instanceof Problem ? error.code || String(error.status) : "unknown" });
      }
    }
  }

  private tell(state: SaveState): void {
    this.state = state;
    this.ports.told(state);
  }
}
