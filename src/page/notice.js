// Short messages at the edge of the page, and the one that says that the daemon is gone.

import { trouble } from "./api.js";
import { $, button, fill, h } from "./dom.js";
import { news, tryNow } from "./events.js";
import { sentence } from "./format.js";

const SHOWN_MS = 4500;

export function say(text, { error = false } = {}) {
  const notice = h("p", { class: error ? "notice error" : "notice" }, text);
  // A dialog is drawn above everything else of the page, so what is said while it is open belongs into it.
  ($("dialog[open] .notices") ?? $("#notices")).append(notice);
  setTimeout(() => notice.remove(), error ? 2 * SHOWN_MS : SHOWN_MS);
}

/// What went wrong, in the daemon's words; nothing where the page gave up by itself or the banner says it already.
export function sayProblem(error) {
  if (error.name === "AbortError" || error.status === 0) return;
  if (error.status === undefined) console.error(error);
  say(sentence(error.message), { error: true });
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    say(`The browser does not let the page copy: ${text}`, { error: true });
  }
}

export function watchConnection() {
  const banner = $("#offline");
  news.addEventListener("lost", () => {
    fill(banner, h("span", { class: "pulse", "aria-hidden": "true" }),
      h("span", {}, "clipseek does not answer. Trying again until it does."),
      button(null, "", tryNow, { text: "Try now" }));
    banner.hidden = false;
  });
  news.addEventListener("back", () => {
    banner.hidden = true;
    say("clipseek is back");
  });
  trouble.addEventListener("locked", () => {
    fill(banner, h("span", {}, "clipseek wants to know who you are: open the link that it printed at its start. ",
      h("code", {}, "clipseek token link"), " makes another."));
    banner.hidden = false;
  });
}
