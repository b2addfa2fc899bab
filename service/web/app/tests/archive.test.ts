// What is dropped: archives opened in the browser, rubbish passed over, answers in words.

import { describe, expect, test } from "vitest";

import { ArchiveProblem, isWanted, partsOf, verdict } from "../../static/archive.js";

interface Part { name: string; content: Uint8Array; method?: 0 | 8 | 12; flags?: number; size?: number }

const squeezed = async (content: Uint8Array): Promise<Uint8Array> => new Uint8Array(await new Response(new Blob([content as BlobPart]).stream().pipeThrough(new CompressionStream("deflate-raw"))).arrayBuffer());

async function archive(parts: Part[], comment = ""): Promise<Blob> {
  const bytes: Uint8Array[] = [];
  const central: Uint8Array[] = [];
  let at = 0;
  const head = (length: number, fill: (view: DataView) => void) => {
    const view = new DataView(new ArrayBuffer(length));
    fill(view);
    return new Uint8Array(view.buffer);
  };
  for (const { name, content, method = 8, flags = 0, size = content.length } of parts) {
    const named = new TextEncoder().encode(name);
    const packed = method === 8 ? await squeezed(content) : content;
    const local = head(30, (view) => (view.setUint32(0, 0x04034b50, true), view.setUint16(26, named.length, true), view.setUint16(28, 4, true)));
    bytes.push(local, named, new Uint8Array(4), packed);
    central.push(
      head(46, (view) => {
        view.setUint32(0, 0x02014b50, true);
        view.setUint16(8, flags, true);
        view.setUint16(10, method, true);
        view.setUint32(20, packed.length, true);
        view.setUint32(24, size, true);
        view.setUint16(28, named.length, true);
        view.setUint32(42, at, true);
      }),
      named,
    );
    at += 34 + named.length + packed.length;
  }
  const length = central.reduce((sum, one) => sum + one.length, 0);
  const said = new TextEncoder().encode(comment);
  const end = head(22, (view) => {
    view.setUint32(0, 0x06054b50, true);
    view.setUint16(10, parts.length, true);
    view.setUint32(12, length, true);
    view.setUint32(16, at, true);
    view.setUint16(20, said.length, true);
  });
  return new Blob([...bytes, ...central, end, said] as BlobPart[]);
}

/** The same archive as one that could be larger than 4 GiB: every number stands where 64 bits have room. */
async function largeArchive(content: Uint8Array, { sizes = true, place = 0n } = {}): Promise<Blob> {
  const name = new TextEncoder().encode("1.dcm");
  const packed = await squeezed(content);
  const local = new DataView(new ArrayBuffer(30));
  local.setUint32(0, 0x04034b50, true);
  local.setUint16(26, name.length, true);
  const start = 30 + name.length + packed.length;
  const entry = new DataView(new ArrayBuffer(46 + name.length + 5 + 28));
  entry.setUint32(0, 0x02014b50, true);
  entry.setUint16(10, 8, true);
  for (const at of [20, 24, 42]) entry.setUint32(at, 0xffffffff, true);
  entry.setUint16(28, name.length, true);
  entry.setUint16(30, sizes ? 33 : 5, true);
  new Uint8Array(entry.buffer).set(name, 46);
  entry.setUint16(46 + name.length, 0x7075, true); // another extra field before ours
  entry.setUint16(48 + name.length, 1, true);
  const at = 46 + name.length + 5;
  entry.setUint16(at, 1, true);
  entry.setUint16(at + 2, 24, true);
  [BigInt(content.length), BigInt(packed.length), 0n].forEach((value, n) => entry.setBigUint64(at + 4 + 8 * n, value, true));
  const central = new Uint8Array(entry.buffer).slice(0, sizes ? undefined : at);
  const end = new DataView(new ArrayBuffer(56));
  end.setUint32(0, 0x06064b50, true);
  [1n, BigInt(central.length), BigInt(start)].forEach((value, n) => end.setBigUint64(32 + 8 * n, value, true));
  const pointer = new DataView(new ArrayBuffer(20));
  pointer.setUint32(0, 0x07064b50, true);
  pointer.setBigUint64(8, place || BigInt(start + central.length), true);
  const old = new DataView(new ArrayBuffer(22));
  old.setUint32(0, 0x06054b50, true);
  old.setUint16(10, 0xffff, true);
  old.setUint32(12, 0xffffffff, true);
  old.setUint32(16, 0xffffffff, true);
  return new Blob([local, name, packed, central, end, pointer, old] as BlobPart[]);
}

const text = (of: string) => new TextEncoder().encode(of);
const slice = text("DICM".repeat(5000));
const opened = async (blob: Blob) => Promise.all((await partsOf(blob)).map(async (one) => [one.name, await (await one.open()).text()]));

describe("archives", () => {
  test("packed and plain parts come out whole, folders are left out, a comment is passed over", async () => {
    const made = await archive([{ name: "đĩa/", content: text("") }, { name: "đĩa/1.dcm", content: slice }, { name: "2", content: text("two"), method: 0 }], "of a disc");
    expect(await opened(made)).toEqual([["đĩa/1.dcm", "DICM".repeat(5000)], ["2", "two"]]);
  });
  test("an archive with numbers of 64 bits (zip64) is opened like any other", async () => {
    expect(await opened(await largeArchive(slice))).toEqual([["1.dcm", "DICM".repeat(5000)]]);
  });
  test.each([
    ["no archive at all", async () => new Blob([text("hello")]), "broken"],
    ["cut off at its end", async () => (await archive([{ name: "1", content: slice }])).slice(0, -30), "broken"],
    ["with a password", () => archive([{ name: "1", content: slice, flags: 1 }]), "encrypted"],
    ["of another method", () => archive([{ name: "1", content: slice, method: 12 }]), "method"],
    ["that unpacks to more than it said", () => archive([{ name: "1", content: slice, size: 100 }]), "broken"],
    ["that unpacks to less than it said", () => archive([{ name: "1", content: slice, size: 90_000 }]), "broken"],
    ["of 64 bits without its numbers", () => largeArchive(slice, { sizes: false }), "broken"],
    ["of 64 bits that points behind its end", () => largeArchive(slice, { place: 1n << 40n }), "broken"],
    ["of 64 bits that points beyond any file", () => largeArchive(slice, { place: 1n << 60n }), "broken"],
    ["that says it is huge", () => archive([{ name: "1", content: slice, size: 0xfffffff0 }]), "zip64"],
  ])("an archive %s is told", async (_, make, why) => {
    const error = await opened(await make()).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(ArchiveProblem);
    expect((error as Error).message).toBe(why);
  });
});

describe("what is sent, and what is said of it", () => {
  test.each(["IM000001", "a/b/1.dcm", "1.2.840.113", "SER1/IMG.IMA"])("%s is sent", (name) => expect(isWanted(name)).toBe(true));
  test.each(["DICOMDIR", "disc/dicomdir", "a/.DS_Store", "__MACOSX/1.dcm", "viewer/app.exe", "readme.TXT", "film.jpg"])("%s is passed over", (name) => expect(isWanted(name)).toBe(false));
  const failed = (reason: number) => ({ "00081198": { vr: "SQ", Value: [{ "00081197": { vr: "US", Value: [reason] } }] } });
  test.each([
    [200, {}, "stored", false],
    [409, failed(0x0111), "changed", false],
    [409, failed(0xc000), "not_dicom", false],
    [409, { "0008119A": failed(0xc000)["00081198"] }, "not_dicom", false],
    [409, failed(0xa900), "contradicts", false],
    [503, failed(0xa700), "later", true],
    [503, null, "later", true],
    [401, null, "signed_out", true],
    [403, null, "forbidden", false],
    [413, null, "too_large", false],
    [0, null, "no_line", true],
    [500, null, "refused", true],
  ])("%i %o is %s", (status, answer, key, again) => expect(verdict(status, answer)).toEqual([key, again]));
});
