// Where the names of boxes stand, so that no name hides another.
export interface Label {
  x: number;
  y: number; // baseline, pixels of the screen
  text: string;
}

const LINE = 15; // pixels
const LETTER = 7.5; // pixels; wider than most

/** The labels in their order, each moved up (at the upper edge: down) until it covers none before it, and left
 * where the right edge of the pane (`width`, pixels) would cut its end off. */
export function apart(labels: readonly Label[], top = 14, width = Infinity): Label[] {
  const placed: Label[] = [];
  for (const given of labels) {
    const isSeen = given.x >= 0 && given.x < width;
    const label = isSeen ? { ...given, x: Math.max(0, Math.min(given.x, width - given.text.length * LETTER)) } : given;
    const covers = (y: number): boolean => placed.some((other) => Math.abs(other.y - y) < LINE && other.x < label.x + label.text.length * LETTER && label.x < other.x + other.text.length * LETTER);
    let y = Math.max(top, label.y);
    while (y >= top && covers(y)) y -= LINE;
    if (y < top) for (y = Math.max(top, label.y); covers(y); ) y += LINE;
    placed.push({ ...label, y });
  }
  return placed;
}
