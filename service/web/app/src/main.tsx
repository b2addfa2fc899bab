// The reading room of one study. The page brings the first picture and who reads; everything else is asked for.

import "./room.css";

import { render } from "preact";

import { Api } from "./api";
import { Room } from "./room";
import type { Language } from "./types";
import { clearOpen, Vault } from "./vault";
import { learn } from "./words";

export interface Start {
  study: string;
  user: string;
  name: string;
  about: string;
  masked: string;
  preview: string;
  csrf: string;
  signedIn: boolean;
  language: Language;
}

async function begin(root: HTMLElement): Promise<void> {
  const data = root.dataset as Record<string, string>;
  const start: Start = {
    study: data.study ?? "",
    user: data.user ?? "",
    name: data.name ?? "",
    about: data.about ?? "",
    masked: data.masked ?? "",
    preview: data.preview ?? "",
    csrf: data.csrf ?? "",
    signedIn: "signedIn" in root.dataset,
    language: (data.language as Language) ?? "vi",
  };
  const picture = document.querySelector<HTMLImageElement>("#preview");
  const vault = new Vault(start.user, start.study, data.draftKey ?? "");
  const api = new Api(start.study, start.csrf);
  const [reading] = await Promise.all([
    api.reading().then(
      (found) => ({ found, error: null }),
      (error: unknown) => ({ found: null, error }),
    ),
    learn(start.language, data.version ?? "", data.zone ?? "Asia/Ho_Chi_Minh"),
  ]);
  delete root.dataset.draftKey; // the vault has it, and nothing else needs it
  root.replaceChildren();
  render(<Room start={start} api={api} vault={vault} reading={reading.found} error={reading.error} firstPicture={picture} />, root);
  performance.mark("room-ready");
  if ("serviceWorker" in navigator) navigator.serviceWorker.register("/static/app/sw.js", { scope: "/" }).catch(() => undefined);
}

document.addEventListener("submit", (event) => {
  if ((event.target as HTMLFormElement).action.endsWith("/logout")) clearOpen();
});

const root = document.querySelector<HTMLElement>("#room");
if (root) void begin(root);
