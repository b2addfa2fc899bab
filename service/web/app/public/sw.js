// Keeps the app's own files, so that the page begins without a line; never a study, a picture or a list.

const CACHE = "hoichan-shell-1";
const OFFLINE = { vi: "/static/app/offline.vi.html", en: "/static/app/offline.en.html" };
const FOR_EVER = /^\/static\/app\/assets\//; // their names hold their hash
const SHELL = /^\/static\/(app\/words\/|tokens\.css|page\.css|favicon\.svg)/; // asked for anew where there is a line
const MOST = 60; // files; older ones of other versions go first

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...Object.values(OFFLINE), "/static/tokens.css", "/static/page.css"])));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter((name) => name.startsWith("hoichan-") && name !== CACHE).map((name) => caches.delete(name)))));
});

async function shell(request, first) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept && first) return kept;
  let answer;
  try {
    answer = await fetch(request);
  } catch {
    return kept ?? Response.error();
  }
  if (answer.status === 200) {
    await cache.put(request, answer.clone());
    const keys = await cache.keys();
    for (const old of keys.slice(0, Math.max(0, keys.length - MOST))) await cache.delete(old);
  }
  return answer;
}

async function page(request) {
  try {
    return await fetch(request);
  } catch {
    const language = (self.navigator?.language ?? "vi").startsWith("vi") ? "vi" : "en";
    return (await caches.match(OFFLINE[language])) ?? Response.error();
  }
}

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (event.request.method !== "GET" || address.origin !== self.location.origin) return;
  if (FOR_EVER.test(address.pathname)) event.respondWith(shell(event.request, true));
  else if (SHELL.test(address.pathname)) event.respondWith(shell(event.request, false));
  else if (event.request.mode === "navigate") event.respondWith(page(event.request));
});
