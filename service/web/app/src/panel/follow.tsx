// A critical finding that waits to be acknowledged, and what follows a signed finding: both where one reads.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Problem, type Api } from "../api";
import { isoDay, noticesHere } from "../follow";
import type { FollowUp, FollowUps as Listed, Notice, Reading } from "../types";
import { day, knows, moment, named, t } from "../words";

const said = (error: unknown): string => {
  const code = error instanceof Problem ? error.code : "";
  return code && knows(`problems.${code}`) ? t(`problems.${code}`) : t("follow.failed");
};

/** Notices of the study that is read, and how many there are elsewhere. `bell.js` brings them. */
export function Notices({ api, reading, study, revealed }: { api: Api; reading: Reading; study: string; revealed: boolean }): JSX.Element | null {
  const [all, setAll] = useState<readonly Notice[]>([]);
  const [failed, setFailed] = useState("");
  useEffect(() => {
    const take = (event: Event) => setAll((event as CustomEvent<Notice[]>).detail);
    document.addEventListener("hoichan:notices", take);
    document.dispatchEvent(new Event("hoichan:ask"));
    return () => document.removeEventListener("hoichan:notices", take);
  }, []);
  const { here: every, elsewhere } = noticesHere(all, study);
  const here = every.filter((one) => revealed || one.confirmed || one.withdrawn); // who reads first is told nothing by the machine
  const acknowledge = async (number: number) => {
    try {
      await api.acknowledge(number);
      setFailed("");
    } catch (error) {
      setFailed(said(error));
    }
    document.dispatchEvent(new Event("hoichan:ask"));
  };
  if (!here.length && !elsewhere) return null;
  return (
    <div class="notices" role="region" aria-label={t("follow.notices")}>
      {here.map((one) => (
        <div key={one.number} class="notice-line" role="alert">
          <p>
            {t(one.withdrawn ? "follow.withdrawn" : one.confirmed ? "follow.doctor" : one.taken_back ? "follow.taken_back" : "follow.ai")} <b>{one.findings.map((names) => named(names)).join(", ")}</b> · {t("follow.since", { time: moment(one.born_at) })}
          </p>
          {reading.may.acknowledge && (
            <button type="button" class="small" onClick={() => void acknowledge(one.number)}>{t("follow.acknowledge")}</button>
          )}
        </div>
      ))}
      {elsewhere > 0 && <p class="notice-elsewhere"><a href="/notices">{t("follow.elsewhere", { n: elsewhere })}</a></p>}
      {failed && <p class="bad">{failed}</p>}
    </div>
  );
}

/** What follows: listed always, asked for once a signature stands. */
export function FollowUps({ api, reading, user }: { api: Api; reading: Reading; user: string }): JSX.Element | null {
  const [found, setFound] = useState<Listed | null>(null);
  const [failed, setFailed] = useState("");
  const load = () => void api.followUps().then(setFound, () => undefined);
  useEffect(load, []);
  if (!found || (!found.items.length && !(reading.may.follow_up && found.askable.length))) return null;
  const ask = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const fields = Object.fromEntries(new FormData(form)) as Record<string, string>;
    try {
      await api.askFollowUp(fields);
      form.reset();
      setFailed("");
    } catch (error) {
      setFailed(said(error));
    }
    load();
  };
  return (
    <section class="part follow" aria-labelledby="h-follow">
      <h2 id="h-follow">{t("follow.heading")}</h2>
      <ol>{found.items.map((one) => <Line key={one.number} one={one} />)}</ol>
      {reading.may.follow_up && found.askable.length > 0 && (
        <details open={found.items.length === 0}>
          <summary>{t("follow.new")}</summary>
          <form class="follow-form" onSubmit={(event) => void ask(event)}>
            <label><span>{t("follow.finding")}</span><select name="finding">{found.askable.map((one) => <option key={one.key} value={one.key}>{named(one.names, one.key)}</option>)}</select></label>
            <label><span>{t("follow.kind")}</span><select name="kind">{found.kinds.map((kind) => <option key={kind} value={kind}>{t(`follow.kinds.${kind}`)}</option>)}</select></label>
            <label><span>{t("follow.due_on")}</span><input type="date" name="due_on" required min={isoDay(new Date())} /></label>
            <label><span>{t("follow.owner")}</span><select name="owner" required>{found.owners.map((one) => <option key={one.user_name} value={one.user_name} selected={one.user_name === user}>{one.display_name} ({one.user_name})</option>)}</select></label>
            <label class="wide"><span>{t("follow.words")}</span><input name="words" maxLength={500} autocomplete="off" /></label>
            <button type="submit" class="small">{t("follow.save")}</button>
          </form>
        </details>
      )}
      {failed && <p class="bad" role="alert">{failed}</p>}
    </section>
  );
}

function Line({ one }: { one: FollowUp }): JSX.Element {
  return (
    <li class={one.is_overdue ? "is-late" : ""}>
      <b>{t(`follow.kinds.${one.kind}`)}</b> · {named(one.finding_names, one.finding)} · {t("follow.due", { day: day(one.due_on) })}
      {one.is_overdue && <b class="bad"> {t("follow.late")}</b>} · {one.owner}{one.state === "open" && !one.owner_may && <b class="bad"> ({t("follow.owner_gone")})</b>} · {t(`follow.states.${one.state}`)}
      {one.state === "open" && !one.finding_stands && <b class="bad"> · {t("follow.gone")}</b>}
      {one.words && <span> · {one.words}</span>}
      {one.outcome && <span> · {one.outcome}</span>}
    </li>
  );
}
