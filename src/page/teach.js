// The start page: what can be found here, shown instead of told. Each example is a search that was made, with its best moment.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { on } from "./events.js";
import { sentence } from "./format.js";
import { rearrange } from "./motion.js";
import { suggest } from "./ask.js";
import { write } from "./url.js";
import { tile } from "./tile.js";

/// What the shipped model was made for.
const OF_SHAPES = [
  "a red circle moves to the right", "an orange heart shrinks", "a blue star spins clockwise", "a yellow ring circles a white star",
  "a red triangle appears", "a purple cross spins", "a pink heart moves up", "a black crescent chases an orange circle",
];
const OF_REAL_FOOTAGE = [
  "a dog plays in the snow", "someone cooks in a kitchen", "a close-up of a face", "people meet in a bright room", "a street in the city",
  "a bird looks into the camera", "someone exercises outdoors", "animals on green grass", "a green meadow", "a hand picks something up",
];
const MOST = 8;
const HARDLY = 0.4;

export function showTeaching(root, stop) {
  const [wall, about] = [h("ol", { class: "wall examples", "aria-label": "Examples" }), h("div", { class: "about" })];
  fill(root, h("section", { class: "start", "aria-label": "Start" }, wall, about));
  const begin = () => begun(wall, about, stop).catch((error) => {
    // Whoever is away comes back, and this begins anew; whoever is locked out is told so elsewhere.
    if (error.status && error.status !== 401) fill(about, h("p", { role: "alert" }, sentence(error.message)));
  });
  begin();
  on(["back"], begin, stop);
  // The first files of an empty archive.
  on(["stored", "ended"], () => wall.childElementCount === 0 && begin(), stop);
}

async function begun(wall, about, stop) {
  const [{ media }, model] = await Promise.all([api.media({ limit: 1 }), chosen()]);
  if (stop.aborted) return;
  const isShapes = model?.name === "shapes";
  const examples = isShapes ? OF_SHAPES : OF_REAL_FOOTAGE;
  suggest(examples[0]);
  fill(about, explanation(model, isShapes), media.length === 0 && nothingYet());
  if (media.length > 0) await exhibit(wall, examples, stop);
}

/// The model that the daemon searches with; null where it does not say.
async function chosen() {
  const { models } = await api.models().catch(() => ({ models: [] }));
  return models.find(({ selected }) => selected) ?? null;
}

/// The examples that fit best what is here, each with its best moment, none of which is shown twice.
async function exhibit(wall, examples, stop) {
  const found = [];
  for (const text of examples) {
    const { moments } = await api.search({ text, limit: 1 });
    if (stop.aborted) return;
    if (moments.length) found.push([text, moments[0]]);
  }
  found.sort(([, a], [, b]) => b.score - a.score);
  const taken = new Set();
  const best = found.filter(([, { media_id, path, uri, score }]) => {
    const medium = media_id ?? path ?? uri;
    // What fits much worse than the best is hardly an example.
    return score > found[0][1].score * HARDLY && !taken.has(medium) && taken.add(medium);
  });
  // Where there is one long medium, its moments are all there is to show.
  const shown = best.length < 4 ? found : best;
  rearrange(wall, shown.slice(0, MOST).map(([text, moment]) => example(text, moment)));
}

function example(text, moment) {
  const shown = tile(moment, { asked: { view: "search", q: text }, caption: text });
  const link = shown.querySelector(".tile-link");
  // An example is to be asked, not to be played.
  link.href = write({ view: "search", q: text });
  shown.querySelector(".tile-actions").remove();
  return shown;
}

function explanation(model, isShapes) {
  if (!model) return h("p", {}, "Say what can be seen, in a few plain words.");
  const size = `${model.name}: ${model.summary}`;
  return isShapes
    ? [h("h2", {}, "This is the model that comes with clipseek"),
      h("p", {}, "It is small and knows only drawn shapes: circles, squares, stars, hearts and rings in nine colours, how they "
        + "move, grow, turn, chase and hide. Order counts: a heart that shrinks is not one that grows."),
      h("p", {}, "For real footage bring a model that has seen the world, then start again:"),
      h("pre", {}, h("code", {}, "clipseek model pull clip-b32\nclipseek serve --model clip-b32 ~/Videos"))]
    : [h("h2", {}, "Say what can be seen"),
      h("p", {}, "A few plain words do: who, does what, where. Or drop a picture anywhere on this page to find moments like it."),
      h("p", { class: "quiet" }, `Model ${size}`)];
}

function nothingYet() {
  return [h("h2", {}, "Nothing is indexed yet"),
    h("p", {}, "The moments of a folder or a camera can be found as they come in."),
    h("p", {}, h("a", { class: "button primary", href: "/?view=sources" }, "See what is watched"))];
}
