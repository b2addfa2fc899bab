// The three verdicts of a reader on what a machine says: a finding or a volume.

import type { JSX } from "preact";

import { Icon } from "../icons";
import { t } from "../words";

interface VerbsProps {
  name: string; // of what is judged
  verdict: string;
  accept: () => void;
  reject: () => void;
  edit: () => void;
}

export function Verbs({ name, verdict, accept, reject, edit }: VerbsProps): JSX.Element {
  return (
    <div class="verbs" role="group" aria-label={`${t("findings.verdict")}: ${name}`}>
      <button type="button" class="verb verb-accept" aria-pressed={verdict === "accepted"} onClick={accept}>
        <Icon of="check" /> {t("verbs.accept")}
      </button>
      <button type="button" class="verb verb-reject" aria-pressed={verdict === "rejected"} onClick={reject}>
        <Icon of="cross" /> {t("verbs.reject")}
      </button>
      <button type="button" class="verb" aria-pressed={verdict === "edited"} onClick={edit}>
        <Icon of="pencil" /> {t("verbs.edit")}
      </button>
    </div>
  );
}
