// The room: picture left, words right; on a phone one below the other.

import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Problem, type Api } from "./api";
import { useDesk, type Desk } from "./desk";
import { Icon } from "./icons";
import { added, asks, judged, keyOf, of, open, weighedOnce } from "./judgements";
import { deedOf, type Deed } from "./keys";
import type { Start } from "./main";
import { FollowUps, Notices } from "./panel/follow";
import { Findings, nameOf, type Overlay } from "./panel/findings";
import { Help } from "./panel/help";
import { Conflict, History, Report, SaveLine } from "./panel/report";
import { kindsOf, SignDialog } from "./panel/sign";
import { Toolbar } from "./toolbar";
import type { Box, Reading } from "./types";
import type { Vault } from "./vault";
import { isQuick } from "./line";
import { useLock } from "./lock";
import { firstFrame, framesOf, previewOf, titleOf, type Frame } from "./viewer/frames";
import { Stage, type Mark, type Measure } from "./viewer/stage";
import { FRESH, linked, moved, reset, scrolled, turned, zoomed, type Tool, type View } from "./viewer/view";
import { OWN, presetsOf } from "./window";
import { clock, moment, named, t } from "./words";

const THUMB = "viewport=96,96&quality=50";

interface RoomProps {
  start: Start;
  api: Api;
  vault: Vault;
  reading: Reading | null;
  error: unknown;
  firstPicture: HTMLImageElement | null;
}

export function Room(props: RoomProps): JSX.Element {
  const [reading, setReading] = useState(props.reading);
  const [round, setRound] = useState(0); // a new one after each signature: nothing of the last stays
  if (!reading) {
    const status = props.error instanceof Problem ? props.error.status : 0;
    return (
      <>
        <Bar start={props.start} />
        <main class="alone">
          <p class="bad">{t(status === 0 ? "no_line" : status === 403 ? "not_allowed" : "no_reading")}</p>
          <p><a href={`/studies/${props.start.study}/record`}>{t("record")}</a></p>
        </main>
      </>
    );
  }
  const again = async () => {
    const next = await props.api.reading();
    if (next.study.whose !== reading.study.whose) return location.reload(); // the page's own head names the patient
    setReading(next);
    setRound((n) => n + 1);
  };
  return <Reading_ key={round} {...props} reading={reading} again={again} />;
}

function Bar({ start, children }: { start: Start; children?: JSX.Element | (JSX.Element | null)[] }): JSX.Element {
  const other = start.language === "vi" ? "en" : "vi";
  return (
    <header class="bar">
      <a class="bar-back" href="/" aria-label={t("list")} title={t("list")}><Icon of="back" /></a>
      <h1 class="bar-who">
        <bdi>{start.name}</bdi> <span class="bar-about"><span>{start.about}</span>{start.masked && <span class="bar-number">{start.about && " · "}{start.masked}</span>}</span>
      </h1>
      {children}
      <button type="button" class="bar-bell" data-bell-switch data-on={t("follow.sound_on")} data-off={t("follow.sound_off")} aria-label={t("follow.sound_on")}><Icon of="bell" /></button>
      <a class="bar-link" href={`/studies/${start.study}/record`}>{t("record")}</a>
      <a class="bar-link bar-language" href={`?lang=${other}`} lang={other} hreflang={other}>{other === "en" ? "English" : "Tiếng Việt"}</a>
      {start.signedIn && (
        <form class="bar-out" method="post" action="/logout">
          <input type="hidden" name="csrf_token" value={start.csrf} />
          <button type="submit" class="small">{t("sign_out")}</button>
        </form>
      )}
    </header>
  );
}

function Reading_({ start, api, vault, reading, firstPicture, again }: RoomProps & { reading: Reading; again: () => Promise<void> }): JSX.Element {
  const desk = useDesk(api, vault, reading);
  const isSigned = reading.history.length > 0 && reading.history.at(-1)?.kind !== "withdrawal";
  const frames = useMemo(() => framesOf(start.study, reading.images), [reading]);
  const [prior, setPrior] = useState(-1); // which of the priors stands beside; -1: none
  const priorFrames = useMemo(() => (reading.priors[prior] ? framesOf(reading.priors[prior].study_uid, reading.priors[prior].series) : []), [prior]);
  const [views, setViews] = useState<[View, View]>([{ ...FRESH, index: firstFrame(frames, reading.findings) }, FRESH]);
  const [isLinked, setLinked] = useState(true);
  const [tool, setTool] = useState<Tool>("window");
  const [full, setFull] = useState(false);
  const [measures, setMeasures] = useState<Measure[]>([]);
  const [revealed, setRevealed] = useState(!reading.settings.read_first || isSigned || desk.judgements.length > 0);
  const [chosen, setChosen] = useState(reading.findings.find(asks)?.id ?? "");
  const [editing, setEditing] = useState("");
  const [overlays, setOverlays] = useState<Record<string, Overlay>>({});
  const [showBoxes, setShowBoxes] = useState(true);
  const [sheet, setSheet] = useState<"" | "help" | "sign">("");
  const [told, setTold] = useState("");
  const { lock, news } = useLock(api, reading, start.signedIn);
  const anew = () => void desk.carry().then((may) => (may ? again() : undefined)).catch(() => setTold(t("no_line")));
  useEffect(() => {
    void isQuick(firstPicture).then((quick) => quick && setFull(true));
  }, []);
  const frame = frames[views[0].index];
  const modality = frame?.series.modality ?? "DX";

  const change = useCallback(
    (pane: 0 | 1) => (next: (view: View) => View) =>
      setViews((now) => {
        const after = next(now[pane]);
        const both: [View, View] = pane === 0 ? [after, now[1]] : [now[0], after];
        if (!isLinked || after.index !== now[pane].index) return both;
        return pane === 0 ? [after, linked(after, now[1])] : [linked(after, now[0]), after];
      }),
    [isLinked],
  );
  const overlay = (id: string, one: Partial<Overlay>) => setOverlays((now) => ({ ...now, [id]: { ...(now[id] ?? { heat: true, opacity: 0.45 }), ...one } }));
  const choose = (id: string) => {
    setChosen(id);
    const at = frames.findIndex((one) => one.sop === reading.findings.find((finding) => finding.id === id)?.sop_instance_uid);
    if (at >= 0 && id !== chosen) change(0)((view) => (frames[view.index]?.sop === frames[at]?.sop ? view : { ...view, index: at }));
  };
  const boxDrawn = (box: Box) => {
    setTool("window");
    const at = desk.judgements.filter((one) => one.finding_id === null).length;
    const key = reading.finding_choices.find((one) => one.key === "nodule")?.key ?? reading.finding_choices[0]?.key ?? "";
    desk.judge((all) => added(all, key, [box]));
    setChosen(`+${at}`);
    setEditing(`+${at}`);
  };
  const addOne = (key: string) => {
    const at = desk.judgements.filter((one) => one.finding_id === null).length;
    desk.judge((all) => added(all, key, []));
    setChosen(`+${at}`);
    setEditing(`+${at}`);
  };
  const startBox = () => {
    setTool(tool === "box" ? "window" : "box");
    setRevealed(true);
  };
  const run = (deed: Deed, key = "") => {
    const volumes = reading.report?.measurements ?? [];
    const measured = volumes.find((one) => one.id === chosen);
    const order = [...reading.findings.filter(asks).map((one) => one.id), ...volumes.map((one) => one.id), ...desk.judgements.filter((one) => one.finding_id === null).map((one) => keyOf(one, desk.judgements))];
    const finding = reading.findings.find((one) => one.id === chosen);
    const may = reading.may.review;
    const step = (by: number) => order.length && choose(order[(order.indexOf(chosen) + by + order.length) % order.length] ?? chosen);
    const deeds: Partial<Record<Deed, () => unknown>> = {
      help: () => setSheet("help"),
      close: () => (tool === "box" ? setTool("window") : setEditing("")),
      sign: () => may && setSheet("sign"),
      ai: () => setRevealed((now) => !now || !reading.settings.read_first),
      next_finding: () => step(1),
      previous_finding: () => step(-1),
      accept: () => {
        if (may && measured && revealed) {
          desk.weigh((all) => weighedOnce(all, measured, "accepted"));
          setEditing("");
          step(1);
          return;
        }
        if (!may || !finding || !revealed) return;
        desk.judge((all) => judged(all, finding, "accepted"));
        setEditing("");
        const left = open(reading.findings, desk.judgements).filter((one) => one.id !== finding.id);
        if (left[0]) choose(left[0].id);
      },
      reject: () => {
        if (!may || !revealed) return;
        if (finding) desk.judge((all) => judged(all, finding, "rejected"));
        if (measured) desk.weigh((all) => weighedOnce(all, measured, "rejected"));
        if (finding || measured) setEditing(chosen);
      },
      edit: () => {
        if (!may || !revealed) return;
        if (finding) desk.judge((all) => judged(all, finding, "edited"));
        if (measured) desk.weigh((all) => weighedOnce(all, measured, "edited"));
        setEditing(chosen);
      },
      add: () => may && startBox(),
      write: () => document.querySelector<HTMLTextAreaElement>("textarea[name=description]")?.focus(),
      overlay: () => (finding?.heatmap ? overlay(finding.id, { heat: !overlays[finding.id]?.heat }) : setShowBoxes((now) => !now)),
      opacity_less: () => finding && overlay(finding.id, { heat: true, opacity: Math.max(0.05, (overlays[finding.id]?.opacity ?? 0.45) - 0.1) }),
      opacity_more: () => finding && overlay(finding.id, { heat: true, opacity: Math.min(1, (overlays[finding.id]?.opacity ?? 0.45) + 0.1) }),
      tool_window: () => (setTool("window"), setFull(true)),
      tool_zoom: () => setTool("zoom"),
      tool_pan: () => setTool("pan"),
      tool_length: () => (setTool("length"), setFull(true)),
      tool_ratio: () => setTool("ratio"),
      invert: () => change(0)((view) => ({ ...view, inverted: !view.inverted })),
      rotate: () => change(0)((view) => turned(view)),
      flip: () => change(0)((view) => ({ ...view, flipped: !view.flipped })),
      reset: () => (change(0)(reset), setTool("window")),
      clear: () => setMeasures((now) => now.slice(0, -1)),
      zoom_in: () => change(0)((view) => zoomed(view, 1.25)),
      zoom_out: () => change(0)((view) => zoomed(view, 0.8)),
      left: () => change(0)((view) => moved(view, [-40, 0])),
      right: () => change(0)((view) => moved(view, [40, 0])),
      up: () => (frames.length > 1 ? change(0)((view) => scrolled(view, -1, frames.length)) : change(0)((view) => moved(view, [0, -40]))),
      down: () => (frames.length > 1 ? change(0)((view) => scrolled(view, 1, frames.length)) : change(0)((view) => moved(view, [0, 40]))),
      next_image: () => change(0)((view) => scrolled(view, 1, frames.length)),
      previous_image: () => change(0)((view) => scrolled(view, -1, frames.length)),
      full: () => setFull(true),
      prior: () => reading.priors.length && setPrior((now) => (now < 0 ? 0 : -1)),
      link: () => setLinked((now) => !now),
      list: () => location.assign("/"),
      next_study: () => void nextStudy(start.study).then((uid) => (uid ? location.assign(`/studies/${uid}`) : setTold(t("no_next")))),
      preset: () => {
        const one = presetsOf(modality)[Number(key) - 1];
        if (!one) return;
        setFull(true);
        change(0)((view) => ({ ...view, grey: one.grey ?? OWN, inverted: one.inverted ?? false }));
      },
    };
    deeds[deed]?.();
  };
  const runs = useRef(run);
  runs.current = run;
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (document.querySelector("dialog[open]")) return;
      const deed = deedOf(event);
      if (!deed) return;
      if (event.key === "Escape" && event.target instanceof HTMLElement) event.target.blur();
      event.preventDefault();
      runs.current(deed, event.key);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);

  const all = marksOf(reading, desk, chosen, revealed ? overlays : {});
  const marks = !revealed ? all.filter((one) => one.kind === "added") : showBoxes ? all : all.map((one) => ({ ...one, boxes: [] }));
  const left = open(reading.findings, desk.judgements).length;
  const caption = (which: Frame | undefined, index: number, count: number, at: string | null) => (which ? [titleOf(which, index, count), moment(at)].filter(Boolean).join(" · ") : "");
  const stage = { tool, measures, measure: (done: Measure) => setMeasures((now) => [...now, done]), pick: choose, preview: start.preview, full, askFull: () => setFull(true), boxDrawn };
  return (
    <>
      <Bar start={start}>
        <p class="bar-study">
          {[reading.study.study_description, moment(reading.study.study_datetime), reading.study.accession_number].filter(Boolean).join(" · ")}
        </p>
        <StatusWord reading={reading} />
      </Bar>
      {lock && !lock.mine && lock.reader && (
        <p class="locked" role="status"><Icon of="lock" /> {t("lock.other", { reader: lock.reader, time: clock(lock.since) })}</p>
      )}
      {news && (
        <p class="news" role="status">
          <span>{t(`news.${news}`)}</span> <button type="button" class="small" onClick={anew}>{t("save.show_signed")}</button>
        </p>
      )}
      <Notices api={api} reading={reading} study={start.study} revealed={revealed} />
      <main class={`room${prior >= 0 ? " has-prior" : ""}`}>
        <section class="viewer" aria-label={t("viewer.heading")}>
          <div class="panes">
            {frames.length ? (
              <Stage {...stage} frames={frames} view={views[0]} change={change(0)} marks={marks} firstPicture={firstPicture} label={t("viewer.film")} caption={caption(frame, views[0].index, frames.length, reading.study.study_datetime)} />
            ) : (
              <p class="empty">{t("viewer.none")}</p>
            )}
            {prior >= 0 && priorFrames.length > 0 && (
              <div class="pane-prior">
                <Stage key={prior} {...stage} boxDrawn={() => undefined} frames={priorFrames} view={{ ...views[1], index: Math.min(views[1].index, priorFrames.length - 1) }} change={change(1)} marks={[]} firstPicture={null} label={t("viewer.prior")} caption={`${t("viewer.prior")}: ${caption(priorFrames[views[1].index], views[1].index, priorFrames.length, reading.priors[prior]?.study_datetime ?? null)}`} />
                {reading.priors.length > 1 && (
                  <select class="choose-prior" aria-label={t("viewer.choose_prior")} value={String(prior)} onChange={(event) => setPrior(Number(event.currentTarget.value))}>
                    {reading.priors.map((one, n) => (
                      <option key={one.study_uid} value={String(n)}>{[moment(one.study_datetime), one.description].filter(Boolean).join(" · ")}</option>
                    ))}
                  </select>
                )}
              </div>
            )}
          </div>
          <Toolbar tool={tool} modality={modality} priors={reading.priors.length > 0} pressed={{ invert: views[0].inverted, flip: views[0].flipped, overlay: Boolean(overlays[chosen]?.heat) || undefined, prior: prior >= 0, link: isLinked }} run={(deed, key) => run(deed, key)} />
          {frames.length > 1 && <Strip frames={frames} index={views[0].index} go={(index) => change(0)((view) => ({ ...view, index }))} />}
        </section>
        <aside class="panel" aria-label={t("panel")}>
          <p class="notice">{reading.report ? named(reading.report.disclaimer) : t("findings.not_analysed")}</p>
          <History history={reading.history} />
          {revealed ? (
            <Findings reading={reading} desk={desk} chosen={chosen} choose={choose} editing={editing} edit={setEditing} overlays={overlays} overlay={overlay} addByHand={startBox} addOne={addOne} drawing={tool === "box"} />
          ) : (
            <section class="part">
              <p>{t("read_first")}</p>
              <div class="row-buttons">
                <button type="button" onClick={() => setRevealed(true)}>{t("reveal")}</button>
                <button type="button" class="small" onClick={startBox}><Icon of="plus" /> {t("findings.add")}</button>
              </div>
            </section>
          )}
          <Report reading={reading} desk={desk} />
          <FollowUps api={api} reading={reading} user={start.user} />
          {reading.report && <p class="models">{reading.report.models.map((one) => `${one.name} ${one.version}`).join(" · ")}</p>}
        </aside>
      </main>
      <Conflict desk={desk} again={anew} />
      {reading.may.review && (
        <footer class="sign-bar">
          <SaveLine desk={desk} />
          <p class="left">{left > 0 && revealed ? t("left", { n: left }) : ""}</p>
          {!reading.may.sign && <p class="left">{t("sign.may_not")}</p>}
          <button type="button" class="primary" disabled={!reading.may.sign} onClick={() => setSheet("sign")}>
            {isSigned ? t("sign.change") : t("sign.open")}
          </button>
        </footer>
      )}
      {told && <p class="toast" role="status">{told}</p>}
      {sheet === "help" && <Help modality={modality} close={() => setSheet("")} />}
      {sheet === "sign" && kindsOf(reading).length > 0 && (
        <SignDialog
          reading={reading}
          desk={desk}
          api={api}
          close={() => setSheet("")}
          again={anew}
          done={(status) => {
            setSheet("");
            setTold(t("sign.done", { status: t(`status.${status}`) }));
            anew();
          }}
        />
      )}
    </>
  );
}

function StatusWord({ reading }: { reading: Reading }): JSX.Element {
  const status = reading.history.length ? (reading.history.at(-1)?.kind === "withdrawal" ? "withdrawn" : reading.history.at(-1)?.kind === "final" ? "final" : "amended") : (reading.report?.status ?? "none");
  return <p class={`status status-${status}`}>{t(`status.${status}`)}</p>;
}

function Strip({ frames, index, go }: { frames: readonly Frame[]; index: number; go: (index: number) => void }): JSX.Element {
  // one picture a series and object; frames of one object are walked through by the wheel
  const heads = frames.map((frame, at) => ({ frame, at })).filter(({ frame }) => frame.number === 1).slice(0, 40);
  const now = heads.filter(({ at }) => at <= index).at(-1)?.at;
  return (
    <div class="strip">
      {heads.map(({ frame, at }) => (
        <button key={frame.sop} type="button" class="thumb" aria-pressed={at === now} aria-label={titleOf(frame, at, frames.length)} onClick={() => go(at)}>
          <img src={previewOf(frame, THUMB)} alt="" loading="lazy" />
          {frame.frames > 1 && <small>{frame.frames}</small>}
        </button>
      ))}
    </div>
  );
}

function marksOf(reading: Reading, desk: Desk, chosen: string, overlays: Record<string, Overlay>): Mark[] {
  const suggested = reading.findings.flatMap((finding): Mark[] => {
    const judgement = of(desk.judgements, finding.id);
    if (!asks(finding)) return [];
    const kind = judgement ? (judgement.verdict as Mark["kind"]) : "suggested";
    const shown = overlays[finding.id];
    return [{ id: finding.id, label: named(finding.names, finding.key), kind, boxes: kind === "rejected" && chosen !== finding.id ? [] : (judgement?.boxes ?? finding.boxes), heatmap: finding.heatmap, opacity: shown?.heat && chosen === finding.id ? shown.opacity : 0, sop: finding.sop_instance_uid, chosen: chosen === finding.id }];
  });
  const mine = desk.judgements
    .filter((one) => one.finding_id === null)
    .map((one): Mark => ({ id: keyOf(one, desk.judgements), label: nameOf(reading, one.key), kind: "added", boxes: one.boxes, heatmap: null, opacity: 0, sop: one.boxes[0]?.sop_instance_uid ?? "", chosen: chosen === keyOf(one, desk.judgements) }));
  return [...suggested, ...mine];
}

/** The study after this one in the list's order; "" where this is the last. */
async function nextStudy(study: string): Promise<string> {
  try {
    const answer = await fetch("/api/v1/studies", { headers: { Accept: "application/json" } });
    const listed = ((await answer.json()) as { items?: { study_instance_uid: string }[] }).items ?? [];
    const at = listed.findIndex((one) => one.study_instance_uid === study);
    return listed[at + 1]?.study_instance_uid ?? "";
  } catch {
    return "";
  }
}
