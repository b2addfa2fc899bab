// One line set of signs, 20 by 20.

import type { JSX } from "preact";

const PATHS = {
  window: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  zoom: "M8.5 3.5a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM12.2 12.2l4.3 4.3M6 8.5h5M8.5 6v5",
  pan: "M10 2.5v15M2.5 10h15M10 2.5 8 4.7M10 2.5l2 2.2M10 17.5l-2-2.2M10 17.5l2-2.2M2.5 10l2.2-2M2.5 10l2.2 2M17.5 10l-2.2-2M17.5 10l-2.2 2",
  length: "M3 17 17 3M3 13.5V17h3.5M13.5 3H17v3.5M7 10l1.6 1.6M10 7l1.6 1.6",
  ratio: "M3 5v10M17 5v10M3 10h14M7.5 7.5v5M12.5 7.5v5",
  box: "M4 4h9v9H4zM16 12v5M13.5 14.5h5",
  invert: "M3.5 3.5h13v13h-13zM10 3.5v13M10 6h4M10 9h4M10 12h4M10 15h4",
  rotate: "M15.5 6.5A6.5 6.5 0 1 0 16.5 11M16 2.5v4.2h-4.2",
  flip: "M10 2.5v15M7.5 5 2.5 15h5zM12.5 5l5 10h-5z",
  reset: "M4 8V4h4M16 12v4h-4M4 4l5 5M16 16l-5-5",
  overlay: "M10 3.5l7 3.7-7 3.7-7-3.7zM3.5 10.5l6.5 3.4 6.5-3.4M3.5 13.5 10 17l6.5-3.5",
  prior: "M2.5 4h7v12h-7zM11.5 4h6v12h-6zM12.5 8h4M12.5 11h4",
  link: "M8.5 11.5l3-3M7 9 5 11a2.8 2.8 0 0 0 4 4l2-2M13 11l2-2a2.8 2.8 0 0 0-4-4L9 7",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M10 14.5v.2M10 2.5a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15z",
  check: "M4 10.5l4 4 8-9",
  cross: "M5 5l10 10M15 5 5 15",
  pencil: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2zM11.5 6l2.6 2.6",
  plus: "M10 4v12M4 10h12",
  full: "M3.5 7V3.5H7M13 3.5h3.5V7M16.5 13v3.5H13M7 16.5H3.5V13M7 10h6M10 7v6",
  back: "M12 4l-6 6 6 6",
  bell: "M5 14V9a5 5 0 0 1 10 0v5l1.5 1.5h-13zM8.5 17.5a1.6 1.6 0 0 0 3 0",
  lock: "M5 9h10v7.5H5zM7 9V6.5a3 3 0 0 1 6 0V9",
} as const;

export type Sign = keyof typeof PATHS;

export const Icon = ({ of }: { of: Sign }): JSX.Element => (
  <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
    <path d={PATHS[of]} />
  </svg>
);
