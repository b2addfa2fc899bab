// The pictures of a study in the order in which they are looked at: one entry a frame.

import type { Finding, Instance, Series } from "../types";

export interface Frame {
  url: string; // of the object
  sop: string;
  number: number; // of the frame, from one
  frames: number;
  series: Series;
  instance: Instance;
}

// Series of these never hold a picture to be read.
const WITHOUT_PICTURE = new Set(["SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "DOC", "AU", "ECG", "OT_SR"]);

export function framesOf(study: string, series: readonly Series[]): Frame[] {
  return series
    .filter((one) => !WITHOUT_PICTURE.has(one.modality))
    .flatMap((one) =>
      one.instances.flatMap((instance) =>
        Array.from({ length: Math.max(1, instance.frames || 1) }, (_, index) => ({
          url: `/dicom-web/studies/${study}/series/${one.series_uid}/instances/${instance.sop_instance_uid}`,
          sop: instance.sop_instance_uid,
          number: index + 1,
          frames: Math.max(1, instance.frames || 1),
          series: one,
          instance,
        })),
      ),
    );
}

/** Where to begin: at what findings speak of, else at the first that can be analysed, else at the first. */
export function firstFrame(frames: readonly Frame[], findings: readonly Finding[]): number {
  const spoken = new Set(findings.map((one) => one.sop_instance_uid));
  const at = frames.findIndex((one) => spoken.has(one.sop));
  if (at >= 0) return at;
  return Math.max(0, frames.findIndex((one) => one.instance.scorable));
}

/** The address of the small picture that comes first. */
export function previewOf(frame: Frame, parameters: string): string {
  const place = frame.frames > 1 ? `/frames/${frame.number}` : "";
  return `${frame.url}${place}/rendered?${parameters}`;
}

/** What the picture is called: "DX PA 1/2". */
export function titleOf(frame: Frame, index: number, count: number): string {
  const parts = [frame.series.modality, frame.series.view_position ?? frame.series.body_part ?? "", count > 1 ? `${index + 1}/${count}` : ""];
  return parts.filter(Boolean).join(" ");
}
