// The line under the player: the whole medium, how well each part of it fits the search, and where one is. It is a slider
// for the keyboard and for screen readers.

import { fill, h, svg } from "./dom.js";
import { clock, spoken } from "./format.js";

const WIDTH = 1000;
const HEIGHT = 100;

/// `seek(at_s)` jumps, `pictureAt(at_s)` is the address of a picture.
export function timeline({ moment, seek, pictureAt }) {
  let long = 0;
  let others = [];
  const graph = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "graph", "aria-hidden": "true" });
  const bands = h("div", { class: "bands" });
  const head = h("div", { class: "playhead" });
  const glance = h("div", { class: "glance", hidden: true });
  const [from, to] = [h("span", {}, "0:00"), h("span", {})];
  const line = h("div", { class: "line" }, graph, bands, head, glance);
  const element = h("div", { class: "timeline", role: "slider", tabindex: "0", "aria-label": "Time in the medium",
    "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0" },
    line, h("div", { class: "axis", "aria-hidden": "true" }, from, to));

  const share = (at) => `${Math.min(100, Math.max(0, (at / long) * 100)).toFixed(3)}%`;
  const timeAt = (event) => {
    const { left, width } = line.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / width)) * long;
  };
  const place = (band, { start_s, end_s }) => {
    band.style.setProperty("--from", share(start_s));
    band.style.setProperty("--to", share(end_s));
    return band;
  };
  const draw = () => {
    if (!long) return;
    fill(to, clock(long));
    element.setAttribute("aria-valuemax", long.toFixed(1));
    const isThis = (one) => one.id === moment.id && one.start_s === moment.start_s;
    fill(bands, others.filter((one) => !isThis(one)).map((one) => place(h("span", { class: "band" }), one)),
      place(h("span", { class: "band is-this" }), moment));
  };

  line.addEventListener("pointerdown", (event) => {
    if (!long || event.button !== 0) return;
    line.setPointerCapture(event.pointerId);
    seek(timeAt(event));
  });
  line.addEventListener("pointermove", (event) => {
    if (!long) return;
    if (line.hasPointerCapture(event.pointerId)) seek(timeAt(event));
    else look(event);
  });
  line.addEventListener("pointerleave", () => (glance.hidden = true));

  let shownAt = -1;
  function look(event) {
    if (event.pointerType === "touch") return;
    const at = timeAt(event);
    glance.hidden = false;
    glance.style.setProperty("--at", share(at));
    // A picture every two seconds is what is kept.
    const second = Math.round(at / 2) * 2;
    if (second !== shownAt) {
      shownAt = second;
      const image = h("img", { src: pictureAt(Math.min(second, long)), alt: "" });
      image.addEventListener("error", () => image.remove());
      fill(glance, image, h("span", {}));
    }
    fill(glance.lastChild, clock(at, true));
  }

  return {
    element,
    length: () => long,
    lasts(seconds) {
      if (!seconds || Math.abs(seconds - long) < 0.05) return;
      long = seconds;
      draw();
    },
    at(seconds) {
      if (long) head.style.setProperty("--at", share(seconds));
      head.classList.toggle("is-placed", long > 0);
      element.setAttribute("aria-valuenow", seconds.toFixed(1));
      element.setAttribute("aria-valuetext", `${spoken(seconds)} of ${spoken(long)}`);
    },
    /// The part that is loaded, where it is not everything.
    shows(part) {
      if (part?.ends_s) this.lasts(Math.max(long, part.ends_s));
    },
    /// `best`: the score that reaches to the top, so that a medium without a good match looks like one.
    score({ duration_s, scores }, moments, best) {
      others = moments;
      // The graph is that of the index; the medium may be a little longer.
      long = Math.max(duration_s ?? 0, long);
      draw();
      fill(graph, ...curve(scores, long, best));
    },
  };
}

/// A path through all points that is level in each, so it never rises above a score.
function smooth([first, ...rest]) {
  const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  let path = `M${at(...first)}`;
  let [x, y] = first;
  for (const [nextX, nextY] of rest) {
    const middle = (x + nextX) / 2;
    path += `C${at(middle, y)} ${at(middle, nextY)} ${at(nextX, nextY)}`;
    [x, y] = [nextX, nextY];
  }
  return path;
}

/// The scores as an area; a window counts in its middle.
function curve(scores, long, best) {
  if (!scores.length || !long) return [];
  const values = scores.map(({ score }) => score);
  // Scores that hardly differ are drawn so: the foot of the graph is at half of the best, or lower.
  const high = Math.max(best, ...values);
  const low = Math.min(...values, high / 2);
  const height = (score) => HEIGHT - 4 - ((score - low) / (high - low || 1)) * (HEIGHT - 12);
  const points = scores.map(({ start_s, end_s, score }) => [((start_s + end_s) / 2 / long) * WIDTH, height(score)]);
  points.sort((a, b) => a[0] - b[0]);
  const stroke = smooth([[0, points[0][1]], ...points, [WIDTH, points.at(-1)[1]]]);
  return [svg("path", { class: "graph-area", d: `${stroke}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` }),
    svg("path", { class: "graph-line", d: stroke, "vector-effect": "non-scaling-stroke" })];
}
