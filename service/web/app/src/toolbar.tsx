// The tools beside the picture (below it on a phone), with the keys they stand for.

import type { JSX } from "preact";

import { Icon, type Sign } from "./icons";
import { KEYS, type Deed } from "./keys";
import type { Tool } from "./viewer/view";
import { presetsOf } from "./window";
import { t } from "./words";

const TOOLS: readonly { tool: Tool; sign: Sign; deed: Deed }[] = [
  { tool: "window", sign: "window", deed: "tool_window" },
  { tool: "zoom", sign: "zoom", deed: "tool_zoom" },
  { tool: "pan", sign: "pan", deed: "tool_pan" },
  { tool: "length", sign: "length", deed: "tool_length" },
  { tool: "ratio", sign: "ratio", deed: "tool_ratio" },
];
const DEEDS: readonly { deed: Deed; sign: Sign }[] = [
  { deed: "invert", sign: "invert" },
  { deed: "rotate", sign: "rotate" },
  { deed: "flip", sign: "flip" },
  { deed: "overlay", sign: "overlay" },
  { deed: "reset", sign: "reset" },
];

export interface ToolbarProps {
  tool: Tool;
  modality: string;
  pressed: Partial<Record<Deed, boolean>>;
  priors: boolean;
  run: (deed: Deed, key?: string) => void;
}

const keyOf = (deed: Deed): string => KEYS.find((one) => one.deed === deed)?.keys[0]?.toUpperCase() ?? "";

export function Toolbar({ tool, modality, pressed, priors, run }: ToolbarProps): JSX.Element {
  const button = (deed: Deed, sign: Sign, isOn?: boolean) => (
    <button key={deed} type="button" class="tool" aria-pressed={isOn} aria-label={t(`keys.${deed}`)} title={`${t(`keys.${deed}`)} (${keyOf(deed)})`} onClick={() => run(deed)}>
      <Icon of={sign} />
    </button>
  );
  return (
    <div class="tools" role="toolbar" aria-label={t("viewer.tools")}>
      {TOOLS.map((one) => button(one.deed, one.sign, tool === one.tool))}
      <select class="tool preset" aria-label={t("viewer.presets")} title={t("viewer.presets")} value="" onChange={(event) => (run("preset", event.currentTarget.value), (event.currentTarget.value = ""))}>
        <option value="">1–9</option>
        {presetsOf(modality).map((one, n) => (
          <option key={one.name} value={String(n + 1)}>{`${n + 1} ${t(`presets.${one.name}`)}`}</option>
        ))}
      </select>
      {DEEDS.map((one) => button(one.deed, one.sign, pressed[one.deed]))}
      {priors && button("prior", "prior", pressed.prior)}
      {priors && pressed.prior && button("link", "link", pressed.link)}
      {button("help", "help")}
    </div>
  );
}
