// Types of service/web/static/archive.js, which browsers load as it is.

declare module "*/static/archive.js" {
  export class ArchiveProblem extends Error {}
  export function partsOf(blob: Blob): Promise<{ name: string; size: number; open: () => Promise<Blob> }[]>;
  export function isWanted(name: string): boolean;
  export function verdict(status: number, answer: unknown): [string, boolean];
}
