// Keeps the draft: in this browser at once, at the service as soon as the line allows. What the reader sees of it
// is `state`; nothing is called saved before the service said so.

import { NoLine, Problem } from "./api";
import type { Content as Written, Draft } from "./types";
import type { Kept, Vault } from "./vault";

export type SaveState =
  | { kind: "none" } // nothing written
  | { kind: "waiting" } // written, not sent yet
  | { kind: "saving" }
  | { kind: "saved"; at: string }
  | { kind: "offline" } // kept here, sent when the line is back
  | { kind: "changed"; theirs: Draft | null } // somebody else's, or another tab's, is newer
  | { kind: "refused"; code: string };

type Content = Written & Pick<Draft, "seconds_spent">;

export interface Ports {
  send: (draft: Content & { version: number }) => Promise<{ version: number; updated_at: string }>;
  vault: Pick<Vault, "keep" | "forget">;
  told: (state: SaveState) => void;
  now?: () => number;
  pauseMs?: number; // after the last key before it is sent
  retryMs?: number;
}

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

  constructor(
    version: number,
    private readonly ports: Ports,
  ) {
    this.version = version;
  }

  /** The reader changed something. */
  write(content: Content): void {
    this.content = content;
    const kept: Kept = { ...content, version: this.version, at: (this.ports.now ?? Date.now)() };
    void this.ports.vault.keep(kept);
    if (this.state.kind === "changed") return; // first the reader decides
    if (this.state.kind !== "offline") this.tell({ kind: "waiting" });
    this.later(this.ports.pauseMs ?? 800);
  }

  /** Send what is left; resolves when the service has it or could not be reached. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    while (this.content && this.state.kind !== "changed") {
      const before: Content | null = this.content;
      this.sending ??= this.send().finally(() => (this.sending = null));
      await this.sending;
      if (this.content === before) return; // could not
    }
  }

  get isClean(): boolean {
    return this.content === null && this.sending === null;
  }

  /** After a conflict: mine over the newer one, or theirs instead of mine. */
  async resolve(mine: boolean, theirs: Draft | null): Promise<void> {
    this.version = theirs?.version ?? 0;
    this.tell({ kind: "waiting" });
    if (mine) return this.flush();
    this.content = null;
    await this.ports.vault.forget();
    this.tell(theirs ? { kind: "saved", at: theirs.updated_at ?? "" } : { kind: "none" });
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

  private async send(): Promise<void> {
    const content = this.content;
    if (!content) return;
    this.tell({ kind: "saving" });
    try {
      const answer = await this.ports.send({ ...content, version: this.version });
      this.version = answer.version;
      if (this.content === content) {
        this.content = null;
        await this.ports.vault.forget();
        this.tell({ kind: "saved", at: answer.updated_at });
      }
    } catch (error) {
      if (error instanceof Problem && error.status === 409) {
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
