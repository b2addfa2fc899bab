// The words of `GET /api/v1/studies/{uid}/reading` and of the draft. Coordinates are (column, row) of the
// stored image, counted from the left upper corner of its first pixel.

export type Language = "vi" | "en";
export type Named = Partial<Record<Language, string>>;
export type Laterality = "left" | "right" | "bilateral";
export type Verdict = "accepted" | "rejected" | "edited" | "added";
export type SectionKey = "description" | "conclusion" | "recommendation" | "comparison";
export type Sections = Record<SectionKey, string>;

export interface Box {
  sop_instance_uid: string;
  column: number;
  row: number;
  width: number;
  height: number;
}

export interface Finding {
  id: string;
  key: string;
  names: Named;
  presence: "present" | "absent" | "indeterminate";
  probability: number | null;
  operating_point: number | null;
  tier: string | null;
  algorithm_name: string;
  algorithm_version: string;
  sop_instance_uid: string;
  boxes: Box[];
  heatmap: string | null;
}

export interface Instance {
  sop_instance_uid: string;
  sop_class_uid: string;
  transfer_syntax_uid: string;
  instance_number: number | null;
  frames: number;
  rows: number | null;
  columns: number | null;
  scorable: boolean;
}

export interface Series {
  series_uid: string;
  modality: string;
  series_number: number | null;
  series_description: string | null;
  body_part: string | null;
  view_position: string | null;
  laterality: string | null;
  instances: Instance[];
}

export interface Prior {
  study_uid: string;
  study_datetime: string | null;
  description: string | null;
  modalities: string[];
  series: Series[];
}

export interface Judgement {
  finding_id: string | null;
  key: string;
  verdict: Verdict;
  reason: string;
  laterality: Laterality | null;
  site: string | null;
  size_mm: number | null;
  text: string;
  boxes: Box[];
}

/** A volume that the machine measured; no reference by age or sex exists for it. */
export interface Measured {
  id: string;
  display: Named;
  code: string;
  value: number;
  unit: string;
  note: Named;
  series_instance_uid: string;
}

export interface VolumeJudgement {
  measurement_id: string;
  verdict: Exclude<Verdict, "added">;
  value_ml: number | null; // null of a rejection
  reason: string;
}

export interface Draft {
  carried_over?: boolean; // written about a former result: kept anew before it is signed
  report_uid?: string; // that was read
  version: number;
  judgements: Judgement[];
  sections: Partial<Sections>;
  volumes?: VolumeJudgement[];
  seconds_spent: number;
  updated_at?: string;
  author?: string;
}

export interface Lock {
  reader: string;
  since: string;
  mine?: boolean;
}

/** What stands at the service, told with each renewal of the lock. */
export interface TakenLock extends Lock {
  whose: string;
  last_signed: string;
  report_uid: string | null;
  taken_back: boolean;
}

export interface Signed {
  report_uid: string;
  status: string;
  reviewer: string; // account
  reviewer_name: string;
  licence_number: string;
  signed_at: string;
  content_sha256: string;
  kind: "final" | "amendment" | "addendum" | "withdrawal";
  reason: string;
  judgements: Judgement[];
  sections: Partial<Sections>;
  volumes?: VolumeJudgement[];
}

/** What of a draft the reader writes. */
export type Content = Pick<Draft, "judgements" | "sections" | "volumes">;

export interface Site {
  key: string;
  names: Named;
}

export interface FindingChoice {
  key: string;
  names: Named;
  tier: string | null;
  sites: Site[];
}

export interface Template {
  key: string;
  names: Named;
  sections: Partial<Sections>;
}

export interface Reading {
  study: {
    study_uid: string;
    revision: number;
    whose: string; // changes with the person
    patient: { name: string; patient_id: string; birth_date: string | null; sex: string | null; age_years: number | null };
    accession_number: string | null;
    study_datetime: string | null;
    study_description: string | null;
    sender: string | null;
    urgency: string | null;
    state: string;
  };
  report: null | {
    report_uid: string;
    status: string;
    outcome: string;
    taken_back?: boolean;
    disclaimer: Named;
    conclusion: Named;
    created_at: string;
    models: { name: string; version: string; digest: string }[];
    refusals: { code: string; text: Named; algorithm_name: string | null }[];
    measurements?: Measured[];
  };
  findings: Finding[];
  images: Series[];
  priors: Prior[];
  lock: Lock | null;
  mine: boolean;
  draft: Draft | null;
  history: Signed[];
  templates: Template[];
  finding_choices: FindingChoice[];
  rejection_reasons: { key: string; names: Named }[];
  settings: { read_first: boolean; sign_needs: string };
  may: { review: boolean; sign: boolean; acknowledge: boolean; follow_up: boolean };
}

export interface Notice {
  number: number;
  study_instance_uid: string;
  confirmed: boolean; // false: the machine's word alone
  withdrawn: boolean; // what was told of does not stand any more: there are no findings
  taken_back: boolean; // the image archive rejected the machine's result
  findings: Named[];
  born_at: string;
}

export interface FollowUp {
  number: number;
  finding: string;
  finding_names: Named;
  kind: string;
  words: string;
  owner: string;
  owner_may: boolean; // false: the account was closed, or sees no studies any more
  due_on: string;
  is_overdue: boolean;
  finding_stands: boolean; // false: the signed report does not hold it any more
  state: string;
  outcome: string;
}

export interface FollowUps {
  items: FollowUp[];
  owners: { user_name: string; display_name: string }[];
  askable: { key: string; names: Named }[]; // of the signed report that stands
  kinds: string[];
}
