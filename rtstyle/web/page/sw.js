// After the first visit the page works offline. `rtstyle web --export` puts FILES, the names of all files, and VERSION, their
// digest, in front of this.
//
// What the page always needs is kept at once, the rest when it is first loaded. Answers get the headers that threads of wasm
// need, which not every host sends.

const LATER = /jspi|asyncify|gpu/; // for WebGPU: only where the page loads them
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin" };
const scope = new URL(self.registration.scope);
const OURS = `rtstyle ${scope.pathname} `; // other pages of the host have caches too
const CACHE = OURS + VERSION;

// No skipWaiting: a page that is open goes on with the files of one version until it is closed
self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(forget().then(() => self.clients.claim())));

async function keep() {
  const cache = await caches.open(CACHE);
  const files = FILES.filter((file) => !LATER.test(file));
  await cache.addAll(files.map((file) => new Request(new URL(file, scope), { cache: "no-cache" })));
}

async function forget() {
  for (const name of await caches.keys()) if (name.startsWith(OURS) && name !== CACHE) await caches.delete(name);
}

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== scope.origin || !pathname.startsWith(scope.pathname)) return;
  const file = pathname.slice(scope.pathname.length) || "index.html";
  if (FILES.includes(file)) event.respondWith(answer(file));
});

async function answer(file) {
  const cache = await caches.open(CACHE);
  const url = new URL(file, scope).href;
  let response = await cache.match(url);
  if (!response) {
    response = await fetch(url, { cache: "no-cache" });
    if (response.ok) await cache.put(url, response.clone());
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
