// Motion that explains: what stays moves to its new place, what is new rises, a picture grows into the player.

import { calm } from "./dom.js";

const EASE = "cubic-bezier(.2, .8, .2, 1)";
const LENGTH = 260;

/// Puts `items` into `list` in place of what is in it.
export function rearrange(list, items) {
  const before = new Map();
  if (!calm()) for (const item of list.children) if (inSight(item)) before.set(item, item.getBoundingClientRect());
  place(list, items);
  if (calm()) return;
  let late = 0;
  for (const item of items) {
    const now = item.getBoundingClientRect();
    if (now.top > innerHeight) break;
    const was = before.get(item);
    if (!was) {
      const [from, to] = [{ opacity: 0, transform: "translateY(12px)" }, { opacity: 1, transform: "none" }];
      item.animate([from, to], { duration: LENGTH, easing: EASE, delay: 14 * late++, fill: "backwards" });
    } else if (was.left !== now.left || was.top !== now.top) {
      const from = { transform: `translate(${was.left - now.left}px, ${was.top - now.top}px)` };
      item.animate([from, { transform: "none" }], { duration: LENGTH, easing: EASE });
    }
  }
}

/// Touches only what is not at its place yet: an element that is taken out loses the focus, and stops playing.
function place(list, items) {
  const wanted = new Set(items);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  let next = list.firstChild;
  for (const item of items) {
    if (item === next) next = next.nextSibling;
    else list.insertBefore(item, next);
  }
}

/// Makes a change, and lets `element` go from where it was to where it is.
export function moving(element, change) {
  const before = element.getBoundingClientRect();
  change();
  const now = element.getBoundingClientRect();
  if (calm() || (before.left === now.left && before.top === now.top)) return;
  const from = { transform: `translate(${before.left - now.left}px, ${before.top - now.top}px)` };
  element.animate([from, { transform: "none" }], { duration: LENGTH, easing: EASE });
}

function inSight(item) {
  const { top, bottom } = item.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

/// Lets `element` grow from where `origin` is.
export function growFrom(element, origin) {
  if (calm() || !origin?.isConnected) return;
  const [from, to] = [origin.getBoundingClientRect(), element.getBoundingClientRect()];
  if (!from.width || !to.width) return;
  const scale = Math.max(from.width / to.width, 0.05);
  const [x, y] = [from.left + from.width / 2 - to.left - to.width / 2, from.top + from.height / 2 - to.top - to.height / 2];
  element.animate([{ transform: `translate(${x}px, ${y}px) scale(${scale})`, opacity: 0.4 }, { transform: "none", opacity: 1 }],
    { duration: LENGTH + 60, easing: EASE });
}
