// Filters as chips under the field; what is set can be taken off, and `Filter` sets more.

import { models, sources } from "./api.js";
import { $, button, drawing, fill, h } from "./dom.js";
import { go, now } from "./router.js";
import { FILTERS, filtersOf, isSearch, withFilter, without } from "./url.js";

const row = $("#chips");

export function showChips(asked) {
  const isOpen = $("#filter-menu")?.matches(":popover-open");
  if (isOpen) return;
  const chips = filtersOf(asked).map(([key, value]) => chip(key, value));
  const isShown = isSearch(asked) && ["search", "day"].includes(asked.view) || chips.length > 0;
  fill(row, chips, isShown && [opener(), menu()]);
}

function chip(key, value) {
  const { title, choices } = FILTERS[key];
  const said = choices?.[value] ?? value.replace("T", " ");
  return h("span", { class: "chip" }, h("span", { class: "chip-key" }, title), h("span", { class: "chip-value" }, said),
    button("close", `Take off: ${title} ${said}`, () => change(without(now(), key, value))));
}

const change = (asked) => go({ ...asked, play: undefined, from: undefined, to: undefined });

function opener() {
  return h("button", { type: "button", class: "chip chip-add", popovertarget: "filter-menu" }, drawing("add"), "Filter");
}

function menu() {
  const kinds = h("div", { class: "menu-kinds" }, Object.entries(FILTERS).map(([key, { title, hint }]) =>
    h("button", { type: "button", class: "menu-kind", onclick: () => choose(key) },
      h("span", { class: "menu-title" }, title), h("span", { class: "menu-hint" }, hint))));
  const menu = h("div", { class: "menu", id: "filter-menu", popover: true, role: "dialog", "aria-label": "Add a filter" }, kinds);
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open") {
      place(menu);
      kinds.querySelector("button").focus();
    } else {
      // The row is made anew; whoever came from its button by the keyboard goes on from there.
      const isHere = document.activeElement === document.body || row.contains(document.activeElement);
      showChips(now());
      if (isHere) $(".chip-add")?.focus();
    }
  });
  return menu;
}

/// Under its button; the browser would put it into the middle.
function place(menu) {
  const { left, bottom } = $(".chip-add").getBoundingClientRect();
  menu.style.setProperty("--left", `${Math.max(12, Math.min(left, innerWidth - menu.offsetWidth - 12))}px`);
  menu.style.setProperty("--top", `${bottom + 8}px`);
}

async function choose(key) {
  const { title, hint, choices, input, example } = FILTERS[key];
  const set = (value) => {
    if (!value) return;
    $("#filter-menu").hidePopover();
    change(withFilter(now(), key, value));
  };
  const offered = choices ?? await known(key);
  const body = offered && Object.keys(offered).length
    ? h("div", { class: "menu-kinds" }, Object.entries(offered).map(([value, text]) =>
        h("button", { type: "button", class: "menu-kind", onclick: () => set(value) }, h("span", { class: "menu-title" }, text))))
    : input === "span" ? spanForm(set) : textForm(set, title, input, example);
  fill($("#filter-menu"), h("p", { class: "menu-head" }, h("strong", {}, title), " ", hint), body);
  $("#filter-menu").querySelector("input, .menu-kind")?.focus();
}

/// What there is to choose from; null: it has to be typed.
async function known(key) {
  try {
    if (key === "source") return named((await sources()).sources);
    if (key === "model") return named((await models()).models);
  } catch {
    // Then it is typed.
  }
  return null;
}

const named = (rows) => Object.fromEntries(rows.map(({ name }) => [name, name]));

function textForm(set, title, type = "text", example = "") {
  const field = h("input", { class: "input", type, "aria-label": title, placeholder: example, autocomplete: "off", spellcheck: "false" });
  return form([field], () => set(field.value.trim()));
}

function spanForm(set) {
  const [from, to] = [["22:00", "from"], ["06:00", "until"]].map(([value, label]) =>
    h("input", { class: "input", type: "time", value, "aria-label": label }));
  return form([from, h("span", {}, "–"), to], () => from.value && to.value && set(`${from.value}-${to.value}`));
}

function form(fields, done) {
  // Fields of a form of its own: Enter must not send the search.
  const body = h("div", { class: "menu-form" }, fields, button(null, "", done, { text: "Add" }));
  body.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    done();
  });
  return body;
}
