// Keeps a page current: asks the API with the tag of what is shown, and when the answer differs takes
// over the changed parts of the page as the server writes it. The reader's place does not move.

const POLL_MS = 4000;
const AGE_MS = 20000;
const body = document.body;
const live = document.querySelector("[data-live-state]");
let tag = body.dataset.etag;
let timer = 0;

function keepAges() {
  const words = JSON.parse(body.dataset.ageWords);
  for (const element of document.querySelectorAll("time[data-age]")) {
    const minutes = Math.floor((Date.now() - Date.parse(element.dateTime)) / 60000);
    const [key, n] =
      minutes < 1 ? ["now", 0]
      : minutes < 60 ? ["minutes", minutes]
      : minutes < 1440 ? ["hours", Math.floor(minutes / 60)]
      : ["days", Math.floor(minutes / 1440)];
    const text = words[key].replace("{n}", n);
    if (element.textContent !== text) element.textContent = text;
  }
}

function tell(fresh) {
  if (!live) return;
  live.classList.toggle("is-stale", !fresh);
  const text = live.querySelector("span");
  const words = fresh ? live.dataset.fresh : live.dataset.stale;
  if (text.textContent !== words) text.textContent = words;
}

// What a part says, without its ages: they run by themselves and are no change.
function content(element) {
  const copy = element.cloneNode(true);
  for (const age of copy.querySelectorAll("time[data-age]")) age.textContent = "";
  copy.classList.remove("is-new");
  return copy.outerHTML;
}

function takeRows(shown, fresh) {
  const before = new Map([...shown.children].map((row) => [row.dataset.key, row]));
  const rows = [...fresh.children].map((row) => {
    const old = before.get(row.dataset.key);
    if (old && content(old) === content(row)) return old;
    if (!old && before.size) row.classList.add("is-new");
    return document.adoptNode(row);
  });
  const kept = new Set(rows);
  for (const row of [...shown.children]) if (!kept.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (shown.children[index] !== row) shown.insertBefore(row, shown.children[index] ?? null);
  });
}

function takePart(shown, fresh) {
  if (content(shown) === content(fresh)) return;
  if (fresh.querySelector(":scope > [data-key]")) takeRows(shown, fresh);
  else shown.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
}

// The first row that is in sight, and how far from the top: it stands there again afterwards.
function anchor() {
  for (const row of document.querySelectorAll("[data-key]")) {
    const top = row.getBoundingClientRect().top;
    if (top >= 0 && top < innerHeight) return { key: row.dataset.key, top };
  }
  return null;
}

function restore(place) {
  if (!place || scrollY === 0) return;
  const row = document.querySelector(`[data-key="${CSS.escape(place.key)}"]`);
  if (row) scrollBy({ top: row.getBoundingClientRect().top - place.top, behavior: "instant" });
}

async function takeOver() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Hoichan-Poll": "1" } });
  if (answer.redirected) return location.reload(); // signed out: nobody's data stays on the screen
  if (!answer.ok) throw new Error(String(answer.status));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const place = anchor();
  const focused = document.activeElement?.id;
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const shown = document.getElementById(fresh.id);
    if (shown) takePart(shown, fresh);
  }
  restore(place);
  if (focused && document.activeElement?.id !== focused) {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
  document.getElementById("said").textContent = body.dataset.said;
  return page.body.dataset.etag;
}

async function poll() {
  clearTimeout(timer);
  try {
    const answer = await fetch(body.dataset.poll, { headers: { "If-None-Match": tag, "X-Hoichan-Poll": "1" }, cache: "no-store" });
    if (answer.status === 401) return location.reload();
    if (answer.status === 200) tag = await takeOver();
    else if (answer.status !== 304) throw new Error(String(answer.status));
    tell(true);
    const clock = document.querySelector("[data-clock]");
    if (clock) clock.textContent = new Date(answer.headers.get("Date") ?? Date.now()).toLocaleTimeString("en-GB", { timeZone: clock.dataset.zone });
  } catch {
    tell(false);
  }
  timer = setTimeout(poll, POLL_MS);
}

if (body.dataset.poll) {
  timer = setTimeout(poll, POLL_MS);
  setInterval(keepAges, AGE_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else poll();
  });
}
