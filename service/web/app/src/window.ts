// How stored values become grey, and the presets on the keys 1 to 9.

export interface Range {
  lower: number;
  upper: number;
}

/** Relative to the image's own window, so that two films of different machines can be turned together. */
export type Grey = { kind: "relative"; shift: number; scale: number } | { kind: "absolute"; centre: number; width: number };

export const OWN: Grey = { kind: "relative", shift: 0, scale: 1 };

export function rangeOf(grey: Grey, own: Range): Range {
  const width = Math.max(1e-6, own.upper - own.lower);
  const centre = (own.upper + own.lower) / 2;
  const [middle, wide] = grey.kind === "absolute" ? [grey.centre, grey.width] : [centre + grey.shift * width, width * grey.scale];
  return { lower: middle - wide / 2, upper: middle + wide / 2 };
}

/** After a drag: across makes the window wider, up makes the picture darker; `span` pixels are a whole window. */
export function dragged(grey: Grey, across: number, down: number, own: Range, span = 400): Grey {
  const width = Math.max(1e-6, own.upper - own.lower);
  if (grey.kind === "absolute") {
    return {
      kind: "absolute",
      centre: grey.centre + (down / span) * grey.width,
      width: Math.max(1, grey.width * Math.exp(across / span)),
    };
  }
  const scale = Math.min(8, Math.max(2 / width, Math.max(0.02, grey.scale * Math.exp(across / span))));
  return { kind: "relative", scale, shift: Math.min(4, Math.max(-4, grey.shift + (down / span) * grey.scale)) };
}

export interface Preset {
  name: string; // below room.presets
  grey: Grey;
  inverted?: boolean;
}

const relative = (name: string, shift: number, scale: number): Preset => ({ name, grey: { kind: "relative", shift, scale } });
const hounsfield = (name: string, centre: number, width: number): Preset => ({ name, grey: { kind: "absolute", centre, width } });

const FILM: readonly Preset[] = [
  relative("own", 0, 1),
  relative("wide", 0, 1.5),
  relative("narrow", 0, 0.6),
  relative("dark", 0.25, 1),
  relative("bright", -0.25, 1),
  relative("lung", -0.15, 0.7),
  relative("mediastinum", 0.2, 0.7),
  relative("bone", 0.1, 0.45),
  { name: "inverted", grey: OWN, inverted: true },
];

const CT: readonly Preset[] = [
  relative("own", 0, 1),
  hounsfield("lung", -600, 1500),
  hounsfield("mediastinum", 50, 400),
  hounsfield("bone", 500, 2000),
  hounsfield("brain", 40, 80),
  hounsfield("abdomen", 60, 360),
  hounsfield("liver", 90, 150),
  hounsfield("angio", 300, 700),
  { name: "inverted", grey: OWN, inverted: true },
];

export const presetsOf = (modality: string): readonly Preset[] => (modality === "CT" ? CT : FILM);
