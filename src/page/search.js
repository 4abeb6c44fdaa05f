// The search view: asks, shows the wall, goes on with it, and lets live moments in. One view lives through many searches,
// so what both of two answers have moves instead of flickering.

import * as api from "./api.js";
import { button, fill, h } from "./dom.js";
import { on } from "./events.js";
import { count, sentence } from "./format.js";
import { shows } from "./found.js";
import { sayProblem } from "./notice.js";
import { kept } from "./picture.js";
import { go } from "./router.js";
import { filtersOf, request, searchKey } from "./url.js";
import { wall } from "./wall.js";

const PAGE = 30;
/// Live windows come every second; a wall that moves as often cannot be looked at.
const LIVE_EVERY_MS = 3000;
/// Searches that the back button finds as they were.
const REMEMBERED = 8;

const remembered = new Map();
let view = null;

/// What the moments on the wall were found by, for whoever asks the same of something else.
export const picture = (asked) => (asked.picture ? kept(asked.picture)?.blob : undefined);

export function showSearch(root, asked) {
  const key = searchKey(asked);
  if (!view) {
    view = begin();
    fill(root, view.element);
  } else if (view.key === key) {
    return;
  } else {
    remember();
  }
  Object.assign(view, { key, asked, found: null });
  shows([]);
  const before = remembered.get(key);
  if (before) {
    accept(before.found);
    requestAnimationFrame(() => scrollTo(0, before.scroll));
  }
  look();
}

export function leaveSearch() {
  if (!view) return;
  remember();
  view.asking?.abort();
  view.stop.abort();
  view.wall.stop();
  view = null;
  shows([]);
}

function remember() {
  if (!view.found) return;
  remembered.delete(view.key);
  remembered.set(view.key, { found: view.found, scroll: scrollY });
  if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value);
}

function begin() {
  const stop = new AbortController();
  const made = { stop, wall: wall(goOn) };
  made.summary = h("p", { class: "summary", role: "status" });
  made.late = h("div", { class: "late" });
  made.element = h("section", { class: "results", "aria-label": "Moments" }, made.summary, made.late, made.wall.element);
  let isDue = false;
  on(["stored", "ended", "removed"], () => {
    if (isDue) return;
    isDue = true;
    setTimeout(() => {
      isDue = false;
      if (!stop.signal.aborted) refresh();
    }, LIVE_EVERY_MS);
  }, stop.signal);
  on(["back"], () => (view.found ? refresh() : look()), stop.signal);
  return made;
}

/// Asks, unless a later search overtakes it; null then.
async function ask() {
  view.asking?.abort();
  view.asking = new AbortController();
  const { key, asked, asking } = view;
  const answer = await api.search(request(asked, { limit: PAGE }), { picture: picture(asked), signal: asking.signal });
  return view?.key === key && !asking.signal.aborted ? answer : null;
}

async function look() {
  if (view.asked.picture && !picture(view.asked)) return void lostPicture();
  view.element.classList.add("is-waiting");
  const began = performance.now();
  try {
    const answer = await ask();
    if (answer) accept(answer, performance.now() - began);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status !== 0) refused(error);
  }
}

function accept(found, took, fresh) {
  view.found = found;
  view.element.classList.remove("is-waiting", "is-refused");
  fill(view.late);
  summarise(took);
  view.wall.show(found, view.asked, fresh);
  shows(found.moments);
}

function summarise(took) {
  const { moments, groups, next, remarks } = view.found;
  const many = groups ? `${count(moments.length, "moment")} in ${count(groups.length, "file")}` : count(moments.length, "moment");
  if (moments.length === 0) return void nothing(remarks);
  fill(view.summary, h("span", {}, `${many}${next ? ", more below" : ""}`),
    took !== undefined && h("span", { class: "took", "aria-hidden": "true" }, `${Math.max(1, Math.round(took))} ms`),
    (remarks ?? []).map((remark) => h("span", { class: "remark" }, remark)));
}

function nothing(remarks) {
  const isNarrow = filtersOf(view.asked).length > 0;
  fill(view.summary, (remarks ?? []).map((remark) => h("span", { class: "remark" }, remark)));
  fill(view.late, h("div", { class: "refusal" }, h("h2", {}, "No moments"),
    h("p", {}, isNarrow ? "Nothing that is indexed fits all of these filters." : "Nothing is indexed yet, so there is nothing to find."),
    isNarrow ? button(null, "", allFiltersOff, { text: "Search without filters" })
      : h("a", { class: "button primary", href: "/?view=sources" }, "See what is watched")));
}

function allFiltersOff() {
  const { view: name, q, like, picture } = view.asked;
  go({ view: name, q, like, picture });
}

/// A search that cannot be made, in the daemon's words. What was found before stays out of the way.
function refused(error) {
  view.element.classList.remove("is-waiting");
  view.element.classList.add("is-refused");
  fill(view.summary);
  view.wall.show({ moments: [] }, view.asked);
  const wait = error.retryAfter ? ` It may be asked again in ${error.retryAfter} s.` : "";
  fill(view.late, h("div", { class: "refusal", role: "alert" }, h("p", {}, `${sentence(error.message)}${wait}`),
    // Asking the same again helps only where the trouble is the daemon's.
    error.status >= 500 || error.status === 429 ? button("again", "", look, { text: "Try again" })
      : filtersOf(view.asked).length > 0 && button(null, "", allFiltersOff, { text: "Search without filters" })));
}

function lostPicture() {
  view.element.classList.remove("is-waiting");
  fill(view.summary);
  view.wall.show({ moments: [] }, view.asked);
  fill(view.late, h("div", { class: "refusal" },
    h("p", {}, "This was a search by a picture, which stays in the browser tab that it was given to. Drop it here again, or type what it shows.")));
}

async function goOn() {
  const { next } = view?.found ?? {};
  if (!next || view.isGoing) return;
  view.isGoing = true;
  const { key } = view;
  try {
    const more = await api.search({ cursor: next, limit: PAGE });
    if (view?.key !== key) return;
    const known = view.found.moments.length;
    const moments = [...view.found.moments, ...more.moments];
    const groups = view.found.groups && merged(view.found.groups, more.groups ?? [], known);
    view.found = { ...view.found, moments, groups, next: more.next };
    summarise();
    view.wall.show(view.found, view.asked);
    shows(moments);
  } catch (error) {
    if (view?.key === key) endsHere(error);
  } finally {
    if (view) view.isGoing = false;
  }
  view?.wall.again();
}

/// The groups of a page join those before them; their indices count from the page's first moment.
function merged(groups, more, known) {
  const all = groups.map((group) => ({ ...group }));
  for (const group of more) {
    const moments = group.moments.map((index) => index + known);
    const same = all.find((one) => one.media_id === group.media_id);
    if (same) same.moments = [...same.moments, ...moments];
    else all.push({ ...group, moments });
  }
  return all;
}

function endsHere(error) {
  view.found.next = null;
  summarise();
  if (error.status === 410) {
    fill(view.late, h("p", { class: "hint" }, "This list was kept for some minutes and is gone. ",
      button("again", "", look, { text: "Search again" })));
  } else {
    sayProblem(error);
  }
}

/// Asks again without a word; what is new comes in at its place, or waits until the reader is at the top.
async function refresh() {
  if (!view?.found) return;
  try {
    const answer = await ask();
    if (!answer) return;
    const known = new Set(view.found.moments.map((moment) => moment.id));
    const fresh = new Set(answer.moments.filter((moment) => !known.has(moment.id)).map((moment) => moment.id));
    if (scrollY < 200) accept(answer, undefined, fresh);
    else if (fresh.size) wait(answer, fresh);
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 0) console.warn(error);
  }
}

function wait(answer, fresh) {
  const { key } = view;
  fill(view.late, button("add", "", () => {
    if (view?.key !== key) return;
    scrollTo({ top: 0 });
    accept(answer, undefined, fresh);
  }, { text: `${count(fresh.size, "new moment")}`, class: "button late-button" }));
}
