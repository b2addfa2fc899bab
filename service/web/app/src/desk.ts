// The draft of one reader on one study, as the panels use it.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";

import { NoLine, Problem, type Api } from "./api";
import { redrafted } from "./judgements";
import { Saver, type SaveState } from "./saver";
import type { Content, Judgement, Reading, SectionKey, Sections, VolumeJudgement } from "./types";
import type { Kept, Vault } from "./vault";
import { language } from "./words";

export interface Desk {
  judgements: Judgement[];
  sections: Partial<Sections>;
  volumes: VolumeJudgement[];
  save: SaveState;
  restored: boolean; // what this browser had kept came back
  drafting: boolean;
  judge: (next: (all: Judgement[]) => Judgement[]) => void;
  weigh: (next: (all: VolumeJudgement[]) => VolumeJudgement[]) => void;
  write: (key: SectionKey, text: string) => void;
  fill: (sections: Partial<Sections>) => void;
  draftText: () => Promise<void>;
  ready: () => Promise<number>; // everything is at the service: the version to sign. Throws NoLine or Problem where it is not
  lastSigned: string; // the report of the last signature on this page; "" for none
  resolve: (mine: boolean) => Promise<void>;
  carry: () => Promise<boolean>; // what was written about a former result goes over to the newest
  signed: () => Promise<void>;
}

const EMPTY: Content = { judgements: [], sections: {}, volumes: [] };
const DRAFT_MS = 500;

/** What stands signed, to begin a change with; empty where nothing does. */
function asSigned(reading: Reading): Content {
  const last = reading.history.at(-1);
  if (!last || last.kind === "withdrawal") return EMPTY;
  const known = new Set(reading.findings.map((one) => one.id));
  const measured = new Set(reading.report?.measurements?.map((one) => one.id));
  return {
    judgements: last.judgements.filter((one) => one.finding_id === null || known.has(one.finding_id)),
    sections: last.sections,
    volumes: last.volumes?.filter((one) => measured.has(one.measurement_id)),
  };
}

/** Why the draft is not at the service. */
function unsaved(state: SaveState): Error {
  if (state.kind === "overtaken") return new Problem(409, state.by === "signature" ? "review.step_refused" : "review.report_changed", {});
  if (state.kind === "changed") return new Problem(409, "draft_changed", {});
  return state.kind === "refused" ? new Problem(422, state.code, {}) : new NoLine("draft");
}

export function useDesk(api: Api, vault: Vault, reading: Reading): Desk {
  const lastSigned = reading.history.at(-1)?.report_uid ?? "";
  const first = reading.draft ?? { ...asSigned(reading), version: 0, seconds_spent: 0 };
  const [content, setContent] = useState<Content>({ judgements: first.judgements, sections: first.sections, volumes: first.volumes });
  const [save, setSave] = useState<SaveState>(reading.draft ? { kind: "saved", at: reading.draft.updated_at ?? "" } : { kind: "none" });
  const [restored, setRestored] = useState(false);
  const [drafting, setDrafting] = useState(false);
  const now = useRef(content);
  const lastText = useRef<Partial<Sections>>({});
  const began = useRef(Date.now());
  const before = useRef(first.seconds_spent ?? 0);
  const isFormer = useRef(reading.draft?.carried_over ?? false); // the kept draft is about a former result
  const textTimer = useRef<ReturnType<typeof setTimeout>>();
  const saver = useMemo(() => new Saver(first.version, { send: api.saveDraft, vault, told: setSave }, lastSigned, reading.report?.report_uid), [api, vault, reading]);

  const put = useCallback(
    (next: Content) => {
      now.current = next;
      setContent(next);
      saver.write({ ...next, seconds_spent: Math.round(before.current + (Date.now() - began.current) / 1000) });
    },
    [saver],
  );

  const draftText = useCallback(async () => {
    setDrafting(true);
    try {
      const fresh = await api.write(now.current.judgements, language());
      const sections = redrafted(now.current.sections, lastText.current, fresh);
      lastText.current = fresh;
      put({ ...now.current, sections });
    } catch {
      // without the line the reader writes by hand; the next verdict asks again
    } finally {
      setDrafting(false);
    }
  }, [api, put]);

  useEffect(() => {
    void vault.kept().then((kept: Kept | null) => {
      if (!kept || !reading.may.review) return;
      now.current = { judgements: kept.judgements, sections: kept.sections, volumes: kept.volumes };
      before.current = kept.seconds_spent;
      setContent(now.current);
      setRestored(true);
      saver.restore(kept, reading.draft, reading.history.at(-1));
    });
    const again = () => void saver.flush();
    const leave = () => document.visibilityState === "hidden" && void saver.flush();
    addEventListener("online", again);
    document.addEventListener("visibilitychange", leave);
    return () => {
      removeEventListener("online", again);
      document.removeEventListener("visibilitychange", leave);
    };
  }, [saver, vault, reading]);

  return {
    ...content,
    volumes: content.volumes ?? [],
    save,
    restored,
    drafting,
    lastSigned,
    draftText,
    judge: (next) => {
      put({ ...now.current, judgements: next(now.current.judgements) });
      clearTimeout(textTimer.current);
      textTimer.current = setTimeout(() => void draftText(), DRAFT_MS);
    },
    weigh: (next) => put({ ...now.current, volumes: next(now.current.volumes ?? []) }),
    write: (key, text) => put({ ...now.current, sections: { ...now.current.sections, [key]: text } }),
    fill: (sections) => put({ ...now.current, sections }),
    ready: async () => {
      clearTimeout(textTimer.current);
      if ((saver.version === 0 || isFormer.current) && saver.isClean) saver.write({ ...now.current, seconds_spent: before.current });
      await saver.flush();
      if (!saver.isClean) throw unsaved(saver.state);
      isFormer.current = false;
      return saver.version;
    },
    resolve: async (mine) => {
      const theirs = save.kind === "changed" ? save.theirs : null;
      if (!mine) {
        now.current = theirs ? { judgements: theirs.judgements, sections: theirs.sections, volumes: theirs.volumes } : asSigned(reading);
        setContent(now.current);
      }
      await saver.resolve(mine, theirs);
    },
    carry: () => saver.carry(),
    signed: () => saver.done(),
  };
}
