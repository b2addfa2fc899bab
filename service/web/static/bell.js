// Critical findings that nobody has acknowledged: a number in the tab's title, a line on the page, a sound for
// a new one. The sound is the reader's to switch off; the browser keeps that choice, and the numbers of the
// notices that were heard, nothing else.

const POLL_MS = 20000;
const SOUND = "hoichan.sound";
const HEARD = "hoichan.heard";
const host = document.querySelector("[data-bell]");
const title = document.title;
let owed = null; // numbers whose sound the browser did not allow before the first touch

function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing rings once more
  }
}

const isOn = () => kept(SOUND, host.dataset.sound === "on");

// `numbers`: of the notices it rings for; they count as heard once it has rung, on whichever page that is.
async function ring(numbers = null) {
  const heard = () => numbers && keep(HEARD, numbers);
  if (!isOn()) return heard();
  const audio = new AudioContext();
  if (audio.state === "suspended") {
    owed = numbers;
    return audio.close();
  }
  heard();
  for (const [at, pitch] of [[0, 880], [0.22, 660], [0.44, 880]]) {
    const tone = new OscillatorNode(audio, { type: "sine", frequency: pitch });
    const volume = new GainNode(audio, { gain: 0 });
    const start = audio.currentTime + at;
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(0.2, start + 0.02);
    volume.gain.linearRampToValueAtTime(0, start + 0.18);
    tone.connect(volume).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 0.2);
  }
  document.documentElement.dataset.rang = String(Number(document.documentElement.dataset.rang ?? 0) + 1);
  setTimeout(() => void audio.close(), 1500);
}

function show(items) {
  document.title = items.length ? `(${items.length}) ${title}` : title;
  const line = host.querySelector("[data-bell-line]");
  if (line) {
    line.hidden = items.length === 0;
    line.querySelector("b").textContent = items.length;
  }
  const heard = new Set(kept(HEARD, []));
  const numbers = items.map((one) => one.number);
  owed = null;
  if (numbers.some((number) => !heard.has(number))) void ring(numbers);
  else keep(HEARD, numbers);
  showSwitch();
  document.dispatchEvent(new CustomEvent("hoichan:notices", { detail: items }));
}

async function poll() {
  try {
    const answer = await fetch("/api/v1/notices", { headers: { Accept: "application/json", "X-Hoichan-Poll": "1" }, cache: "no-store" });
    if (answer.ok) show((await answer.json()).items);
  } catch {
    // without a line the page says so elsewhere
  }
}

function showSwitch() {
  for (const button of document.querySelectorAll("[data-bell-switch]")) {
    button.setAttribute("aria-pressed", String(isOn()));
    const text = isOn() ? button.dataset.on : button.dataset.off;
    button.setAttribute("aria-label", text);
    button.title = text;
  }
}

if (host) {
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-bell-switch]")) return;
    keep(SOUND, !isOn());
    showSwitch();
    void ring();
  });
  for (const touch of ["pointerdown", "keydown"]) {
    addEventListener(touch, () => {
      if (!owed) return;
      const numbers = owed;
      owed = null;
      void ring(numbers);
    });
  }
  document.addEventListener("hoichan:ask", poll);
  document.addEventListener("visibilitychange", () => !document.hidden && poll());
  showSwitch();
  void poll();
  setInterval(poll, POLL_MS);
}
