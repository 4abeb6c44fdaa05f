// Streams bring windows all the time, of which no event tells. As long as their frames come, whoever listens for `stored`
// hears of it.

import { sources } from "./api.js";
import { on, tell } from "./events.js";

const EVERY_MS = 4000;

let timer;
/// Frames of each stream when it was looked at.
let seen = new Map();

export function watchStreams() {
  on(["source", "back"], look);
  document.addEventListener("visibilitychange", () => !document.hidden && look());
  look();
}

async function look() {
  clearTimeout(timer);
  try {
    const streams = (await sources()).sources.filter(({ kind }) => kind === "stream");
    for (const { name, frames } of streams) {
      if (seen.has(name) && frames > seen.get(name)) tell("stored", { source: name });
    }
    seen = new Map(streams.map(({ name, frames }) => [name, frames]));
  } catch {
    // Lost: it begins again when the daemon is back.
    return;
  }
  // Nobody looks at a page that is hidden, and without a stream there is nothing to wait for.
  clearTimeout(timer);
  if (seen.size && !document.hidden) timer = setTimeout(look, EVERY_MS);
}
