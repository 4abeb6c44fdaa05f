// Where the reader is. Going somewhere changes the address, and everything shown follows the address.

import { read, write } from "./url.js";

let asked = read(location);
let follow = () => {};

export const now = () => asked;

/// `then(asked, before)` is called for every change of the address, the back button included.
export function start(then) {
  follow = then;
  addEventListener("popstate", () => arrive(read(location)));
  follow(asked, null);
}

/// `replace`: the back button does not return to where the reader is now.
export function go(next, { replace = false } = {}) {
  const address = write(next);
  const isSame = address === write(asked);
  if (isSame || replace) history.replaceState(history.state, "", address);
  else history.pushState({ isOurs: true }, "", address);
  arrive(read(location));
}

/// Back if that stays on this page, else on to `next`.
export function back(next) {
  if (history.state?.isOurs) history.back();
  else go(next, { replace: true });
}

function arrive(next) {
  const before = asked;
  asked = next;
  follow(asked, before);
}

/// Follows a link inside of the page without loading it anew.
export function followLinks(event) {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || link.hasAttribute("download") || link.target || event.defaultPrevented) return;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (url.pathname !== "/") return;
  event.preventDefault();
  go(read(url));
}
