// The map of a day: a row per source, and over the time of day how much of what it saw fits the search.

import * as api from "./api.js";
import { button, fill, h } from "./dom.js";
import { on } from "./events.js";
import { count, isoDay, longDay } from "./format.js";
import { shows } from "./found.js";
import { sayProblem } from "./notice.js";
import { go } from "./router.js";
import { picture } from "./search.js";
import { tile } from "./tile.js";
import { isSearch, request, write } from "./url.js";
import { measure } from "./wall.js";

const BINS = 96;
const BIN_MINUTES = 15;
/// Moments of each source that are looked at; the index returns the best of them.
const PER_SOURCE = 300;
const SHOWN_BELOW = 12;
/// From here on a match is worth showing large.
const GOOD = 0.4;
const LIVE_EVERY_MS = 10_000;

export function showDay(root, asked, stop) {
  const map = h("div", { class: "map" });
  const below = h("div", { class: "map-below" });
  const head = h("div", { class: "day-head" });
  fill(root, h("section", { class: "page", "aria-labelledby": "page-title" }, head, map, below));
  const look = async () => {
    try {
      await draw({ asked, stop, map, below, head });
    } catch (error) {
      if (error.name !== "AbortError") sayProblem(error);
    }
  };
  look();
  stop.addEventListener("abort", () => shows([]));
  let isDue = false;
  on(
    ["stored", "removed", "back"],
    () => {
      if (isDue) return;
      isDue = true;
      setTimeout(() => {
        isDue = false;
        if (!stop.aborted) look();
      }, LIVE_EVERY_MS);
    },
    stop,
  );
}

async function draw({ asked, stop, map, below, head }) {
  const day = asked.day ? new Date(`${asked.day}T00:00`) : startOf(new Date());
  showHead(head, asked, day);
  if (!isSearch(asked)) {
    shows([]);
    fill(map, empty());
    return void fill(below, h("p", { class: "hint" }, "Type what happens, and this shows when each camera saw it."));
  }
  const rows = await rowsOf(asked, day, stop);
  if (stop.aborted) return;
  const all = rows.flatMap(({ moments }) => moments);
  const scale = scaleOf(all);
  const binned = rows.map(({ name, moments }) => [name, binsOf(moments, day, scale)]);
  // One measure for all rows, so that cameras can be compared.
  const most = Math.max(...binned.flatMap(([, bins]) => bins.map(({ weight }) => weight)), 1e-9);
  fill(
    map,
    hours(),
    binned.map(([name, bins]) => rowOf(name, bins, most, asked, day)),
    day.getTime() === startOf(new Date()).getTime() && nowLine(),
  );
  const best = all
    .filter(({ score }) => scale(score) >= GOOD)
    .sort((a, b) => b.score - a.score)
    .slice(0, SHOWN_BELOW)
    .toSorted((a, b) => new Date(a.time) - new Date(b.time));
  shows(best);
  fill(
    below,
    best.length
      ? [h("h2", {}, "The best of the day"), h("ol", { class: "wall" }, tilesOf(best, asked))]
      : [
          h(
            "p",
            { class: "hint" },
            "Nothing of this day. Only cameras, and files that say when they were recorded, have a time of day.",
          ),
          h("p", {}, await nearestDay(asked, stop)),
        ],
  );
}

function tilesOf(moments, asked) {
  const made = moments.map((moment) => tile(moment, { asked }));
  measure(moments, made);
  return made;
}

const startOf = (day) => new Date(day.getFullYear(), day.getMonth(), day.getDate());
const plus = (day, days) => new Date(day.getFullYear(), day.getMonth(), day.getDate() + days);

function showHead(head, asked, day) {
  const today = startOf(new Date());
  const to = (other) => () => go({ ...asked, day: isoDay(other) });
  const chooser = h("input", { class: "input", type: "date", value: isoDay(day), max: isoDay(today), "aria-label": "Day" });
  chooser.addEventListener("change", () => chooser.value && go({ ...asked, day: chooser.value }));
  fill(
    head,
    h("h1", { class: "page-title", id: "page-title" }, longDay(day)),
    h(
      "div",
      { class: "day-steps" },
      button("back", "The day before", to(plus(day, -1))),
      chooser,
      button("on", "The day after", to(plus(day, 1)), { disabled: day >= today }),
    ),
  );
}

/// A row for each source that has moments of the day.
async function rowsOf(asked, day, stop) {
  const { sources } = await api.sources();
  const within = { after: day.toISOString(), before: plus(day, 1).toISOString(), limit: PER_SOURCE };
  const names = asked.source ? [asked.source] : sources.map(({ name }) => name);
  const { group, diversity, after, before, ...plain } = asked;
  const rows = await Promise.all(
    names.map(async (name) => {
      const body = request(plain, { ...within, source: name });
      const { moments } = await api.search(body, { picture: picture(asked), signal: stop });
      return { name, moments: moments.filter(({ time }) => time) };
    }),
  );
  return rows.filter(({ moments }) => moments.length > 0);
}

/// How much a score counts: nothing at the median of the day, all at its best, as moments are cut by it.
function scaleOf(moments) {
  const sorted = moments.map(({ score }) => score).sort((a, b) => a - b);
  const [floor, best] = [sorted[Math.floor(sorted.length / 2)] ?? 0, sorted.at(-1) ?? 1];
  if (sorted.length < 8) return () => 1;
  return (score) => Math.max(0, (score - floor) / (best - floor || 1));
}

function binsOf(moments, day, scale) {
  const bins = Array.from({ length: BINS }, () => ({ weight: 0, moments: [] }));
  for (const moment of moments) {
    const minute = (new Date(moment.time) - day) / 60_000;
    const bin = bins[Math.floor(minute / BIN_MINUTES)];
    const weight = scale(moment.score);
    if (!bin || weight === 0) continue;
    bin.weight += weight;
    bin.moments.push(moment);
  }
  return bins;
}

function rowOf(name, bins, most, asked, day) {
  const marks = bins.flatMap(({ weight, moments }, index) => {
    if (!moments.length) return [];
    const [from, to] = [timeOf(day, index), timeOf(day, index + 1)];
    const best = moments.reduce((a, b) => (b.score > a.score ? b : a));
    const only = {
      ...asked,
      view: "search",
      source: name,
      after: from,
      before: to,
      day: undefined,
    };
    const glance = h(
      "span",
      { class: "glance" },
      h("img", { src: api.thumbnail(best.id), alt: "", loading: "lazy" }),
      h("span", {}, `${from.slice(-5)} · ${count(moments.length, "moment")}`),
    );
    return h(
      "a",
      {
        class: "mark",
        href: write(only),
        "aria-label": `${name}, ${from.slice(-5)} to ${to.slice(-5)}: ${count(moments.length, "moment")}`,
        style: { "--at": `${index / BINS}`, "--height": `${(0.12 + 0.88 * Math.sqrt(weight / most)).toFixed(3)}` },
      },
      glance,
    );
  });
  return h("div", { class: "map-row" }, h("h2", { class: "map-name" }, name), h("div", { class: "map-line" }, marks));
}

/// When a bin begins, as the browser's clock has it and as a filter takes it.
function timeOf(day, bin) {
  const at = new Date(day.getFullYear(), day.getMonth(), day.getDate(), 0, bin * BIN_MINUTES);
  const two = (number) => `${number}`.padStart(2, "0");
  return `${isoDay(at)}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

const hours = () =>
  h(
    "div",
    { class: "map-hours", "aria-hidden": "true" },
    [0, 3, 6, 9, 12, 15, 18, 21].map((hour) => h("span", { style: { "--at": `${hour / 24}` } }, `${hour}`.padStart(2, "0"))),
  );

const empty = () => [hours(), h("div", { class: "map-row" }, h("div", { class: "map-line" }))];

function nowLine() {
  const minutes = new Date().getHours() * 60 + new Date().getMinutes();
  return h(
    "div",
    { class: "map-now-rail", "aria-hidden": "true" },
    h("div", { class: "map-now", style: { "--at": `${minutes / 1440}` } }),
  );
}

/// A day that has moments, to go to.
async function nearestDay(asked, stop) {
  const { group, diversity, ...plain } = asked;
  const { moments } = await api.search(request(plain, { limit: 100 }), { picture: picture(asked), signal: stop });
  const timed = moments.find(({ time }) => time);
  if (!timed) return null;
  const day = new Date(timed.time);
  return h("a", { class: "button", href: write({ ...asked, day: isoDay(day) }) }, `Go to ${longDay(day)}`);
}
