// The player: begins at the moment, shows where in the whole medium the search matches, and goes from moment to moment.
// It is open where the address names a moment, so it can be shared and the back button closes it.

import * as api from "./api.js";
import { $, button, drawing, fill, h } from "./dom.js";
import { clock, nameOf, playCommand, score, sentence, span, wall } from "./format.js";
import { save, showKeys } from "./keys.js";
import { on } from "./events.js";
import { finds, moments } from "./found.js";
import { growFrom } from "./motion.js";
import { copy, sayProblem } from "./notice.js";
import { back, go, now } from "./router.js";
import { picture } from "./search.js";
import { played, similar } from "./tile.js";
import { timeline } from "./timeline.js";
import { isSearch, request, searchKey } from "./url.js";

const STEP_S = 5;
const PATIENCE_MS = 700;
/// The daemon's previews are not longer.
const PREVIEW_S = 8;
/// What helps where the browser cannot play what it should.
const MORE_EFFORT = { file: "remuxed", remuxed: "transcoded" };

const dialog = $("#player");
let open = null;

export function showPlayer(asked) {
  const key = asked.play && `${asked.play} ${asked.from} ${asked.to}`;
  if (key === open?.key) return;
  const last = open?.moment.id;
  if (open) leave();
  if (!key) {
    dialog.close();
    // The reader may have gone on to other moments than the one that was opened.
    return void (last && tileOf(last, ".tile-link")?.focus());
  }
  const origin = tileOf(asked.play, ".picture");
  enter(asked, key);
  if (!dialog.open) {
    dialog.showModal();
    growFrom($(".stage", dialog), origin);
  }
  $(".timeline", dialog).focus({ focusVisible: false });
}

const tileOf = (id, part) => document.querySelector(`.tile[data-id="${CSS.escape(id)}"] ${part}`);

function leave() {
  open.stop.abort();
  open.video.removeAttribute("src");
  open.video.load();
  open = null;
}

const close = () => {
  const { play, from, to, ...rest } = now();
  back(rest);
};

/// The moment as the address tells it, until the daemon has told the rest.
function told({ play, from, to }) {
  const same = moments().find((moment) => moment.id === play && (!from || `${moment.start_s}` === from));
  const start_s = Number(from) || 0;
  return same ?? { id: play, start_s, end_s: Number(to) || start_s };
}

async function enter(asked, key) {
  const stop = new AbortController();
  const moment = told(asked);
  open = { key, asked, moment, stop, playing: null };
  build();
  const still = open;
  on(["back"], () => open === still && (!still.playing || still.video.error) && (leave(), enter(asked, key)), stop.signal);
  try {
    if (moment.uri === undefined) {
      const shown = await api.moment(moment.id, asked.from ? { start_s: moment.start_s, end_s: moment.end_s } : {});
      // Its score may have come meanwhile.
      still.moment = { ...still.moment, ...shown };
      if (open !== still) return;
      describe();
    }
    await Promise.all([load({ start_s: still.moment.start_s, end_s: still.moment.end_s }), showScores(still)]);
  } catch (error) {
    if (open === still && error.name !== "AbortError") note(sentence(error.message));
  }
}

function build() {
  const { moment, stop } = open;
  const video = h("video", { playsinline: true, preload: "auto", "aria-label": "Video of the moment", tabindex: "-1" });
  const line = timeline({ moment, seek, pictureAt: (at) => api.thumbnail(moment.id, at.toFixed(1)) });
  const stage = h("div", { class: "stage" },
    h("img", { class: "poster", src: api.thumbnail(moment.id), alt: "", onerror: ({ target }) => target.remove() }), video, h("div", { class: "stage-note", role: "status" }));
  Object.assign(open, { video, line, stage });
  fill(dialog, h("div", { class: "player-body" },
    h("div", { class: "player-head" }), stage, line.element, h("div", { class: "player-foot" }),
    h("div", { class: "notices", role: "status" })));
  describe();
  const listen = (name, then) => video.addEventListener(name, then, { signal: stop.signal });
  listen("timeupdate", tick);
  listen("playing", () => stage.classList.add("is-shown"));
  listen("seeked", () => stage.classList.add("is-shown"));
  for (const name of ["play", "pause", "volumechange"]) listen(name, controls);
  listen("click", toggle);
  listen("error", unplayable);
  listen("ended", goOn);
  listen("loadeddata", () => note(open.trouble ?? ""));
}

/// What it is, and what can be done with it.
function describe() {
  const { moment, asked } = open;
  const all = moments();
  const at = all.findIndex(({ id, start_s }) => id === moment.id && start_s === moment.start_s);
  const step = (by, icon, label) => button(icon, label, () => stepTo(by), { disabled: at < 0 || !all[at + by], "data-step": `${by}` });
  const where = moment.path ?? moment.uri ?? "";
  const place = moment.path ? "Path" : "Address";
  const when = moment.time ? `${span(moment.start_s, moment.end_s)} · ${wall(moment.time)}` : span(moment.start_s, moment.end_s);
  fill($(".player-head", dialog),
    h("div", { class: "player-title" }, h("h2", {}, moment.uri === undefined ? "…" : nameOf(moment)),
      h("p", {}, h("span", {}, when), moment.score !== undefined && h("span", {}, `score ${score(moment.score)}`),
        at >= 0 && h("span", {}, `${at + 1} of ${all.length}`), moment.caption && h("span", { class: "player-caption" }, moment.caption))),
    h("div", { class: "player-steps" }, step(-1, "back", "Previous moment (P)"), step(1, "on", "Next moment (N)"),
      button("close", "Close (Esc)", close, { class: "icon-button player-close" })));
  fill($(".player-foot", dialog),
    h("div", { class: "controls" }, button("play", "Play (Space)", toggle, { class: "icon-button play-button" }), h("span", { class: "time" }),
      button(null, "Sound", () => (open.video.muted = !open.video.muted), { text: "Sound on", class: "button sound", hidden: true })),
    h("div", { class: "player-actions" },
      button("save", "", () => save(moment), { text: "Save clip", class: "button primary",
        title: "Cut at the key frame before, nothing is encoded anew" }),
      button(null, "", () => save(moment, true), { text: "Save exactly", title: "Cut at the exact times, encoded anew" }),
      button("like", "", () => go(similar(asked, moment)), { text: "More like this" }),
      button("link", "", () => copy(location.href, "Link"), { text: "Copy link" }),
      moment.uri !== undefined && button("terminal", "", () => copy(playCommand(moment), "Play command"),
        { text: "Copy command", title: playCommand(moment) }),
      where && button("copy", "", () => copy(where, place), { text: `Copy ${place.toLowerCase()}`, title: where })),
    where && h("p", { class: "player-path", title: where }, where));
  controls();
}

/// Loads what shows this span, and begins at its start.
async function load(wanted, how) {
  const still = open;
  const { moment, video, stop } = still;
  const late = setTimeout(() => open === still && note("The footage is being made ready…"), PATIENCE_MS);
  let playing;
  try {
    playing = await api.playback(moment.id, wanted, how, stop.signal);
  } catch (error) {
    if (error.status !== 422 || open !== still) throw error;
    // What cannot be taken as it is may still be encoded anew; and where not even that works, the preview may.
    if (how !== "transcoded") return load(wanted, "transcoded");
    playing = previewed(moment, wanted);
    still.trouble = `Only a preview can be shown. ${sentence(error.message)}`;
  } finally {
    clearTimeout(late);
  }
  if (open !== still) return;
  Object.assign(still, { playing, wanted });
  video.src = playing.video;
  const begin = () => {
    video.currentTime = playing.seek_s;
    start();
  };
  if (video.readyState > 0) begin();
  else video.addEventListener("loadedmetadata", begin, { once: true, signal: stop.signal });
  // A whole file tells how long it is; of a part only the daemon knows.
  video.addEventListener("loadedmetadata", () => {
    if (playing.how === "file" && Number.isFinite(video.duration)) still.line.lasts(playing.begins_s + video.duration);
  }, { once: true, signal: stop.signal });
  still.line.shows(playing.how === "file" ? null : playing);
}

const previewed = ({ id }, span) =>
  ({ video: api.preview(id, span), how: "preview", begins_s: span.start_s, seek_s: 0,
    ends_s: Math.min(span.end_s, span.start_s + PREVIEW_S) });

/// A part that has been played to its end is followed by the next.
function goOn() {
  const { playing, line } = open;
  if (playing.how !== "file" && playing.ends_s && playing.ends_s < line.length() - 0.5) seek(playing.ends_s);
}

/// Browsers differ in what they play, so the daemon's guess may be wrong.
function unplayable() {
  const { video, playing, wanted } = open;
  // No source at all: it was taken away.
  if (!video.getAttribute("src")) return;
  const how = MORE_EFFORT[playing?.how];
  if (how) load(wanted, how).catch(notPlayed);
  else note(open.trouble ?? "The browser cannot play this. The command below opens it in ffplay.");
}

const notPlayed = (error) => error.name !== "AbortError" && note(sentence(error.message));

async function start() {
  const { video, playing } = open;
  if (!playing) return;
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    // Browsers let nothing sound in a page that nobody has touched yet, such as one opened by a link.
    video.muted = true;
    await video.play().catch(() => {});
  }
}

/// The score of the search along the whole medium.
async function showScores(still) {
  const { moment, asked, stop, line } = still;
  if (!isSearch(asked) || !moment.media_id) return;
  try {
    const scored = await api.scores(moment.media_id, request(asked), { picture: picture(asked), signal: stop.signal });
    const key = searchKey(asked);
    const others = moments().filter((one) => one.media_id === moment.media_id && key === searchKey(now()));
    line.score(scored, others, Math.max(...moments().map((one) => one.score), 0));
  } catch (error) {
    // The video is what matters; without scores the line is plain.
    if (error.name !== "AbortError") sayProblem(error);
  }
}

function seek(at) {
  const { playing, video, moment } = open;
  if (!playing) return;
  const isLoaded = playing.how === "file" || (at >= playing.begins_s && at < (playing.ends_s ?? playing.begins_s + video.duration));
  if (isLoaded) {
    video.currentTime = Math.max(0, at - playing.begins_s);
    tick();
    return;
  }
  open.line.at(at);
  load({ start_s: at, end_s: at + Math.max(moment.end_s - moment.start_s, 5) }).catch(notPlayed);
}

const position = () => (open.playing ? open.playing.begins_s + open.video.currentTime : open.moment.start_s);

function tick() {
  const at = position();
  open.line.at(at);
  const long = open.line.length();
  fill($(".time", dialog), long ? `${clock(at, true)} / ${clock(long)}` : clock(at, true));
}

function controls() {
  const { video } = open;
  const play = $(".play-button", dialog);
  fill(play, drawing(video.paused ? "play" : "pause"));
  play.setAttribute("aria-label", video.paused ? "Play (Space)" : "Pause (Space)");
  $(".sound", dialog).hidden = !video.muted;
}

function toggle() {
  if (open.video.paused) start();
  else open.video.pause();
}

function stepTo(by) {
  const all = moments();
  const at = all.findIndex(({ id, start_s }) => id === open.moment.id && start_s === open.moment.start_s);
  const next = at >= 0 && all[at + by];
  if (next) go(played(now(), next), { replace: true });
}

function note(text) {
  fill($(".stage-note", dialog), text && h("p", {}, text));
}

const KEYS = {
  " ": toggle,
  k: toggle,
  ArrowLeft: () => seek(Math.max(0, position() - STEP_S)),
  ArrowRight: () => seek(Math.min(position() + STEP_S, open.line.length() || Infinity)),
  Home: () => seek(0),
  End: () => seek(Math.max(0, open.line.length() - STEP_S)),
  p: () => stepTo(-1),
  n: () => stepTo(1),
  m: () => go(similar(open.asked, open.moment)),
  s: () => save(open.moment),
  "?": showKeys,
};

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !open) return;
  // Space presses the button that has the focus.
  if (event.key === " " && event.target.closest("button, a")) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
// Opened by a link, the player may be there before the moments that it goes through.
finds.addEventListener("found", () => {
  if (!open || open.moment.score !== undefined) return;
  const found = told(now());
  if (found.score === undefined) return;
  open.moment = { ...open.moment, ...found };
  describe();
});
// Esc goes the way of every other change: by the address.
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
dialog.addEventListener("click", (event) => event.target === dialog && close());
