// A moment as a picture with its name, time and score. Resting on it plays it.

import { clip, preview, thumbnail } from "./api.js";
import { button, calm, drawing, fill, h } from "./dom.js";
import { isLive, nameOf, score, span, wall } from "./format.js";
import { save } from "./keys.js";
import { go, now } from "./router.js";
import { write } from "./url.js";

const REST_MS = 140;
/// What a wall of pictures bears: anything narrower or wider is cropped.
const NARROWEST = 0.72;
const WIDEST = 2.4;

export const spanOf = ({ start_s, end_s }) => ({ start_s, end_s });

/// The address that shows this moment in the player.
export const played = (asked, moment) =>
  ({ ...asked, play: moment.id, from: `${moment.start_s}`, to: `${moment.end_s}` });

export const similar = (asked, moment) => {
  const { q, also, picture, play, from, to, view, ...filters } = asked;
  return { ...filters, view: "search", like: moment.id };
};

export function tile(moment, { asked = now(), caption = null } = {}) {
  const [name, when] = [nameOf(moment), whenOf(moment)];
  const picture = h("span", { class: "picture" }, still(moment));
  const link = h("a", { class: "tile-link", href: write(played(asked, moment)) },
    picture,
    h("span", { class: caption ? "tile-name quote" : "tile-name", title: moment.path ?? moment.uri }, caption ?? name),
    h("span", { class: "tile-score", title: "score" }, h("span", { class: "fit" }),
      h("span", { class: "unseen" }, "score "), h("span", {}, score(moment.score))),
    h("span", { class: "tile-when" }, caption ? `${name} · ${when}` : when));
  const element = h("li", { class: "tile", "data-id": moment.id, style: { "--aspect": `${aspectOf(moment)}` } }, link,
    h("div", { class: "tile-actions" },
      button("like", `More like ${name}, ${when}`, () => go(similar(now(), moment))),
      h("a", { class: "icon-button", href: clip(moment.id, spanOf(moment)), download: true, onclick: saved(moment), title: "Save as a clip",
        "aria-label": `Save ${name}, ${when} as a clip` }, drawing("save"))));
  if (!moment.aspect) shapeByPicture(element);
  playWhileRested(link, picture, moment);
  return element;
}

/// Says anew what may have changed of a moment that is still shown.
export function retell(element, moment, asked) {
  element.querySelector(".tile-link").href = write(played(asked, moment));
  fill(element.querySelector(".tile-score").lastChild, score(moment.score));
}

const aspectOf = ({ aspect }) => Math.min(WIDEST, Math.max(NARROWEST, aspect ?? 16 / 9)).toFixed(4);

/// Where only the picture tells its shape, the wall moves a little when it comes.
function shapeByPicture(element) {
  const image = element.querySelector("img");
  const shape = () => element.style.setProperty("--aspect", aspectOf({ aspect: image.naturalWidth / image.naturalHeight }));
  image.addEventListener("load", shape, { once: true });
}

/// When it was, where that is known, and where in the file.
function whenOf(moment) {
  const place = span(moment.start_s, moment.end_s);
  if (!moment.time) return place;
  return isLive(moment) ? wall(moment.time) : `${wall(moment.time)} · ${place}`;
}

function still(moment) {
  const image = h("img", { src: thumbnail(moment.id), alt: "", loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.remove(), { once: true });
  return image;
}

function playWhileRested(link, picture, moment) {
  let timer, video;
  const begin = () => {
    clearTimeout(timer);
    if (!calm() && !video) timer = setTimeout(play, REST_MS);
  };
  const end = () => {
    clearTimeout(timer);
    video?.remove();
    video = null;
  };
  const play = () => {
    video = h("video", { class: "preview", src: preview(moment.id, spanOf(moment)), muted: true, autoplay: true, loop: true,
      playsinline: true, "aria-hidden": "true", tabindex: "-1", disableremoteplayback: true });
    const bar = h("span", { class: "preview-bar" });
    const shown = video;
    shown.addEventListener("playing", () => shown.classList.add("shown"), { once: true });
    shown.addEventListener("timeupdate", () => bar.style.setProperty("--at", shown.currentTime / shown.duration || 0));
    // Without a preview the still stays.
    shown.addEventListener("error", () => shown.remove(), { once: true });
    picture.append(shown, bar);
    const remove = shown.remove.bind(shown);
    shown.remove = () => {
      // Else the browser goes on loading it.
      shown.removeAttribute("src");
      shown.load();
      bar.remove();
      remove();
    };
  };
  link.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && begin());
  link.addEventListener("pointerleave", end);
  link.addEventListener("focus", () => link.matches(":focus-visible") && begin());
  link.addEventListener("blur", end);
}

/// By a click that says what is wrong, if something is.
const saved = (moment) => (event) => {
  event.preventDefault();
  save(moment);
};
