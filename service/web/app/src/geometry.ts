// Plane geometry of the picture: where a point of the stored image stands on the screen, and what is measured.
// Points are [column, row] on the image and [x, y] in CSS pixels on the screen.

import type { Box } from "./types";

export type Point = readonly [number, number];
/** x = a*column + c*row + e; y = b*column + d*row + f (the order of CSS and SVG). */
export type Matrix = readonly [number, number, number, number, number, number];

export interface Size {
  width: number;
  height: number;
}

export interface Placement {
  zoom: number; // 1: the whole image fits
  pan: Point; // CSS pixels, from the middle
  rotation: number; // degrees clockwise, 0 90 180 270
  flipped: boolean; // left and right exchanged
}

export const apply = (m: Matrix, [x, y]: Point): Point => [m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5]];

/** The matrix back; null where the picture has no area. */
export function inverse([a, b, c, d, e, f]: Matrix): Matrix | null {
  const det = a * d - b * c;
  if (!Number.isFinite(det) || Math.abs(det) < 1e-12) return null;
  return [d / det, -b / det, -c / det, a / det, (c * f - d * e) / det, (b * e - a * f) / det];
}

/** The matrix that takes three points to three others: [0,0], [1,0], [0,1] of the image. */
export function through(origin: Point, right: Point, down: Point): Matrix {
  return [right[0] - origin[0], right[1] - origin[1], down[0] - origin[0], down[1] - origin[1], origin[0], origin[1]];
}

/** Where an image stands that fits into a screen and was moved. */
export function placed(image: Size, screen: Size, at: Placement): Matrix {
  const turned = at.rotation % 180 !== 0;
  const [width, height] = turned ? [image.height, image.width] : [image.width, image.height];
  const scale = Math.min(screen.width / width, screen.height / height) * at.zoom;
  const angle = (at.rotation * Math.PI) / 180;
  const [cos, sin] = [Math.round(Math.cos(angle)), Math.round(Math.sin(angle))];
  const side = at.flipped ? -1 : 1;
  const [a, b, c, d] = [scale * cos * side, scale * sin * side, -scale * sin, scale * cos];
  const [x, y] = [screen.width / 2 + at.pan[0], screen.height / 2 + at.pan[1]];
  return [a, b, c, d, x - (a * image.width) / 2 - (c * image.height) / 2, y - (b * image.width) / 2 - (d * image.height) / 2];
}

/** The same place after a zoom that leaves the point under the finger where it is; `about` is from the middle. */
export function zoomedAbout(at: Placement, factor: number, about: Point): Placement {
  const zoom = Math.min(20, Math.max(0.2, at.zoom * factor));
  const real = zoom / at.zoom;
  return { ...at, zoom, pan: [about[0] - (about[0] - at.pan[0]) * real, about[1] - (about[1] - at.pan[1]) * real] };
}

/** The box between two corners, within the image, in whole pixels; null where it is smaller than `least`. */
export function boxBetween(from: Point, to: Point, image: Size, sop: string, least = 4): Box | null {
  const inside = (value: number, limit: number) => Math.min(limit, Math.max(0, Math.round(value)));
  const [left, right] = [from[0], to[0]].map((one) => inside(one, image.width)).sort((p, q) => p - q) as [number, number];
  const [top, bottom] = [from[1], to[1]].map((one) => inside(one, image.height)).sort((p, q) => p - q) as [number, number];
  if (right - left < least || bottom - top < least) return null;
  return { sop_instance_uid: sop, column: left, row: top, width: right - left, height: bottom - top };
}

/** Column and row spacing in mm; null where the image says nothing that can be true. */
export type Spacing = { column: number; row: number } | null;

export function length(from: Point, to: Point, spacing: Spacing): { value: number; unit: "mm" | "px" } {
  const [x, y] = [to[0] - from[0], to[1] - from[1]];
  if (spacing) return { value: Math.hypot(x * spacing.column, y * spacing.row), unit: "mm" };
  return { value: Math.hypot(x, y), unit: "px" };
}

/** Cardiothoracic ratio: widths across the film; null while a line is missing or has no width. */
export function cardiothoracic(heart: readonly [Point, Point], thorax: readonly [Point, Point]): number | null {
  const across = ([from, to]: readonly [Point, Point]) => Math.abs(to[0] - from[0]);
  const [inner, outer] = [across(heart), across(thorax)];
  return outer > 0 && inner > 0 ? inner / outer : null;
}
