// After the first visit the page works offline. `rtstyle web --export` puts FILES, the SHA-256 of all files (base64) by their
// names, and VERSION, their common digest, in front of this.
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
  const files = Object.keys(FILES).filter((file) => !LATER.test(file));
  await Promise.all(
    files.map(async (file) => {
      const response = await load(file);
      if (!(await isOurs(file, response))) throw new Error(`${file} is not of this version`); // the next visit tries again
      await cache.put(new URL(file, scope), response);
    }),
  );
}

function load(file) {
  return fetch(new URL(file, scope), { cache: "no-cache" });
}

/** Whether a response has a file as it is in this version: while a page is uploaded, a host has files of two. */
async function isOurs(file, response) {
  const digest = await crypto.subtle.digest("SHA-256", await response.clone().arrayBuffer());
  return btoa(String.fromCharCode(...new Uint8Array(digest))) === FILES[file];
}

async function forget() {
  for (const name of await caches.keys()) if (name.startsWith(OURS) && name !== CACHE) await caches.delete(name);
}

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== scope.origin || !pathname.startsWith(scope.pathname)) return;
  const file = pathname.slice(scope.pathname.length) || "index.html";
  if (Object.hasOwn(FILES, file)) event.respondWith(answer(file));
});

async function answer(file) {
  const cache = await caches.open(CACHE);
  const url = new URL(file, scope).href;
  let response = await cache.match(url);
  if (!response) {
    response = await load(file);
    if (await isOurs(file, response)) await cache.put(url, response.clone()).catch(() => {}); // where the disk is full
  }
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
