// Every key of the reading room: one table, which the help sheet shows.

export type Deed =
  | "help" | "next_finding" | "previous_finding" | "accept" | "reject" | "edit" | "add" | "write" | "sign" | "ai" | "overlay" | "opacity_less" | "opacity_more"
  | "tool_window" | "tool_zoom" | "tool_pan" | "tool_length" | "tool_ratio" | "invert" | "rotate" | "flip" | "reset" | "clear" | "zoom_in" | "zoom_out"
  | "next_image" | "previous_image" | "prior" | "link" | "full" | "list" | "next_study" | "preset" | "up" | "down" | "left" | "right" | "close";

export interface Key {
  keys: readonly string[]; // of KeyboardEvent.key
  deed: Deed;
  group: "reading" | "picture" | "measure" | "compare" | "page";
  shown?: string;
}

export const KEYS: readonly Key[] = [
  { keys: ["j"], deed: "next_finding", group: "reading" },
  { keys: ["k"], deed: "previous_finding", group: "reading" },
  { keys: ["Enter"], deed: "accept", group: "reading", shown: "Enter" },
  { keys: ["x"], deed: "reject", group: "reading" },
  { keys: ["e"], deed: "edit", group: "reading" },
  { keys: ["b"], deed: "add", group: "reading" },
  { keys: ["d"], deed: "write", group: "reading" },
  { keys: ["s"], deed: "sign", group: "reading" },
  { keys: ["a"], deed: "ai", group: "reading" },
  { keys: ["h"], deed: "overlay", group: "picture" },
  { keys: ["["], deed: "opacity_less", group: "picture" },
  { keys: ["]"], deed: "opacity_more", group: "picture" },
  { keys: ["w"], deed: "tool_window", group: "picture" },
  { keys: ["z"], deed: "tool_zoom", group: "picture" },
  { keys: ["p"], deed: "tool_pan", group: "picture" },
  { keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], deed: "preset", group: "picture", shown: "1–9" },
  { keys: ["i"], deed: "invert", group: "picture" },
  { keys: ["r"], deed: "rotate", group: "picture" },
  { keys: ["f"], deed: "flip", group: "picture" },
  { keys: ["0"], deed: "reset", group: "picture" },
  { keys: ["+", "="], deed: "zoom_in", group: "picture", shown: "+" },
  { keys: ["-"], deed: "zoom_out", group: "picture", shown: "−" },
  { keys: ["ArrowLeft"], deed: "left", group: "picture", shown: "←" },
  { keys: ["ArrowRight"], deed: "right", group: "picture", shown: "→" },
  { keys: ["ArrowUp"], deed: "up", group: "picture", shown: "↑" },
  { keys: ["ArrowDown"], deed: "down", group: "picture", shown: "↓" },
  { keys: ["PageDown", "."], deed: "next_image", group: "picture", shown: "PgDn ." },
  { keys: ["PageUp", ","], deed: "previous_image", group: "picture", shown: "PgUp ," },
  { keys: ["g"], deed: "full", group: "picture" },
  { keys: ["l"], deed: "tool_length", group: "measure" },
  { keys: ["c"], deed: "tool_ratio", group: "measure" },
  { keys: ["Backspace", "Delete"], deed: "clear", group: "measure", shown: "Del" },
  { keys: ["o"], deed: "prior", group: "compare" },
  { keys: ["y"], deed: "link", group: "compare" },
  { keys: ["n"], deed: "next_study", group: "page" },
  { keys: ["q"], deed: "list", group: "page" },
  { keys: ["?"], deed: "help", group: "page" },
  { keys: ["Escape"], deed: "close", group: "page", shown: "Esc" },
];

const SLIDES = /^(Arrow|Page|Home$|End$|[+-]$)/;

/** The deed of a key press; null where the reader is writing, or the key means something to the browser. */
export function deedOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "target">): Deed | null {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const at = event.target as Element | null;
  const isWriting = at?.matches?.("input:not([type=range], [type=checkbox]), textarea, select") ?? false;
  if (isWriting && event.key !== "Escape") return null;
  if (event.key === "Enter" && at?.matches?.("button, a, summary")) return null;
  if (SLIDES.test(event.key) && at?.matches?.("input[type=range]")) return null; // who moved it reads on with the keys
  return KEYS.find((one) => one.keys.includes(event.key))?.deed ?? null;
}
