// One pane: the small picture at once, the full depth over it, and what is drawn on top.

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { apply, boxBetween, cardiothoracic, inverse, length, placed, type Matrix, type Point, type Size } from "../geometry";
import type { Box } from "../types";
import { dragged, rangeOf } from "../window";
import { decimal, t } from "../words";
import { previewOf, type Frame } from "./frames";
import { apart, type Label } from "./labels";
import type { Pixels } from "./pixels";
import { moved, scrolled, zoomed, type Tool, type View } from "./view";

export interface Mark {
  id: string;
  label: string;
  kind: "suggested" | "accepted" | "rejected" | "added" | "edited";
  boxes: readonly Box[];
  heatmap: string | null;
  opacity: number; // of the heat map, 0..1
  sop: string;
  chosen: boolean;
}

export interface Measure {
  kind: "length" | "ratio";
  sop: string;
  lines: [Point, Point][];
}

export interface StageProps {
  frames: readonly Frame[];
  view: View;
  change: (next: (view: View) => View) => void;
  tool: Tool;
  marks: readonly Mark[];
  measures: readonly Measure[];
  measure: (done: Measure) => void;
  boxDrawn: (box: Box) => void;
  pick: (id: string) => void;
  preview: string;
  firstPicture: HTMLImageElement | null;
  full: boolean; // whether the full depth is loaded without being asked for
  askFull: () => void;
  label: string;
  caption: string;
}

const NOWHERE: Matrix = [1, 0, 0, 1, 0, 0];

export function Stage(props: StageProps): JSX.Element {
  const { frames, view, tool } = props;
  const frame = frames[view.index];
  const outer = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLDivElement>(null);
  const layer = useRef<HTMLDivElement>(null);
  const pixels = useRef<Pixels | null>(null);
  const live = useRef(props);
  live.current = props;
  const [screen, setScreen] = useState<Size>({ width: 1, height: 1 });
  const [small, setSmall] = useState<Size | null>(null);
  const [shown, setShown] = useState(""); // the frame whose full depth is on the screen
  const [part, setPart] = useState<number | null>(null);
  const [broken, setBroken] = useState(false);
  const [drawn, setDrawn] = useState(0); // counts what the viewer drew
  const [draft, setDraft] = useState<[Point, Point] | null>(null); // the line or box under the hand
  const half = useRef<Measure | null>(null); // the heart's line, while the thorax's is missing
  const key = frame ? `${frame.url}#${frame.number}` : "";
  const isFull = shown === key && shown !== "";
  const size: Size = isFull && pixels.current ? pixels.current.size : { width: frame?.instance.columns || small?.width || 1, height: frame?.instance.rows || small?.height || 1 };
  const matrix = (isFull && drawn >= 0 && pixels.current?.matrix()) || placed(size, screen, view);

  useLayoutEffect(() => {
    const element = outer.current;
    if (!element) return;
    const look = () => {
      setScreen({ width: element.clientWidth || 1, height: element.clientHeight || 1 });
      pixels.current?.resize();
    };
    look();
    const watch = new ResizeObserver(look);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  // the small picture: the one that came with the page, else one of its own
  useLayoutEffect(() => {
    const holder = layer.current;
    if (!holder || !frame) return;
    const came = live.current.firstPicture;
    const image = came && came.dataset.sop === frame.sop && frame.number === 1 ? came : new Image();
    image.className = "stage-small";
    image.alt = "";
    const ready = () => setSmall({ width: image.naturalWidth, height: image.naturalHeight });
    const lost = () => !live.current.full && setBroken(true); // where the full depth is asked for, it says so itself
    if (!image.getAttribute("src")) image.src = previewOf(frame, live.current.preview);
    if (image.complete && image.naturalWidth) ready();
    else setSmall(null);
    setBroken(false);
    if (image === came && image.complete && !image.naturalWidth) lost();
    image.addEventListener("load", ready);
    image.addEventListener("error", lost);
    holder.replaceChildren(image);
    return () => {
      image.removeEventListener("load", ready);
      image.removeEventListener("error", lost);
    };
  }, [key]);

  // the full depth
  useEffect(() => {
    if (!frame || !props.full || !canvas.current) return;
    let current = true;
    const element = canvas.current;
    setPart(0);
    setBroken(false);
    void (async () => {
      try {
        const { Pixels, frameId } = await import("./pixels");
        pixels.current ??= new Pixels(element, () => setDrawn((n) => n + 1));
        await pixels.current.show(frameId(frame.url, frame.number, frame.frames, frame.instance.transfer_syntax_uid), (now) => current && setPart(now));
        if (!current) return;
        settle(pixels.current, live.current.view);
        setShown(key);
        performance.mark("full-depth");
      } catch (error) {
        console.warn("full depth failed", error);
        if (current) setBroken(true);
      } finally {
        if (current) setPart(null);
      }
    })();
    return () => {
      current = false;
    };
  }, [key, props.full]);

  useEffect(() => {
    if (isFull && pixels.current) settle(pixels.current, view);
  }, [isFull, view.grey, view.inverted, view.zoom, view.pan, view.rotation, view.flipped, screen]);
  useEffect(() => () => pixels.current?.end(), []);

  const gestures = useGestures({ outer, matrix, size, tool, live, setDraft, pixels, isFull, half });
  const marks = frame ? props.marks.filter((mark) => mark.sop === frame.sop || mark.boxes.some((box) => box.sop_instance_uid === frame.sop)) : [];
  const measures = [...props.measures.filter((one) => one.sop === frame?.sop), ...(half.current?.sop === frame?.sop && half.current ? [half.current] : [])];
  const scale = Math.hypot(matrix[0], matrix[1]);
  const place = `matrix(${matrix.join(",")})`;
  const toSmall = small ? `matrix(${matrix[0] * (size.width / small.width)},${matrix[1] * (size.width / small.width)},${matrix[2] * (size.height / small.height)},${matrix[3] * (size.height / small.height)},${matrix[4]},${matrix[5]})` : "";
  const spacing = isFull ? (pixels.current?.spacing ?? null) : null;
  const boxes = (isFull || small ? marks : []).flatMap((mark) => mark.boxes.filter((box) => box.sop_instance_uid === frame?.sop).map((box) => ({ mark, points: onScreen(box, matrix) })));
  const labels = apart(boxes.map(({ mark, points }) => labelOf(mark, points)), undefined, screen.width);

  return (
    <div class={`stage tool-${tool}`} ref={outer} role="group" aria-label={props.label} tabIndex={0} data-full={isFull ? "yes" : "no"} {...gestures}>
      <div class="stage-canvas" ref={canvas} style={{ visibility: isFull ? "visible" : "hidden" }} />
      <div class="stage-smalls" ref={layer} style={{ transform: toSmall, visibility: isFull || !small ? "hidden" : "visible", filter: view.inverted ? "invert(1)" : undefined }} />
      <svg class="stage-marks" width={screen.width} height={screen.height} aria-hidden="true">
        <g transform={place}>
          {marks.map((mark) => mark.heatmap && mark.opacity > 0 && mark.sop === frame?.sop && <image key={`h${mark.id}`} href={mark.heatmap} width={size.width} height={size.height} preserveAspectRatio="none" opacity={mark.opacity} />)}
          {draft && tool === "box" && <rect class="box box-draft" {...corners(draft)} />}
        </g>
        {boxes.map(({ mark, points }, n) => (
          <Drawn key={n} mark={mark} points={points} label={labels[n] as Label} pick={props.pick} />
        ))}
        {measures.map((one, n) => (
          <Measured key={n} one={one} matrix={matrix} text={textOf(one, spacing)} />
        ))}
        {draft && tool !== "box" && <Measured one={{ kind: tool === "ratio" ? "ratio" : "length", sop: "", lines: [draft] }} matrix={matrix} text={tool === "ratio" ? t(half.current ? "viewer.thorax" : "viewer.heart") : textOf({ kind: "length", sop: "", lines: [draft] }, spacing)} />}
      </svg>
      <p class="stage-caption">{props.caption}</p>
      <p class="stage-told">
        {broken ? <span class="bad">{t(small ? "viewer.broken" : "viewer.lost")}</span> : part !== null && !isFull ? <span>{t("viewer.loading", { percent: Math.round(part * 100) })}</span> : isFull ? <span>{Math.round(scale * 100)} %</span> : null}
        {!props.full && !isFull && frame && (
          <button type="button" class="quiet-button" onClick={props.askFull}>
            {t("viewer.ask_full")}
          </button>
        )}
      </p>
    </div>
  );
}

function settle(pixels: Pixels, view: View): void {
  pixels.grey(rangeOf(view.grey, pixels.own), view.inverted);
  pixels.place(view);
}

const corners = ([from, to]: [Point, Point]) => ({ x: Math.min(from[0], to[0]), y: Math.min(from[1], to[1]), width: Math.abs(to[0] - from[0]), height: Math.abs(to[1] - from[1]) });

export function textOf(one: Measure, spacing: Parameters<typeof length>[2]): string {
  const [first, second] = one.lines;
  if (one.kind === "ratio") {
    const ratio = first && second ? cardiothoracic(first, second) : null;
    return ratio === null ? t("viewer.heart") : `${t("viewer.ratio_short")} ${decimal(ratio)}`;
  }
  if (!first) return "";
  const found = length(first[0], first[1], spacing);
  return `${decimal(found.value, found.unit === "mm" ? 1 : 0)} ${found.unit}`;
}

function onScreen(box: Box, matrix: Matrix): Point[] {
  const [right, below] = [box.column + box.width, box.row + box.height];
  return ([[box.column, box.row], [right, box.row], [right, below], [box.column, below]] as Point[]).map((one) => apply(matrix, one));
}

function labelOf(mark: Mark, points: Point[]): Label {
  const top = points.reduce((best, one) => (one[1] < best[1] - 1 || (Math.abs(one[1] - best[1]) <= 1 && one[0] < best[0]) ? one : best));
  return { x: top[0] + 4, y: top[1] - 5, text: mark.label };
}

function Drawn({ mark, points, label, pick }: { mark: Mark; points: Point[]; label: Label; pick: (id: string) => void }): JSX.Element {
  return (
    <g class={`box box-${mark.kind}${mark.chosen ? " is-chosen" : ""}`} onClick={() => pick(mark.id)}>
      <polygon points={points.map((one) => one.join(",")).join(" ")} />
      <text x={label.x} y={label.y}>
        {label.text}
      </text>
    </g>
  );
}

function Measured({ one, matrix, text }: { one: Measure; matrix: Matrix; text: string }): JSX.Element {
  const lines = one.lines.map(([from, to]) => [apply(matrix, from), apply(matrix, to)] as const);
  const last = lines.at(-1)?.[1];
  return (
    <g class="measure">
      {lines.map(([from, to], n) => (
        <g key={n}>
          <line x1={from[0]} y1={from[1]} x2={to[0]} y2={to[1]} />
          <circle cx={from[0]} cy={from[1]} r={3} />
          <circle cx={to[0]} cy={to[1]} r={3} />
        </g>
      ))}
      {last && (
        <text x={last[0] + 8} y={last[1] - 6}>
          {text}
        </text>
      )}
    </g>
  );
}

interface Hands {
  outer: { current: HTMLDivElement | null };
  matrix: Matrix;
  size: Size;
  tool: Tool;
  live: { current: StageProps };
  setDraft: (draft: [Point, Point] | null) => void;
  pixels: { current: Pixels | null };
  isFull: boolean;
  half: { current: Measure | null };
}

/** Mouse, pen and fingers: one does the tool, two zoom and move; the right button zooms, the wheel scrolls. */
function useGestures(hands: Hands): JSX.HTMLAttributes<HTMLDivElement> {
  const latest = useRef(hands);
  latest.current = hands;
  const down = useRef(new Map<number, Point>());
  const start = useRef<{ at: Point; doing: Tool } | null>(null);
  const pinch = useRef<{ apart: number; middle: Point } | null>(null);

  const here = (event: PointerEvent | WheelEvent): Point => {
    const edge = latest.current.outer.current?.getBoundingClientRect();
    return [event.clientX - (edge?.left ?? 0), event.clientY - (edge?.top ?? 0)];
  };
  const fromMiddle = (at: Point): Point => {
    const element = latest.current.outer.current;
    return [at[0] - (element?.clientWidth ?? 0) / 2, at[1] - (element?.clientHeight ?? 0) / 2];
  };
  const onImage = (at: Point): Point => apply(inverse(latest.current.matrix) ?? NOWHERE, at);
  const two = (): [Point, Point] => [...down.current.values()].slice(0, 2) as [Point, Point];

  useEffect(() => {
    const element = latest.current.outer.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const { change, frames } = latest.current.live.current;
      if (frames.length > 1 && !event.ctrlKey) change((view) => scrolled(view, Math.sign(event.deltaY), frames.length));
      else change((view) => zoomed(view, Math.exp(-event.deltaY / 600), fromMiddle(here(event))));
    };
    element.addEventListener("wheel", wheel, { passive: false }); // a passive one could not hold the page still
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  return {
    onPointerDown: (event) => {
      if ((event.target as Element).closest("button")) return;
      latest.current.outer.current?.setPointerCapture(event.pointerId);
      const at = here(event);
      down.current.set(event.pointerId, at);
      if (down.current.size === 2) {
        const [a, b] = two();
        pinch.current = { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
        start.current = null;
        latest.current.setDraft(null);
        return;
      }
      const doing: Tool = event.button === 2 ? "zoom" : event.button === 1 || event.shiftKey ? "pan" : latest.current.tool;
      start.current = { at, doing };
      if (doing === "window" && !latest.current.isFull) latest.current.live.current.askFull();
      if (doing === "box" || doing === "length" || doing === "ratio") latest.current.setDraft([onImage(at), onImage(at)]);
    },
    onPointerMove: (event) => {
      const before = down.current.get(event.pointerId);
      if (!before) return;
      const at = here(event);
      down.current.set(event.pointerId, at);
      const { change } = latest.current.live.current;
      const by: Point = [at[0] - before[0], at[1] - before[1]];
      if (pinch.current && down.current.size >= 2) {
        const [a, b] = two();
        const [apart, middle] = [Math.hypot(a[0] - b[0], a[1] - b[1]), [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] as Point];
        const { apart: old, middle: from } = pinch.current;
        if (old > 0) change((view) => moved(zoomed(view, apart / old, fromMiddle(middle)), [middle[0] - from[0], middle[1] - from[1]]));
        pinch.current = { apart, middle };
        return;
      }
      const begun = start.current;
      if (!begun) return;
      const own = latest.current.pixels.current?.own;
      if (begun.doing === "window" && own) change((view) => ({ ...view, grey: dragged(view.grey, by[0], by[1], own) }));
      else if (begun.doing === "zoom") change((view) => zoomed(view, Math.exp(-by[1] / 200), fromMiddle(begun.at)));
      else if (begun.doing === "pan") change((view) => moved(view, by));
      else if (begun.doing !== "window") latest.current.setDraft([onImage(begun.at), onImage(at)]);
    },
    onPointerUp: (event) => {
      if (!down.current.delete(event.pointerId)) return;
      if (down.current.size < 2) pinch.current = null;
      const begun = start.current;
      start.current = null;
      const { live, setDraft, size, half } = latest.current;
      setDraft(null);
      const frame = live.current.frames[live.current.view.index];
      if (!begun || !frame) return;
      const line: [Point, Point] = [onImage(begun.at), onImage(here(event))];
      if (begun.doing === "box") {
        const box = boxBetween(line[0], line[1], size, frame.sop);
        if (box) live.current.boxDrawn(box);
      } else if ((begun.doing === "length" || begun.doing === "ratio") && Math.hypot(line[1][0] - line[0][0], line[1][1] - line[0][1]) > 3) {
        if (begun.doing === "length") live.current.measure({ kind: "length", sop: frame.sop, lines: [line] });
        else if (half.current?.sop === frame.sop) {
          live.current.measure({ kind: "ratio", sop: frame.sop, lines: [...half.current.lines, line] });
          half.current = null;
        } else half.current = { kind: "ratio", sop: frame.sop, lines: [line] };
      }
    },
    onPointerCancel: (event) => {
      down.current.delete(event.pointerId);
      start.current = pinch.current = null;
      latest.current.setDraft(null);
    },
    onContextMenu: (event) => event.preventDefault(),
    onDblClick: (event) => {
      if (!(event.target as Element).closest("button")) latest.current.live.current.change((view) => ({ ...view, zoom: 1, pan: [0, 0] }));
    },
  };
}
