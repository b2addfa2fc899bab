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

const text = (of: string) => new TextEncoder().encode(of);
const slice = text("DICM".repeat(5000));
const opened = async (blob: Blob) => Promise.all((await partsOf(blob)).map(async (one) => [one.name, await (await one.open()).text()]));

describe("archives", () => {
  test("packed and plain parts come out whole, folders are left out, a comment is passed over", async () => {
    const made = await archive([{ name: "đĩa/", content: text("") }, { name: "đĩa/1.dcm", content: slice }, { name: "2", content: text("two"), method: 0 }], "of a disc");
    expect(await opened(made)).toEqual([["đĩa/1.dcm", "DICM".repeat(5000)], ["2", "two"]]);
  });
  test.each([
    ["no archive at all", async () => new Blob([text("hello")]), "broken"],
    ["cut off at its end", async () => (await archive([{ name: "1", content: slice }])).slice(0, -30), "broken"],
    ["with a password", () => archive([{ name: "1", content: slice, flags: 1 }]), "encrypted"],
    ["of another method", () => archive([{ name: "1", content: slice, method: 12 }]), "method"],
    ["that unpacks to more than it said", () => archive([{ name: "1", content: slice, size: 100 }]), "broken"],
    ["that unpacks to less than it said", () => archive([{ name: "1", content: slice, size: 90_000 }]), "broken"],
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
