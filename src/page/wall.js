// The wall of moments: the tiles in their order, more of them when the reader comes near the end.

import { fill, h } from "./dom.js";
import { fileName } from "./format.js";
import { rearrange } from "./motion.js";
import { retell, tile } from "./tile.js";

/// How far before the end more are fetched.
const AHEAD = "1200px";
const FRESH_MS = 6000;

/// `more()`: the reader nears the end.
export function wall(more) {
  let tiles = new Map();
  const body = h("div", {});
  const end = h("div", { class: "wall-end", "aria-hidden": "true" });
  const watch = new IntersectionObserver(([seen]) => seen.isIntersecting && more(), { rootMargin: AHEAD });
  watch.observe(end);

  return {
    element: h("div", {}, body, end),

    /// `fresh`: ids of moments that were not there a moment ago.
    show({ moments, groups }, asked, fresh = new Set()) {
      const kept = new Map();
      const made = moments.map((moment) => {
        const key = `${moment.id} ${moment.start_s} ${moment.end_s}`;
        const element = tiles.get(key) ?? tile(moment, { asked });
        if (tiles.has(key)) retell(element, moment, asked);
        else if (fresh.has(moment.id)) freshen(element);
        kept.set(key, element);
        return element;
      });
      tiles = kept;
      measure(moments, made);
      if (groups) return void fill(body, together(groups, made));
      if (!body.firstChild?.matches("ol")) fill(body, h("ol", { class: "wall" }));
      rearrange(body.firstChild, made);
    },

    /// Looks again whether the end is near: after a page that was shorter than the screen nothing crosses the margin.
    again() {
      watch.unobserve(end);
      watch.observe(end);
    },

    stop: () => watch.disconnect(),
  };
}

/// How well each fits beside the best: nothing at half of its score, or at the lowest.
export function measure(moments, made) {
  const scores = moments.map(({ score }) => score);
  const high = Math.max(...scores);
  const low = Math.min(...scores, high / 2);
  made.forEach((element, index) => element.style.setProperty("--fit", ((scores[index] - low) / (high - low || 1)).toFixed(3)));
}

function freshen(element) {
  element.classList.add("fresh");
  setTimeout(() => element.classList.remove("fresh"), FRESH_MS);
}

/// A section for each file with several moments; files with one stand side by side between them.
function together(groups, made) {
  const sections = [];
  let singles = null;
  for (const group of groups) {
    const moments = group.moments.map((index) => made[index]);
    if (moments.length > 1) {
      singles = null;
      sections.push(h("section", { class: "group" }, h("h2", { class: "group-name", title: group.path ?? group.uri }, nameOfGroup(group)),
        h("ol", { class: "wall" }, moments)));
    } else if (singles) {
      singles.append(...moments);
    } else {
      singles = h("ol", { class: "wall" }, moments);
      sections.push(h("section", { class: "group" }, singles));
    }
  }
  return sections;
}

const nameOfGroup = ({ label, path, source, uri }) => label || (path ? fileName(path) : source) || uri;
