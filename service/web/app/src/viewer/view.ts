// What one pane shows: which picture, how grey, where. Two panes can be moved together.

import { zoomedAbout, type Placement, type Point } from "../geometry";
import { OWN, type Grey } from "../window";

export type Tool = "window" | "zoom" | "pan" | "length" | "ratio" | "box";

export interface View extends Placement {
  index: number; // of the frame
  grey: Grey;
  inverted: boolean;
}

export const FRESH: View = { index: 0, grey: OWN, inverted: false, zoom: 1, pan: [0, 0], rotation: 0, flipped: false };

export const reset = (view: View): View => ({ ...FRESH, index: view.index });
export const turned = (view: View, by = 90): View => ({ ...view, rotation: (((view.rotation + by) % 360) + 360) % 360, pan: [0, 0] });
export const zoomed = (view: View, factor: number, about: Point = [0, 0]): View => ({ ...view, ...zoomedAbout(view, factor, about) });
export const moved = (view: View, by: Point): View => ({ ...view, pan: [view.pan[0] + by[0], view.pan[1] + by[1]] });
export const scrolled = (view: View, by: number, count: number): View => ({ ...view, index: Math.min(count - 1, Math.max(0, view.index + by)) });

/** What a linked pane takes over from the one that was changed: grey and place, never the picture. */
export const linked = (from: View, to: View): View => ({ ...from, index: to.index });
