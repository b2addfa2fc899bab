// The reading room's logic, without a browser.

import { beforeEach, describe, expect, test, vi } from "vitest";

import { NoLine, Problem } from "../src/api";
import { apply, boxBetween, cardiothoracic, inverse, length, placed, through, zoomedAbout, type Placement, type Point } from "../src/geometry";
import { added, asks, changed, filled, judged, keyOf, missing, open, redrafted, reweighed, weighed, weighedOnce, withdrawn } from "../src/judgements";
import { isoDay, noticesHere } from "../src/follow";
import { deedOf, KEYS } from "../src/keys";
import { isFast, isQuick } from "../src/line";
import { newsOf } from "../src/lock";
import { apart } from "../src/viewer/labels";
import { Saver, type SaveState } from "../src/saver";
import type { Finding, Judgement, Measured, Reading } from "../src/types";
import { Vault } from "../src/vault";
import { firstFrame, framesOf, previewOf } from "../src/viewer/frames";
import { FRESH, linked, scrolled, turned } from "../src/viewer/view";
import { dragged, OWN, presetsOf, rangeOf } from "../src/window";
import { day } from "../src/words";

const finding = (id: string, presence: Finding["presence"] = "present"): Finding => ({ id, key: "nodule", names: { vi: "Nốt" }, presence, probability: 0.5, operating_point: 0.4, tier: "routine", algorithm_name: "m", algorithm_version: "1", sop_instance_uid: "1.2", boxes: [{ sop_instance_uid: "1.2", column: 1, row: 2, width: 3, height: 4 }], heatmap: null });

describe("geometry", () => {
  const places: Placement[] = [0, 90, 180, 270].flatMap((rotation) => [false, true].map((flipped) => ({ zoom: 1.7, pan: [13, -8] as Point, rotation, flipped })));
  test.each(places)("a point of the film comes back from the screen: %o", (at) => {
    const matrix = placed({ width: 1955, height: 1841 }, { width: 982, height: 669 }, at);
    const back = inverse(matrix);
    const [column, row] = apply(back ?? [0, 0, 0, 0, 0, 0], apply(matrix, [321, 1234]));
    expect(column).toBeCloseTo(321, 6);
    expect(row).toBeCloseTo(1234, 6);
  });
  test("an image fits, stands in the middle and keeps its proportions", () => {
    const matrix = placed({ width: 400, height: 200 }, { width: 800, height: 800 }, { zoom: 1, pan: [0, 0], rotation: 0, flipped: false });
    expect(apply(matrix, [0, 0])).toEqual([0, 200]);
    expect(apply(matrix, [400, 200])).toEqual([800, 600]);
  });
  test("a film that is turned to the right has its upper left corner at the upper right", () => {
    const matrix = placed({ width: 400, height: 200 }, { width: 800, height: 800 }, { zoom: 1, pan: [0, 0], rotation: 90, flipped: false });
    const [x, y] = apply(matrix, [0, 0]);
    expect([x, y].map(Math.round)).toEqual([600, 0]);
  });
  test("zooming leaves the point under the finger where it is", () => {
    const image = { width: 1000, height: 1000 };
    const screen = { width: 500, height: 500 };
    const at: Placement = { zoom: 1, pan: [0, 0], rotation: 0, flipped: false };
    const before = apply(inverse(placed(image, screen, at)) ?? [0, 0, 0, 0, 0, 0], [400, 100]);
    const after = apply(inverse(placed(image, screen, zoomedAbout(at, 3, [150, -150]))) ?? [0, 0, 0, 0, 0, 0], [400, 100]);
    expect(after[0]).toBeCloseTo(before[0], 6);
    expect(after[1]).toBeCloseTo(before[1], 6);
  });
  test("three points make the matrix", () => expect(apply(through([5, 6], [7, 6], [5, 9]), [2, 3])).toEqual([9, 15]));
  test("a picture without area has no way back", () => expect(inverse([0, 0, 0, 0, 1, 1])).toBeNull());
  test("a box is whole pixels within the image, whichever way it was drawn", () => {
    expect(boxBetween([50.4, 60.2], [-20, 10], { width: 40, height: 100 }, "1.2")).toEqual({ sop_instance_uid: "1.2", column: 0, row: 10, width: 40, height: 50 });
    expect(boxBetween([5, 5], [7, 50], { width: 40, height: 100 }, "1.2")).toBeNull();
  });
  test("lengths are millimetres only where the film says how large a pixel is", () => {
    expect(length([0, 0], [30, 40], null)).toEqual({ value: 50, unit: "px" });
    expect(length([0, 0], [30, 40], { column: 0.2, row: 0.1 })).toEqual({ value: Math.hypot(6, 4), unit: "mm" });
  });
  test("the cardiothoracic ratio is of widths, not of slanting lines", () => {
    expect(cardiothoracic([[100, 10], [200, 90]], [[50, 0], [300, 0]])).toBeCloseTo(0.4, 9);
    expect(cardiothoracic([[1, 1], [1, 9]], [[0, 0], [5, 0]])).toBeNull();
  });
});

describe("window", () => {
  const own = { lower: 100, upper: 300 };
  test("untouched it is the image's own", () => expect(rangeOf(OWN, own)).toEqual(own));
  test("across widens and down shifts", () => {
    const wider = rangeOf(dragged(OWN, 100, 0, own), own);
    expect(wider.upper - wider.lower).toBeGreaterThan(200);
    expect(wider.upper + wider.lower).toBeCloseTo(400, 6);
    const shifted = rangeOf(dragged(OWN, 0, 100, own), own);
    expect((shifted.upper + shifted.lower) / 2).toBeCloseTo(250, 6);
  });
  test("a CT preset is in Hounsfield units whatever the image's own window", () => expect(rangeOf(presetsOf("CT")[1]?.grey ?? OWN, own)).toEqual({ lower: -1350, upper: 150 }));
  test("there are nine presets for each kind", () => expect(["CT", "DX", "MR"].map((one) => presetsOf(one).length)).toEqual([9, 9, 9]));
});

describe("volumes", () => {
  const measured: Measured = { id: "m1", display: { vi: "Phần trước" }, code: "front", value: 1.524, unit: "ml", note: {}, series_instance_uid: "1.2" };
  test("what is confirmed is the machine's number, and the same verdict again takes it back", () => {
    const one = weighed([], measured, "accepted");
    expect(one).toEqual([{ measurement_id: "m1", verdict: "accepted", value_ml: 1.524, reason: "" }]);
    expect(weighed(one, measured, "accepted")).toEqual([]);
  });
  test("a key pressed twice takes nothing back", () => {
    const own = reweighed(weighed([], measured, "edited"), "m1", { value_ml: 1.4 });
    expect(weighedOnce(own, measured, "edited")).toEqual(own);
    expect(weighedOnce(own, measured, "rejected")[0]?.verdict).toBe("rejected");
  });
  test("a corrected number does not stay where it is confirmed or rejected after all", () => {
    const own = reweighed(weighed([], measured, "edited"), "m1", { value_ml: 1.4 });
    expect(own[0]?.value_ml).toBe(1.4);
    expect(weighed(own, measured, "accepted")[0]?.value_ml).toBe(1.524);
    expect(weighed(own, measured, "rejected")).toEqual([{ measurement_id: "m1", verdict: "rejected", value_ml: null, reason: "" }]);
    expect(reweighed(own, "another", { value_ml: 9 })).toEqual(own);
  });
  test("a rejection needs a reason before it is signed, and a volume needs no verdict", () => {
    const draft = { judgements: [], sections: { conclusion: "x" } };
    expect(missing([], draft)).toEqual([]);
    expect(missing([], { ...draft, volumes: weighed([], measured, "rejected") })).toEqual(["reason"]);
    expect(missing([], { ...draft, volumes: reweighed(weighed([], measured, "rejected"), "m1", { reason: "other" }) })).toEqual([]);
  });
});

describe("judgements", () => {
  test("an accepted finding stands as the machine said it", () => {
    const edited = judged([], finding("a"), "edited", { laterality: "left", size_mm: 12 });
    expect(edited[0]?.size_mm).toBe(12);
    expect(judged(edited, finding("a"), "accepted")).toEqual([{ finding_id: "a", key: "nodule", verdict: "accepted", reason: "", laterality: null, site: null, size_mm: null, text: "", boxes: finding("a").boxes }]);
  });
  test("only a rejection keeps a reason", () => {
    const rejected = judged([], finding("a"), "rejected", { reason: "artefact" });
    expect(judged(rejected, finding("a"), "edited")[0]?.reason).toBe("");
  });
  test("each finding is judged once", () => expect(judged(judged([], finding("a"), "rejected"), finding("a"), "edited")).toHaveLength(1));
  test("what the reader added has a place of its own and can be taken out", () => {
    const two = added(added([], "nodule", []), "effusion", []);
    expect(two.map((one) => keyOf(one, two))).toEqual(["+0", "+1"]);
    expect(changed(two, "+1", { text: "x" })[1]?.text).toBe("x");
    expect(withdrawn(two, "+0").map((one) => one.key)).toEqual(["effusion"]);
  });
  test("what is indeterminate asks for a verdict, what is absent does not", () => {
    const all = [finding("a"), finding("b", "indeterminate"), finding("c", "absent")];
    expect(all.map(asks)).toEqual([true, true, false]);
    expect(open(all, judged([], all[0] as Finding, "accepted")).map((one) => one.id)).toEqual(["b"]);
  });
  test("a draft says what it lacks before it can be signed", () => {
    const nothing: Judgement[] = [];
    expect(missing([finding("a")], { judgements: nothing, sections: {} })).toEqual(["verdict", "conclusion"]);
    expect(missing([finding("a")], { judgements: judged([], finding("a"), "rejected"), sections: { conclusion: "x" } })).toEqual(["reason"]);
    expect(missing([finding("a")], { judgements: judged([], finding("a"), "accepted"), sections: { conclusion: "x" } })).toEqual([]);
  });
  test("drafted words never replace what the reader wrote", () => {
    const before = { description: "máy", conclusion: "máy" };
    expect(redrafted({ description: "máy", conclusion: "bác sĩ" }, before, { description: "mới", conclusion: "mới" })).toEqual({ description: "mới", conclusion: "bác sĩ" });
  });
  test("a template follows what is written", () => expect(filled({ conclusion: "A." }, { conclusion: "B.", description: "C." })).toEqual({ conclusion: "A.\nB.", description: "C." }));
});

describe("keys", () => {
  const press = (key: string, more: Partial<KeyboardEvent> = {}) => deedOf({ key, ctrlKey: false, metaKey: false, altKey: false, target: null, ...more } as KeyboardEvent);
  test("no key means two things", () => {
    const keys = KEYS.flatMap((one) => one.keys);
    expect(new Set(keys).size).toBe(keys.length);
  });
  test("the browser's own keys are left alone", () => expect(press("r", { ctrlKey: true })).toBeNull());
  test("who moved a slider reads on with the keys; only its own keys stay with it", () => {
    const slider = { matches: (what: string) => what === "input[type=range]" };
    expect(press("k", { target: slider as unknown as EventTarget })).toBe("previous_finding");
    expect(press("ArrowUp", { target: slider as unknown as EventTarget })).toBeNull();
  });
  test("who writes is not interrupted", () => {
    const target = { matches: (what: string) => what.includes("textarea") } as unknown as EventTarget;
    expect(press("x", { target })).toBeNull();
    expect(press("Escape", { target })).toBe("close");
  });
  test("every preset has its digit", () => expect(press("7")).toBe("preset"));
});

describe("pictures", () => {
  const instance = (sop: string, frames = 1, scorable = false) => ({ sop_instance_uid: sop, sop_class_uid: "1", transfer_syntax_uid: "1", instance_number: 1, frames, rows: 1, columns: 1, scorable });
  const series = (modality: string, ...instances: ReturnType<typeof instance>[]) => ({ series_uid: `s${modality}`, modality, series_number: 1, series_description: null, body_part: null, view_position: null, laterality: null, instances });
  const frames = framesOf("9", [series("SR", instance("1")), series("CT", instance("2", 3)), series("DX", instance("3", 1, true))]);
  test("each frame is a picture, and a report is none", () => expect(frames.map((one) => `${one.sop}/${one.number}`)).toEqual(["2/1", "2/2", "2/3", "3/1"]));
  test("reading begins where the findings are", () => {
    expect(firstFrame(frames, [{ ...finding("a"), sop_instance_uid: "3" }])).toBe(3);
    expect(firstFrame(frames, [])).toBe(3);
  });
  test("the small picture of a later frame is that frame's", () => expect(previewOf(frames[1] as (typeof frames)[0], "q=1")).toBe("/dicom-web/studies/9/series/sCT/instances/2/frames/2/rendered?q=1"));
  test("a linked pane takes over how, never what", () => expect(linked({ ...turned(FRESH), index: 5 }, { ...FRESH, index: 2 })).toMatchObject({ index: 2, rotation: 90 }));
  test("a stack ends where it ends", () => expect([scrolled(FRESH, -1, 4).index, scrolled({ ...FRESH, index: 3 }, 1, 4).index]).toEqual([0, 3]));
});

test("a slow line is told by the first picture", () => {
  expect(isFast({ bytes: 60_000, ms: 20 })).toBe(true);
  expect(isFast({ bytes: 60_000, ms: 400 })).toBe(false);
});

test("a picture that never came says nothing of the line", async () => {
  const took = { encodedBodySize: 200, responseStart: 0, responseEnd: 400 } as PerformanceResourceTiming;
  vi.stubGlobal("navigator", {});
  vi.spyOn(performance, "getEntriesByName").mockReturnValue([took]);
  const picture = (naturalWidth: number) => ({ src: "a", naturalWidth, decode: async () => undefined }) as unknown as HTMLImageElement;
  expect([await isQuick(picture(0)), await isQuick(picture(64))]).toEqual([true, false]);
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

class Store {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
  removeItem = (key: string) => void this.kept.delete(key);
}

describe("vault", () => {
  const key = "ab".repeat(32);
  const draft = { version: 3, judgements: [], sections: { conclusion: "Lao phổi" }, seconds_spent: 7, at: 1 };
  test("what is kept is sealed and comes back to its reader only", async () => {
    const [lasting, ofTab] = [new Store(), new Store()];
    await new Vault("bs.ha", "1.2", key, lasting, ofTab).keep(draft);
    expect(ofTab.kept.size).toBe(0);
    expect([...lasting.kept.values()].join()).not.toContain("Lao");
    expect(await new Vault("bs.ha", "1.2", key, lasting, ofTab).kept()).toEqual(draft);
    expect(await new Vault("bs.ha", "1.2", "cd".repeat(32), lasting, ofTab).kept()).toBeNull();
  });
  test("without a cipher nothing outlives the tab", async () => {
    const [lasting, ofTab] = [new Store(), new Store()];
    const vault = new Vault("bs.ha", "1.2", key, lasting, ofTab, null);
    await vault.keep(draft);
    expect(lasting.kept.size).toBe(0);
    expect(await vault.kept()).toEqual(draft);
    await vault.forget();
    expect(await vault.kept()).toBeNull();
  });
});

describe("saver", () => {
  const content = (text: string) => ({ judgements: [], sections: { conclusion: text }, seconds_spent: 1 });
  let told: SaveState[];
  let kept: (string | null)[];
  const vault = { keep: async (draft: { sections: { conclusion?: string } }) => void kept.push(draft.sections.conclusion ?? ""), forget: async () => void kept.push(null) };
  beforeEach(() => {
    vi.useFakeTimers();
    told = [];
    kept = [];
  });
  const saver = (send: (draft: { version: number }) => Promise<{ version: number; updated_at: string }>) => new Saver(0, { send, vault, told: (state) => told.push(state), pauseMs: 10, retryMs: 50 });

  test("a draft is kept here first, then sent, then forgotten here", async () => {
    const one = saver(async ({ version }) => ({ version: version + 1, updated_at: "t" }));
    one.write(content("a"));
    expect(kept).toEqual(["a"]);
    await vi.advanceTimersByTimeAsync(20);
    expect([one.version, kept, told.map((state) => state.kind)]).toEqual([1, ["a", null], ["waiting", "saving", "saved"]]);
  });
  test("while the line is down it is kept, and sent when it is back", async () => {
    let isDown = true;
    const one = saver(async () => {
      if (isDown) throw new NoLine("PUT");
      return { version: 1, updated_at: "t" };
    });
    one.write(content("a"));
    await vi.advanceTimersByTimeAsync(20);
    expect([told.at(-1)?.kind, one.isClean, kept]).toEqual(["offline", false, ["a"]]);
    isDown = false;
    await vi.advanceTimersByTimeAsync(60);
    expect([told.at(-1)?.kind, one.isClean]).toEqual(["saved", true]);
  });
  test("what is written while it is being sent is sent after it", async () => {
    const sent: string[] = [];
    let release: () => void = () => undefined;
    const one = saver(async (draft) => {
      sent.push((draft as unknown as { sections: { conclusion: string } }).sections.conclusion);
      if (sent.length === 1) await new Promise<void>((done) => (release = done));
      return { version: draft.version + 1, updated_at: "t" };
    });
    one.write(content("a"));
    const flushed = one.flush();
    one.write(content("ab"));
    release();
    await flushed;
    expect([sent, one.version, one.isClean]).toEqual([["a", "ab"], 2, true]);
  });
  test("a newer draft elsewhere is never overwritten unasked", async () => {
    const theirs = { version: 7, judgements: [], sections: { conclusion: "b" }, seconds_spent: 1 };
    let answers = 0;
    const one = saver(async ({ version }) => {
      answers += 1;
      if (version !== 7) throw new Problem(409, "draft_changed", { draft: theirs });
      return { version: 8, updated_at: "t" };
    });
    one.write(content("a"));
    await vi.advanceTimersByTimeAsync(20);
    one.write(content("aa"));
    await vi.advanceTimersByTimeAsync(100);
    expect([told.at(-1), answers]).toEqual([{ kind: "changed", theirs }, 1]);
    await one.resolve(true, theirs);
    expect([one.version, told.at(-1)?.kind]).toEqual([8, "saved"]);
  });
  test("a draft whose answer the line took is no conflict", async () => {
    const stored = { ...content("a"), sections: { conclusion: "a", comparison: "" }, version: 3, updated_at: "t" };
    const one = saver(async () => {
      throw new Problem(409, "draft_changed", { draft: stored });
    });
    one.write(content("a"));
    await vi.advanceTimersByTimeAsync(20);
    expect([one.version, one.isClean, told.at(-1)?.kind]).toEqual([3, true, "saved"]);
  });
  test("what was written about a report that somebody signed since is kept here and not sent", async () => {
    let asked = 0;
    const one = saver(async () => {
      asked += 1;
      throw new Problem(409, "review.step_refused", {});
    });
    one.write(content("a"));
    await vi.advanceTimersByTimeAsync(20);
    one.write(content("ab"));
    await vi.advanceTimersByTimeAsync(100);
    expect([told.at(-1), asked, kept, one.isClean]).toEqual([{ kind: "overtaken", by: "signature" }, 1, ["a", "ab"], false]);
  });
  test("what was written about a former result is held, and carried over when the reader says so", async () => {
    const sent: unknown[] = [];
    let isDown = true;
    const one = new Saver(3, {
      send: async ({ version, report_uid: about, carry_over: carry }) => {
        sent.push([about, carry]);
        if (!carry) throw new Problem(409, "review.report_changed", {});
        if (isDown) throw new NoLine("PUT");
        return { version: version + 1, updated_at: "t" };
      },
      vault,
      told: (state) => told.push(state),
      pauseMs: 10,
      retryMs: 50,
    }, "", "2.1");
    one.write(content("a"));
    await vi.advanceTimersByTimeAsync(100);
    expect([told.at(-1), sent]).toEqual([{ kind: "overtaken", by: "result" }, [["2.1", undefined]]]);
    await expect(one.carry()).rejects.toThrow(NoLine);
    await vi.advanceTimersByTimeAsync(100);
    expect([told.at(-1)?.kind, sent.length]).toEqual(["overtaken", 2]);
    isDown = false;
    expect([await one.carry(), one.version, kept.at(-1), one.isClean]).toEqual([true, 4, null, true]);
  });
  test("what comes back about a former result is not sent as if it spoke of this one", async () => {
    const one = new Saver(0, { send: async () => ({ version: 1, updated_at: "t" }), vault, told: (state) => told.push(state), pauseMs: 10 }, "", "2.2");
    one.restore({ ...content("a"), version: 4, at: 1, last_signed: "", report_uid: "2.1" }, null, undefined);
    await vi.advanceTimersByTimeAsync(100);
    expect([told, one.isClean]).toEqual([[{ kind: "overtaken", by: "result" }], false]);
  });
  test("what comes back says which signature its writer saw, and is held where there is a newer one", async () => {
    const sent: unknown[] = [];
    const send = async (draft: { version: number; last_signed: string }) => (sent.push([draft.version, draft.last_signed]), { version: draft.version + 1, updated_at: "t" });
    const made = () => new Saver(0, { send, vault, told: (state) => told.push(state), pauseMs: 10, retryMs: 50 }, "1.9");
    const back = { ...content("a"), version: 4, at: 1 };
    const same = made();
    same.restore({ ...back, last_signed: "1.9" }, null, undefined);
    await vi.advanceTimersByTimeAsync(20);
    expect([sent, same.version]).toEqual([[[4, "1.9"]], 5]);
    const held = made();
    held.restore({ ...back, last_signed: "" }, null, undefined);
    await held.flush();
    held.write(content("ab"));
    await vi.advanceTimersByTimeAsync(100);
    expect([told.at(-1)?.kind, sent.length]).toEqual(["changed", 1]);
    await held.resolve(true, null);
    expect([sent.at(-1), told.at(-1)?.kind, held.isClean]).toEqual([[0, "1.9"], "saved", true]);
  });
});

test("what of the page does not stand any more is told, the gravest alone", () => {
  const shown = { study: { whose: "a" }, report: { report_uid: "2.1" }, history: [] } as unknown as Reading;
  const now = { reader: "x", since: "", whose: "a", last_signed: "", report_uid: "2.1", taken_back: false };
  expect(newsOf(shown, now)).toBe("");
  expect(newsOf(shown, { ...now, report_uid: "2.2" })).toBe("result");
  expect(newsOf(shown, { ...now, taken_back: true })).toBe("result");
  expect(newsOf(shown, { ...now, last_signed: "1.9", report_uid: "2.2" })).toBe("signature");
  expect(newsOf(shown, { ...now, last_signed: "1.9", whose: "b" })).toBe("patient");
});

describe("notices and follow-up", () => {
  const notice = (number: number, study: string) => ({ number, study_instance_uid: study, confirmed: false, withdrawn: false, taken_back: false, findings: [{ vi: "Tràn khí" }], born_at: "2026-11-21T03:00:00Z" });
  test("a notice of this study stands here, the others are counted", () => {
    const { here, elsewhere } = noticesHere([notice(1, "1.2"), notice(2, "1.3"), notice(3, "1.2"), notice(4, "1.20")], "1.2");
    expect(here.map((one) => one.number)).toEqual([1, 3]);
    expect(elsewhere).toBe(2);
  });
  test("a day is that of the reader's own clock, not of London's", () => {
    expect(isoDay(new Date(2026, 0, 5, 0, 30))).toBe("2026-01-05");
    expect(isoDay(new Date(2026, 10, 21, 23, 59))).toBe("2026-11-21");
  });
  test("a day is shown as it is written here, and what is no day as it is", () => {
    expect(day("2026-11-21")).toBe("21/11/2026");
    expect(day("soon")).toBe("soon");
  });
});

describe("names of boxes", () => {
  const name = (x: number, y: number, text = "Tràn dịch màng phổi") => ({ x, y, text });
  test("names that would cover each other stand one above the other", () => {
    expect(apart([name(40, 200), name(40, 200, "Bóng tim to"), name(60, 190)]).map((one) => one.y)).toEqual([200, 185, 160]);
  });
  test("at the upper edge they go down, and apart they stay", () => {
    expect(apart([name(40, 3), name(40, 3)]).map((one) => one.y)).toEqual([14, 29]);
    expect(apart([name(40, 100), name(400, 100), name(40, 300)]).map((one) => one.y)).toEqual([100, 100, 300]);
  });
  test("at the right edge they go left, and of a box that is not seen they stay", () => {
    expect(apart([name(300, 100, "Tràn khí"), name(400, 100), name(-9, 100)], 14, 330).map((one) => one.x)).toEqual([270, 400, -9]);
  });
});
