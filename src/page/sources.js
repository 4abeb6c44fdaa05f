// The sources view: what is watched, how it is doing, and the form that adds one.

import * as api from "./api.js";
import { button, drawing, fill, h } from "./dom.js";
import { on } from "./events.js";
import { count, length, wall } from "./format.js";
import { say, sayProblem } from "./notice.js";
import { sourceForm } from "./sourceform.js";
import { write } from "./url.js";

const EVERY_MS = 2000;
/// A picture of a camera is as old as this at most, if it still sees.
const PICTURE_EVERY_MS = 15_000;

/// What a state means, and whether it is good, under way, or bad.
const STATES = {
  watching: ["watching", "good"],
  live: ["live", "good"],
  connecting: ["connecting", "waiting"],
  stalled: ["connected, shows nothing", "bad"],
  backing_off: ["lost, calling again", "bad"],
  failed: ["cannot work", "bad"],
  paused: ["paused", "waiting"],
  away: ["not there", "bad"],
};

export function showSources(root, asked, stop) {
  const cards = new Map();
  const list = h("ul", { class: "cards" });
  const empty = h("p", { class: "hint", hidden: true }, "Nothing is watched yet.");
  const adding = h("div");
  const element = h(
    "section",
    { class: "page", "aria-labelledby": "page-title" },
    h("h1", { id: "page-title", class: "page-title" }, "Sources"),
    empty,
    list,
    adding,
  );
  fill(root, element);
  offerToAdd(adding, look);
  let timer;
  async function look() {
    clearTimeout(timer);
    try {
      const { sources } = await api.sources();
      if (stop.aborted) return;
      empty.hidden = sources.length > 0;
      update(list, cards, sources, look);
    } catch (error) {
      sayProblem(error);
    }
    if (!stop.aborted) timer = setTimeout(look, EVERY_MS);
  }
  look();
  on(["source", "back"], look, stop);
  stop.addEventListener("abort", () => clearTimeout(timer));
}

/// The form where something may be added, else how folders and cameras are named instead.
async function offerToAdd(place, look) {
  try {
    const may = await api.session();
    if (may.can_add_folders || may.can_add_streams) return void fill(place, sourceForm(may, look));
    fill(place, h("p", { class: "hint" }, may.role === "admin"
      ? ["Name folders and cameras when clipseek is started, ", h("code", {}, "clipseek serve ~/Videos rtsp://camera/1"),
        ", or as [[source]] in its settings. To add them on this page, list in the settings what may be added: ",
        h("code", {}, "serve.add_folders"), ", or ", h("code", {}, "serve.add_schemes"), " with ", h("code", {}, "serve.add_hosts"), "."]
      : "You may look and search here. Folders and cameras are added by whoever has a token of the role admin."));
  } catch (error) {
    sayProblem(error);
  }
}

function update(list, cards, sources, look) {
  const names = new Set(sources.map(({ name }) => name));
  for (const [name, card] of cards) if (!names.has(name)) (card.element.remove(), cards.delete(name));
  for (const source of sources) {
    if (!cards.has(source.name)) {
      const card = cardOf(source, look);
      cards.set(source.name, card);
      list.append(card.element);
    }
    cards.get(source.name).show(source);
  }
}

function cardOf({ name, kind, path, uri }, look) {
  const [state, facts, error] = [
    h("p", { class: "state" }),
    h("dl", { class: "facts" }),
    h("p", { class: "card-error", hidden: true }),
  ];
  const [image, acts] = [
    h("div", { class: "card-picture" }, drawing(kind === "folder" ? "folder" : "camera")),
    h("div", { class: "card-acts" }),
  ];
  const element = h(
    "li",
    { class: "card", "data-name": name },
    h(
      "a",
      { class: "card-look", href: write({ view: "search", source: [name] }), tabindex: "-1", "aria-hidden": "true" },
      image,
    ),
    h(
      "div",
      { class: "card-body" },
      h("div", { class: "card-head" }, h("h2", {}, name), state),
      h("p", { class: "card-where", title: path ?? uri }, path ?? uri),
      facts,
      error,
      acts,
    ),
  );
  let last = null;
  let [rate, pictured, isPaused] = [null, 0, null];

  const act = (what, done) => async () => {
    try {
      await what(name);
      say(done);
      look();
    } catch (error) {
      sayProblem(error);
    }
  };
  const remove = async () => {
    if (await confirmed(name, kind)) act(api.removeSource, `${name} is no longer watched`)();
  };
  const offer = (paused) =>
    fill(
      acts,
      paused
        ? button("play", "", act(api.resumeSource, `${name} goes on`), { text: "Resume" })
        : button("pause", "", act(api.pauseSource, `${name} is paused`), { text: "Pause" }),
      button("remove", "", remove, { text: "Remove" }),
    );

  return {
    element,
    show(row) {
      const at = performance.now();
      if (last && at - last.at > 500) rate = Math.max(0, (row.frames - last.frames) / ((at - last.at) / 1000));
      if (!last || at - last.at > 500) last = { frames: row.frames, at };
      const [word, mood] = STATES[row.state] ?? [row.state, "waiting"];
      state.dataset.mood = mood;
      fill(
        state,
        h("span", { class: "dot", "aria-hidden": "true" }),
        word,
        h("span", { class: "since" }, `since ${wall(row.since)}`),
      );
      fill(
        facts,
        factsOf(row, rate).map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value))),
      );
      error.hidden = !row.error;
      fill(error, row.error);
      const paused = row.state === "paused";
      if (paused !== isPaused) offer((isPaused = paused));
      if (at - pictured > PICTURE_EVERY_MS || pictured === 0) {
        pictured = at;
        picture(image, name, row.kind);
      }
    },
  };
}

function factsOf(row, rate) {
  const frames = ["Frames read", row.frames.toLocaleString("en")];
  const age = ["Last frame", row.last_frame_age_s == null ? "none yet" : `${length(row.last_frame_age_s)} ago`];
  const speed = ["Rate", rate === null ? "…" : `${rate.toFixed(rate < 10 ? 1 : 0)} frames/s`];
  if (row.kind === "stream") {
    const dropped = row.dropped + (row.dropped_windows ?? 0);
    return [
      age,
      speed,
      frames,
      ["Dropped", dropped ? `${count(row.dropped, "frame")}, ${count(row.dropped_windows ?? 0, "window")}` : "nothing"],
    ];
  }
  return [
    ["Files", row.files.toLocaleString("en")],
    ["Waiting", row.pending.toLocaleString("en")],
    ["Failed", row.failed ? h("a", { href: "/?view=indexing" }, row.failed.toLocaleString("en")) : "none"],
    ...(row.pending ? [speed] : [age]),
  ];
}

/// A recent picture of it: whatever was seen last.
async function picture(place, name, kind) {
  const after = new Date(Date.now() - 120_000).toISOString();
  const look = (more) => api.search({ text: "what can be seen", source: name, limit: 1, ...more });
  try {
    let { moments } = await look(kind === "stream" ? { after } : {});
    if (!moments.length && kind === "stream") ({ moments } = await look({}));
    if (!moments.length) return;
    const image = h("img", { src: api.thumbnail(moments[0].id), alt: "" });
    image.addEventListener("load", () => fill(place, image), { once: true });
  } catch {
    // The drawing stays.
  }
}

function confirmed(name, kind) {
  const what =
    kind === "stream"
      ? "It is no longer called. What was seen of it stays searchable."
      : "Its files are no longer watched. What is indexed stays searchable, and the files stay where they are.";
  return new Promise((done) => {
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": "confirm-title" },
      h("h2", { id: "confirm-title" }, `Remove ${name}?`),
      h("p", {}, what),
      h(
        "div",
        { class: "confirm-acts" },
        button(null, "", () => dialog.close(), { text: "Keep it" }),
        button("remove", "", () => dialog.close("yes"), { text: "Remove", class: "button primary" }),
      ),
    );
    dialog.addEventListener("close", () => {
      done(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
