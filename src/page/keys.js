// The keyboard: `/` to the field, arrows over the wall, and a list of all keys.

import { clip, makeClip } from "./api.js";
import { $, button, fill, h } from "./dom.js";
import { focusField } from "./ask.js";
import { moments } from "./found.js";
import { say, sayProblem } from "./notice.js";
import { go, now } from "./router.js";
import { similar, spanOf } from "./tile.js";

const PATIENCE_MS = 700;

const KEYS = [
  ["/", "type what happens"],
  ["↓", "from the field to the moments"],
  ["← ↑ → ↓", "from moment to moment"],
  ["Enter", "play"],
  ["M", "more like this"],
  ["S", "save as a clip"],
  ["Esc", "close, or back to the field"],
  ["Space", "in the player: play and pause"],
  ["← →", "in the player: five seconds back or on"],
  ["P N", "in the player: previous and next moment"],
  ["?", "these keys"],
];

export function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    const isInField = event.target.matches("input, select, textarea, [popover] *");
    const handled = isInField ? inField(event) : onPage(event);
    if (handled) event.preventDefault();
  });
}

function inField({ key, target }) {
  if (target.id !== "query") return false;
  if (key === "ArrowDown") return focusOn($(".tile-link"));
  if (key === "Escape") return target.blur(), true;
  return false;
}

function onPage({ key: pressed, target }) {
  const key = pressed.length === 1 ? pressed.toLowerCase() : pressed;
  if (key === "/") return focusField(), true;
  if (key === "?") return showKeys(), true;
  const link = target.closest(".tile-link");
  if (!link) return key === "ArrowDown" && target === document.body && focusOn($(".tile-link"));
  if (key === "Escape") return focusField(), true;
  if (key.startsWith("Arrow")) return move(link, key);
  const moment = moments().find(({ id }) => id === link.parentElement.dataset.id);
  if (moment && key === "m") return go(similar(now(), moment)), true;
  if (moment && key === "s") return save(moment), true;
  return false;
}

export async function save(moment, exact = false) {
  const late = setTimeout(() => say("The clip is being cut…"), PATIENCE_MS);
  try {
    await makeClip(moment.id, spanOf(moment), exact);
    h("a", { href: clip(moment.id, spanOf(moment), exact), download: true }).click();
  } catch (error) {
    sayProblem(error);
  } finally {
    clearTimeout(late);
  }
}

function focusOn(element) {
  element?.focus();
  element?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  return Boolean(element);
}

/// To the nearest tile that lies in this direction.
function move(link, key) {
  const links = [...document.querySelectorAll(".tile-link")];
  const at = links.indexOf(link);
  if (key === "ArrowRight") return focusOn(links[at + 1]);
  if (key === "ArrowLeft") return focusOn(links[at - 1]);
  const from = link.getBoundingClientRect();
  const middle = (box) => box.left + box.width / 2;
  const isAhead = (box) => (key === "ArrowDown" ? box.top >= from.bottom - 1 : box.bottom <= from.top + 1);
  const ahead = links.map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => isAhead(box));
  if (!ahead.length) return key === "ArrowUp" && (focusField(), true);
  // Rows first: the nearest row, in it the one that stands straight above or below.
  const away = ([, box]) => Math.abs(box.top - from.top);
  const row = Math.min(...ahead.map(away));
  const inRow = ahead.filter((one) => away(one) < row + 8);
  const [best] = inRow.sort((a, b) => Math.abs(middle(a[1]) - middle(from)) - Math.abs(middle(b[1]) - middle(from)));
  return focusOn(best[0]);
}

export function showKeys() {
  const dialog = h("dialog", { class: "keys", "aria-label": "Keys" });
  fill(dialog, h("h2", {}, "Keys"),
    h("dl", {}, KEYS.map(([key, what]) => h("div", {}, h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)))),
    button("close", "Close", () => dialog.close()));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

