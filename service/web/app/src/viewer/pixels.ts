// Full depth: the stored pixels through Cornerstone3D, with WebGL or, where there is none, on the processor.
// This module and the viewer behind it are loaded only when they are needed.

import { RenderingEngine, Enums, eventTarget, init as initCore, getShouldUseCPURendering, metaData, utilities, type Types } from "@cornerstonejs/core";
import * as loader from "@cornerstonejs/dicom-image-loader";

import { through, type Matrix, type Placement, type Point, type Size, type Spacing } from "../geometry";
import type { Range } from "../window";

const DEFLATED = "1.2.840.10008.1.2.1.99"; // the viewer cannot inflate it: the service does
const syntaxes = new Map<string, string>(); // by the address of an object
const listeners = new Map<string, (part: number) => void>();
let engine: RenderingEngine | null = null;
let count = 0;

/** The viewer's name for a frame, counted from one. */
export function frameId(url: string, frame: number, frames: number, transferSyntax: string): string {
  syntaxes.set(url, transferSyntax);
  return `wadouri:${location.origin}${url}${frames > 1 ? `?frame=${frame}` : ""}`;
}

const addressOf = (imageId: string): string => imageId.replace(/^wadouri:/, "").replace(location.origin, "").replace(/\?.*$/, "");

function started(): RenderingEngine {
  if (engine) return engine;
  initCore();
  loader.init({
    maxWebWorkers: Math.max(1, Math.min(2, (navigator.hardwareConcurrency || 2) - 1)),
    beforeSend: (_xhr, imageId) => ({
      Accept: syntaxes.get(addressOf(imageId)) === DEFLATED ? "application/dicom" : "application/dicom; transfer-syntax=*",
    }),
    onprogress: (event, params) => {
      const { imageId } = params as { imageId?: string };
      if (imageId && event.total) listeners.get(addressOf(imageId))?.(event.loaded / event.total);
    },
  });
  metaData.addProvider(planeOf, 100_000);
  engine = new RenderingEngine("room");
  return engine;
}

let asking = false;

/** The image's plane with a spacing that can be drawn: some machines write 0.000, and nothing would be seen. */
function planeOf(type: string, imageId: string): unknown {
  if (type !== "imagePlaneModule" || asking) return undefined;
  asking = true;
  try {
    const plane = metaData.get(type, imageId) as { rowPixelSpacing?: number; columnPixelSpacing?: number } | undefined;
    if (!plane || (Number(plane.rowPixelSpacing) > 0 && Number(plane.columnPixelSpacing) > 0)) return plane;
    return { ...plane, rowPixelSpacing: 1, columnPixelSpacing: 1, pixelSpacing: [1, 1], usingDefaultValues: true, isInvented: true };
  } finally {
    asking = false;
  }
}

export const onProcessor = (): boolean => getShouldUseCPURendering();

type Two = ArrayLike<number | string> | undefined;
const isSaid = (two: Two): boolean => Number(two?.[0]) > 0 && Number(two?.[1]) > 0;

/** How large a pixel is; of a film at the detector (PS3.3 C.8.7.10), where things look a little larger than they are. */
export function spacingOf(imageId: string): Spacing {
  const plane = metaData.get("imagePlaneModule", imageId) as { rowPixelSpacing?: number; columnPixelSpacing?: number; usingDefaultValues?: boolean; isInvented?: boolean } | undefined;
  const image = (metaData.get("instance", imageId) ?? metaData.get("naturalized", imageId)) as { PixelSpacing?: Two; ImagerPixelSpacing?: Two } | undefined;
  const [row, column] = [plane?.rowPixelSpacing, plane?.columnPixelSpacing];
  const known = !plane?.usingDefaultValues || isSaid(image?.PixelSpacing) || isSaid(image?.ImagerPixelSpacing); // a film has no position: the viewer calls all of it defaults
  return plane && !plane.isInvented && known && row && column && row > 0 && column > 0 ? { row, column } : null;
}

/** The viewer says by an event that an image cannot be had; its own promise then never ends. */
function failureOf(imageId: string): { happens: Promise<never>; forget: () => void } {
  let told: (event: Event) => void = () => undefined;
  const happens = new Promise<never>((_, reject) => {
    told = (event) => {
      if ((event as CustomEvent<{ imageId?: string }>).detail?.imageId === imageId) reject(new Error("the image cannot be loaded"));
    };
  });
  eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_FAILED, told);
  return { happens, forget: () => eventTarget.removeEventListener(Enums.Events.IMAGE_LOAD_FAILED, told) };
}

export class Pixels {
  private readonly id = `view-${++count}`;
  private viewport: Types.IStackViewport | null = null;
  private shown = "";
  private outgrown = false; // the pane's size changed before there was a film
  private baseInvert = false;
  own: Range = { lower: 0, upper: 1 };
  size: Size = { width: 1, height: 1 };
  spacing: Spacing = null;

  constructor(
    private readonly element: HTMLDivElement,
    private readonly drawn: () => void,
  ) {}

  /** Show one frame. Rejects when it cannot be had or decoded. */
  async show(imageId: string, progress: (part: number) => void): Promise<void> {
    const room = started();
    if (!this.viewport) {
      room.enableElement({ viewportId: this.id, type: Enums.ViewportType.STACK, element: this.element, defaultOptions: { background: [0, 0, 0] } });
      this.viewport = room.getViewport(this.id) as Types.IStackViewport;
      this.element.addEventListener(Enums.Events.IMAGE_RENDERED, this.drawn);
    }
    const address = addressOf(imageId);
    listeners.set(address, progress);
    const failure = failureOf(imageId);
    try {
      await Promise.race([this.viewport.setStack([imageId]), failure.happens]);
    } finally {
      listeners.delete(address);
      failure.forget();
    }
    this.shown = imageId;
    if (this.outgrown) room.resize(true, true);
    this.outgrown = false;
    const properties = this.viewport.getProperties();
    this.baseInvert = properties.invert ?? false;
    const [first] = [this.viewport.getImageData()];
    const [columns, rows] = first?.dimensions ?? [1, 1];
    this.size = { width: columns, height: rows };
    this.own = properties.voiRange ?? { lower: 0, upper: 255 };
    this.spacing = spacingOf(imageId);
  }

  grey(range: Range, inverted: boolean): void {
    this.viewport?.setProperties({ voiRange: range, invert: inverted !== this.baseInvert });
  }

  place(at: Placement): void {
    const view = this.viewport;
    if (!view) return;
    view.resetCamera();
    if (onProcessor()) {
      // there the viewer's zoom counts pixels of the screen for one of the image, and it neither pans nor flips so
      view.setViewPresentation({ rotation: at.rotation, zoom: view.getZoom() * at.zoom });
      view.setCamera({ flipHorizontal: at.flipped });
      const middle: Point = [this.element.clientWidth / 2, this.element.clientHeight / 2];
      if (at.pan[0] || at.pan[1]) view.setCamera({ focalPoint: view.canvasToWorld([middle[0] - at.pan[0], middle[1] - at.pan[1]]) });
    } else {
      view.setViewPresentation({ rotation: at.rotation, zoom: at.zoom, flipHorizontal: at.flipped });
      view.setPan([at.pan[0], at.pan[1]]);
    }
    view.render();
  }

  /** Where the stored image stands on the screen now; null while nothing is drawn. */
  matrix(): Matrix | null {
    const view = this.viewport;
    if (!view || !this.shown) return null;
    // the corner of the first pixel; the viewer counts from its middle
    const corner = (column: number, row: number): Point => {
      const world = utilities.imageToWorldCoords(this.shown, [column - 0.5, row - 0.5]);
      const at = world ? view.worldToCanvas(world) : [Number.NaN, Number.NaN];
      return [at[0] ?? Number.NaN, at[1] ?? Number.NaN];
    };
    const [w, h] = [this.size.width, this.size.height];
    const origin = corner(0, 0);
    const [right, down] = [corner(w, 0), corner(0, h)];
    const found = through(origin, [origin[0] + (right[0] - origin[0]) / w, origin[1] + (right[1] - origin[1]) / w], [origin[0] + (down[0] - origin[0]) / h, origin[1] + (down[1] - origin[1]) / h]);
    return found.every(Number.isFinite) ? found : null;
  }

  /** The pane has another size; also while a film is still on its way, which then comes into the new one. */
  resize(): void {
    if (this.shown) engine?.resize(true, true);
    else this.outgrown = this.viewport !== null;
  }

  end(): void {
    this.element.removeEventListener(Enums.Events.IMAGE_RENDERED, this.drawn);
    if (this.viewport) engine?.disableElement(this.id);
    this.viewport = null;
  }
}
