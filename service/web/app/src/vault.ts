// What the reader wrote and the service has not got yet, kept in this browser until it has.
//
// Where the browser has a cipher (https, or this machine) the draft is sealed with AES-GCM under a key that the
// service gives with each page and that is never stored here: after signing out nobody can read it. Over plain
// http there is no cipher: then the draft lives only in the tab's own store, and is cleared at signing out.

import type { Draft } from "./types";

const PREFIX = "hoichan.draft.";
export type Kept = Pick<Draft, "version" | "judgements" | "sections" | "volumes" | "seconds_spent"> & { at: number; last_signed?: string; report_uid?: string }; // the last signature and the machine's result that its writer saw

interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

const bytes = (hex: string): Uint8Array<ArrayBuffer> => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const text64 = (raw: Uint8Array): string => btoa(Array.from(raw, (one) => String.fromCharCode(one)).join(""));
const raw64 = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

export class Vault {
  private readonly name: string;
  private readonly key: Promise<CryptoKey> | null;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(
    user: string,
    study: string,
    keyHex: string,
    private readonly lasting: Store = localStorage,
    private readonly ofTab: Store = sessionStorage,
    cipher: SubtleCrypto | null = globalThis.crypto?.subtle ?? null, // a plain http page has none
  ) {
    this.name = `${PREFIX}${user}.${study}`;
    this.cipher = cipher;
    this.key = cipher ? cipher.importKey("raw", bytes(keyHex), "AES-GCM", false, ["encrypt", "decrypt"]) : null;
  }

  private readonly cipher: SubtleCrypto | null;

  /** Keep; the last call wins. Throws nothing: where there is no room left the service still has the line. */
  keep(draft: Kept): Promise<void> {
    return this.inTurn(async () => {
      const plain = new TextEncoder().encode(JSON.stringify(draft));
      if (!this.key || !this.cipher) return this.ofTab.setItem(this.name, JSON.stringify(draft));
      const iv = crypto.getRandomValues(new Uint8Array(12));
      const sealed = new Uint8Array(await this.cipher.encrypt({ name: "AES-GCM", iv }, await this.key, plain));
      this.lasting.setItem(this.name, `${text64(iv)}.${text64(sealed)}`);
    });
  }

  /** What was kept; null where there is nothing, or nothing that this reader can open. */
  async kept(): Promise<Kept | null> {
    await this.queue;
    try {
      if (!this.key || !this.cipher) return JSON.parse(this.ofTab.getItem(this.name) ?? "null");
      const [iv, sealed] = (this.lasting.getItem(this.name) ?? "").split(".");
      if (!iv || !sealed) return null;
      const plain = await this.cipher.decrypt({ name: "AES-GCM", iv: raw64(iv) }, await this.key, raw64(sealed));
      return JSON.parse(new TextDecoder().decode(plain));
    } catch {
      return null;
    }
  }

  forget(): Promise<void> {
    return this.inTurn(async () => {
      this.lasting.removeItem(this.name);
      this.ofTab.removeItem(this.name);
    });
  }

  private inTurn(step: () => Promise<void>): Promise<void> {
    const next = this.queue.then(step).catch(() => undefined);
    this.queue = next;
    return next;
  }
}

/** At signing out: what lies open in the tab goes. What is sealed stays for its owner's return. */
export function clearOpen(ofTab: Pick<Storage, "clear"> = sessionStorage): void {
  ofTab.clear();
}
