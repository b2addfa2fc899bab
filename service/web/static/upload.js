// Sends what a person drops or chooses, three objects at a time, and says of each file what became of it.
// Names of files stay on this page: they may hold a patient's.

import { ArchiveProblem, isWanted, partsOf, verdict } from "./archive.js";

const AT_ONCE = 3;
const TRIES = 3;
const PAUSE_MS = 2000;
const MOST_LINES = 500; // of good news; what failed is always listed
const form = document.querySelector("[data-upload]");
const words = JSON.parse(form.dataset.words);
const list = document.querySelector("#uploaded");
const meter = document.querySelector("#upload-progress");
const total = document.querySelector("#upload-total");
const queue = [];
const counts = { waiting: 0, stored: 0, failed: 0, skipped: 0 };
const batch = Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join(""); // what this page sends belongs together
let working = 0;

function show() {
  const done = counts.stored + counts.failed;
  meter.hidden = !(done + counts.waiting);
  meter.max = done + counts.waiting || 1;
  meter.value = done;
  total.textContent = words.total.replace("{stored}", counts.stored).replace("{failed}", counts.failed).replace("{waiting}", counts.waiting).replace("{skipped}", counts.skipped);
}

function tell(name, key, bad) {
  if (!bad && list.children.length >= MOST_LINES) return;
  const line = document.createElement("li");
  line.className = bad ? "is-bad" : "is-good";
  const file = document.createElement("bdi");
  file.textContent = name;
  const text = document.createElement("span");
  text.textContent = words[key] ?? words.refused;
  line.append(file, " · ", text);
  if (bad) list.prepend(line);
  else list.append(line);
}

function add(name, open) {
  if (!isWanted(name)) {
    counts.skipped += 1;
    return;
  }
  queue.push({ name, open });
  counts.waiting += 1;
}

async function take(file, name = file.webkitRelativePath || file.name) {
  if (!/\.zip$/i.test(name)) return add(name, async () => file);
  try {
    for (const part of await partsOf(file)) add(`${name}/${part.name}`, part.open);
  } catch (error) {
    counts.failed += 1;
    tell(name, error instanceof ArchiveProblem ? `zip_${error.message}` : "refused", true);
  }
}

async function walk(entry) {
  if (entry.isFile) return take(await new Promise((done, failed) => entry.file(done, failed)), entry.fullPath.slice(1));
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const one of some) await walk(one);
  }
}

async function send(blob) {
  const boundary = crypto.getRandomValues(new Uint32Array(4)).join("");
  const head = `--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`;
  try {
    const answer = await fetch("/upload/studies", {
      method: "POST",
      headers: { "Content-Type": `multipart/related; type="application/dicom"; boundary=${boundary}`, Accept: "application/dicom+json", "X-CSRF-Token": form.dataset.token, "X-Upload-Batch": batch },
      body: new Blob([head, blob, `\r\n--${boundary}--\r\n`]),
    });
    return verdict(answer.status, await answer.json().catch(() => null));
  } catch {
    return verdict(0, null);
  }
}

async function one({ name, open }) {
  let key = "refused";
  let again = true;
  try {
    const blob = await open();
    for (let attempt = 1; again && attempt <= TRIES; attempt += 1) {
      if (attempt > 1) await new Promise((done) => setTimeout(done, PAUSE_MS * attempt));
      [key, again] = await send(blob);
    }
  } catch (error) {
    key = error instanceof ArchiveProblem ? `zip_${error.message}` : "unreadable";
  }
  counts.waiting -= 1;
  counts[key === "stored" ? "stored" : "failed"] += 1;
  tell(name, key, key !== "stored");
  show();
}

async function work() {
  show();
  while (working < AT_ONCE && queue.length) {
    working += 1;
    void one(queue.shift()).finally(() => {
      working -= 1;
      void work();
    });
  }
}

async function takeAll(files) {
  for (const file of files) await take(file);
  void work();
}

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => void takeAll([...input.files]).then(() => (input.value = "")));
}
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    form.classList.add("is-over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || form.classList.remove("is-over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  form.classList.remove("is-over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  for (const entry of entries) await walk(entry).catch(() => tell(entry.name, "unreadable", true));
  void work();
});
addEventListener("beforeunload", (event) => counts.waiting && event.preventDefault());
