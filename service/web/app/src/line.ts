// How fast the line is, judged by the first picture: on a slow or metered one the full depth is loaded only when
// it is asked for. What a browser says of its own connection is a guess from other pages.

const SLOW = 300; // bytes a millisecond: 8 MB in 27 s

export interface Came {
  bytes: number;
  ms: number; // from its first byte to its last
}

export const isFast = ({ bytes, ms }: Came): boolean => ms < 40 || bytes / ms > SLOW;

export async function isQuick(picture: HTMLImageElement | null): Promise<boolean> {
  const line = (navigator as { connection?: { saveData?: boolean } }).connection;
  if (line?.saveData) return false;
  if (!picture) return true;
  await picture.decode().catch(() => undefined);
  if (!picture.naturalWidth) return true; // an answer without a picture says nothing of the line
  const entry = performance.getEntriesByName(picture.src).at(-1) as PerformanceResourceTiming | undefined;
  return !entry || isFast({ bytes: entry.encodedBodySize, ms: entry.responseEnd - entry.responseStart });
}
