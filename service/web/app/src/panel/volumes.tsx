// The volumes that a machine measured: confirmed, corrected or rejected. Without a verdict they are in no signed report.

import type { JSX } from "preact";

import type { Desk } from "../desk";
import { reweighed, weighed } from "../judgements";
import type { Measured, Reading, VolumeJudgement } from "../types";
import { decimal, named, t } from "../words";
import { Reason, reasonText } from "./reason";
import { Verbs } from "./verbs";

interface VolumesProps {
  reading: Reading;
  desk: Desk;
  chosen: string;
  choose: (id: string) => void;
  editing: string;
  edit: (id: string) => void;
}

export function Volumes(props: VolumesProps): JSX.Element | null {
  const measured = props.reading.report?.measurements ?? [];
  if (!measured.length) return null;
  const series = [...new Set(measured.map((one) => one.series_instance_uid))];
  return (
    <section class="measured" aria-labelledby="h-volumes">
      <h3 id="h-volumes">{t("volumes.heading")}</h3>
      <ul class="cards">
        {measured.map((one) => (
          <Volume key={one.id} {...props} measured={one} place={series.length > 1 ? ` (${t("volumes.series", { n: series.indexOf(one.series_instance_uid) + 1 })})` : ""} />
        ))}
      </ul>
      <p class="hint">{named(measured[0]?.note)}</p>
    </section>
  );
}

function Volume({ reading, desk, chosen, choose, editing, edit, measured, place }: VolumesProps & { measured: Measured; place: string }): JSX.Element {
  const said = desk.volumes.find((one) => one.measurement_id === measured.id);
  const verdict = said?.verdict ?? "open";
  const name = `${named(measured.display, measured.code)}${place}`;
  const weigh = (to: VolumeJudgement["verdict"]) => {
    const isBack = said?.verdict === to;
    desk.weigh((all) => weighed(all, measured, to));
    edit(to === "accepted" || isBack ? "" : measured.id);
  };
  const say = (change: Partial<VolumeJudgement>) => desk.weigh((all) => reweighed(all, measured.id, change));
  const isOpen = editing === measured.id && reading.may.review;
  return (
    <li class={`card-finding is-${verdict}${chosen === measured.id ? " is-chosen" : ""}`} data-volume={measured.id} onClick={() => choose(measured.id)}>
      <div class="card-head">
        <h4>{name}</h4>
        <span class="score">{decimal(measured.value)} {measured.unit}</span>
      </div>
      <p class="verdict">
        {t(`volumes.${verdict}`)}
        {said?.verdict === "edited" && said.value_ml !== null ? `: ${decimal(said.value_ml)} ${measured.unit}` : ""}
        {said?.verdict === "rejected" && said.reason ? `: ${reasonText(said.reason, reading)}` : ""}
      </p>
      {reading.may.review && <Verbs name={name} verdict={verdict} accept={() => weigh("accepted")} reject={() => weigh("rejected")} edit={() => (verdict === "edited" ? edit(isOpen ? "" : measured.id) : weigh("edited"))} />}
      {said?.verdict === "rejected" && isOpen && <Reason reason={said.reason} say={(reason) => say({ reason })} reasons={reading.rejection_reasons} done={() => edit("")} />}
      {said?.verdict === "edited" && isOpen && (
        <fieldset class="form">
          <legend>{t("volumes.own")}</legend>
          <label>
            {t("volumes.value", { unit: measured.unit })}
            <input type="number" min="0.01" max="99999" step="0.01" inputMode="decimal" value={said.value_ml ?? ""} onInput={(event) => event.currentTarget.valueAsNumber > 0 && say({ value_ml: event.currentTarget.valueAsNumber })} />
          </label>
          <button type="button" class="small" onClick={() => edit("")}>{t("done")}</button>
        </fieldset>
      )}
    </li>
  );
}
