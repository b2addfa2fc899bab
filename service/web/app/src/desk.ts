// The draft of one reader on one study, as the panels use it.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Api } from "./api";
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
  ready: () => Promise<number | null>; // everything is at the service: the version to sign; null where it is not
  resolve: (mine: boolean) => Promise<void>;
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

export function useDesk(api: Api, vault: Vault, reading: Reading): Desk {
  const first = reading.draft ?? { ...asSigned(reading), version: 0, seconds_spent: 0 };
  const [content, setContent] = useState<Content>({ judgements: first.judgements, sections: first.sections, volumes: first.volumes });
  const [save, setSave] = useState<SaveState>(reading.draft ? { kind: "saved", at: reading.draft.updated_at ?? "" } : { kind: "none" });
  const [restored, setRestored] = useState(false);
  const [drafting, setDrafting] = useState(false);
  const now = useRef(content);
  const lastText = useRef<Partial<Sections>>({});
  const began = useRef(Date.now());
  const before = useRef(first.seconds_spent ?? 0);
  const textTimer = useRef<ReturnType<typeof setTimeout>>();
  const saver = useMemo(() => new Saver(first.version, { send: (draft) => api.saveDraft({ ...draft, report_uid: reading.report?.report_uid }), vault, told: setSave }), [api, vault, reading]);

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
      saver.version = kept.version; // when the service has a newer one it says so
      saver.write({ ...now.current, seconds_spent: kept.seconds_spent });
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
      if (saver.version === 0 && saver.isClean) saver.write({ ...now.current, seconds_spent: before.current });
      await saver.flush();
      return saver.isClean ? saver.version : null;
    },
    resolve: async (mine) => {
      const theirs = save.kind === "changed" ? save.theirs : null;
      if (!mine) {
        now.current = theirs ? { judgements: theirs.judgements, sections: theirs.sections, volumes: theirs.volumes } : EMPTY;
        setContent(now.current);
      }
      await saver.resolve(mine, theirs);
    },
    signed: () => saver.done(),
  };
}
