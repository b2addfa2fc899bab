// What a person drops: files, folders, and ZIP archives, which are opened here. A part of an archive is taken
// out when its turn comes, so that a disc of thousands of slices never lies in memory whole.

const END = 0x06054b50; // PKZIP appnote 4.3.16
const ENTRY = 0x02014b50; // 4.3.12
const LARGE_PLACE = 0x07064b50; // 4.3.15: where the end record of a large archive (zip64) is
const LARGE_END = 0x06064b50; // 4.3.14
const IN_EXTRA = 0xffffffff; // the value stands in the extra field (4.5.3)
const LARGEST_END = 65557; // the end record and the longest comment
const LARGEST_PART = 2 ** 31; // bytes; a bomb is not unpacked further

/** Why an archive cannot be opened: `broken`, `encrypted`, `method`, or `zip64`: a part of it is too large. */
export class ArchiveProblem extends Error {}

/** Its parts: [{name, size, open}]; `open` gives a Blob. Folders are left out. */
export async function partsOf(blob) {
  const tail = new DataView(await blob.slice(-LARGEST_END).arrayBuffer());
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new ArchiveProblem("broken");
  const [count, length, start] = (await largeEnd(blob, tail, at)) ?? [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (start + length > blob.size) throw new ArchiveProblem("broken");
  const central = new DataView(await blob.slice(start, start + length).arrayBuffer());
  const parts = [];
  let place = 0;
  for (let n = 0; n < count; n += 1) {
    if (place + 46 > central.byteLength || central.getUint32(place, true) !== ENTRY) throw new ArchiveProblem("broken");
    const [flags, method] = [central.getUint16(place + 8, true), central.getUint16(place + 10, true)];
    const [named, extra, remark] = [28, 30, 32].map((offset) => central.getUint16(place + offset, true));
    const short = [24, 20, 42].map((offset) => central.getUint32(place + offset, true));
    const [size, packed, from] = large(short, central, place + 46 + named, extra);
    const name = new TextDecoder().decode(new Uint8Array(central.buffer, place + 46, named));
    place += 46 + named + extra + remark;
    if (!name.endsWith("/")) parts.push({ name, size, open: () => unpacked(blob, { flags, method, packed, size, from }) });
  }
  return parts;
}

/** What the end record of a large archive says: [count, length, start]; undefined where there is none. */
async function largeEnd(blob, tail, at) {
  if (at < 20 || tail.getUint32(at - 20, true) !== LARGE_PLACE) return undefined;
  const place = number(tail, at - 12);
  const end = new DataView(await blob.slice(place, place + 56).arrayBuffer());
  if (end.byteLength < 56 || end.getUint32(0, true) !== LARGE_END) throw new ArchiveProblem("broken");
  return [32, 40, 48].map((offset) => number(end, offset));
}

/** Size, packed size and place of an entry; those that do not fit stand in the extra field, in this order. */
function large(values, view, start, length) {
  let at = start;
  const stop = Math.min(start + length, view.byteLength);
  while (at + 4 <= stop && view.getUint16(at, true) !== 1) at += 4 + view.getUint16(at + 2, true);
  at += 4;
  return values.map((value) => {
    if (value !== IN_EXTRA) return value;
    if (at + 8 > stop) throw new ArchiveProblem("broken");
    at += 8;
    return number(view, at - 8);
  });
}

/** A number of 64 bits; what no file can be is a broken archive. */
function number(view, at) {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ArchiveProblem("broken");
  return Number(value);
}

async function unpacked(blob, { flags, method, packed, size, from }) {
  if (flags & 1) throw new ArchiveProblem("encrypted");
  if (size > LARGEST_PART) throw new ArchiveProblem("zip64");
  const head = new DataView(await blob.slice(from, from + 30).arrayBuffer());
  if (head.byteLength < 30) throw new ArchiveProblem("broken");
  const start = from + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const content = blob.slice(start, start + packed);
  if (method === 0) return content;
  if (method !== 8) throw new ArchiveProblem("method");
  const pieces = [];
  let received = 0;
  const reader = content.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new ArchiveProblem("broken");
    });
    if (done) break;
    received += value.byteLength;
    if (received > size) throw new ArchiveProblem("broken"); // more than it said
    pieces.push(value);
  }
  if (received !== size) throw new ArchiveProblem("broken");
  return new Blob(pieces);
}

/** Whether a file is worth sending: no index of a disc, no picture, no rubbish of another system. */
export function isWanted(name) {
  const last = name.split("/").pop() ?? "";
  if (last.startsWith(".") || name.startsWith("__MACOSX/")) return false;
  return !/^(dicomdir|autorun\.inf|thumbs\.db)$/i.test(last) && !/\.(jpe?g|png|gif|bmp|pdf|txt|html?|xml|exe|dll|ini|ico|js|css|jar)$/i.test(last);
}

/** What the service answered to one object: [key of a sentence, whether it may be tried again]. */
export function verdict(status, answer) {
  // Failed SOP Sequence, or Other Failures Sequence for what has no UID (PS3.18 10.5.3.2)
  const failed = answer?.["00081198"]?.Value?.[0] ?? answer?.["0008119A"]?.Value?.[0];
  const reason = failed?.["00081197"]?.Value?.[0];
  if (status === 200) return ["stored", false];
  if (status === 401) return ["signed_out", true];
  if (status === 403) return ["forbidden", false];
  if (status === 413) return ["too_large", false];
  if (status === 0 || status === 502 || status === 504) return ["no_line", true];
  if (reason === 0x0111) return ["changed", false];
  if (reason === 0xa700 || status === 503) return ["later", true];
  if (reason === 0xa900) return ["contradicts", false];
  if (reason === 0xc000) return ["not_dicom", false];
  return ["refused", true];
}
