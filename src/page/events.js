// News of the daemon as they come, and whether it is there at all. A lost daemon is called again for ever; views hear
// `lost` and `back`, and ask anew when it is back.

import { alive, trouble } from "./api.js";

/// Events of `/v1/events` by their name, with what they say in `detail`, and `lost` and `back`.
export const news = new EventTarget();

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;

let stream = null;
let isLost = false;
/// Nobody without a token is told anything, so there is nothing to try.
let isLocked = false;
let wait = FIRST_WAIT;
let timer;

export function listen() {
  stream?.close();
  stream = new EventSource("/v1/events");
  stream.onopen = found;
  stream.onmessage = (message) => {
    const { event, ...detail } = JSON.parse(message.data);
    // `lost` of the stream says how many events were left out: whoever counts should ask again.
    tell(event === "lost" ? "missed" : event, detail);
  };
  stream.onerror = missing;
}

/// Calls `then` with each of these events until `signal` is aborted.
export function on(names, then, signal) {
  for (const name of names) news.addEventListener(name, (event) => then(event.detail, name), { signal });
}

export function tell(name, detail) {
  news.dispatchEvent(new CustomEvent(name, { detail }));
}

function found() {
  wait = FIRST_WAIT;
  if (!isLost) return;
  isLost = false;
  tell("back");
}

function missing() {
  // The browser would call again by itself, but gives up after some answers, and says nothing of when.
  stream.close();
  if (isLocked) return;
  if (!isLost) {
    isLost = true;
    tell("lost", {});
  }
  later();
}

function later() {
  clearTimeout(timer);
  if (isLocked) return;
  timer = setTimeout(again, wait);
  wait = Math.min(wait * 1.6, LONGEST_WAIT);
}

function again() {
  alive().then(listen, later);
}

export function tryNow() {
  wait = FIRST_WAIT;
  clearTimeout(timer);
  again();
}

// A request without an answer may know it before the stream does.
trouble.addEventListener("lost", () => {
  if (!isLost && stream) missing();
});
trouble.addEventListener("locked", () => (isLocked = true));
addEventListener("online", () => isLost && tryNow());
document.addEventListener("visibilitychange", () => !document.hidden && isLost && tryNow());
