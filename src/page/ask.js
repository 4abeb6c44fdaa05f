// The field where one types what happens: the address follows the typing, and the field follows the address.

import { thumbnail } from "./api.js";
import { $, button, drawing, fill, h, settled } from "./dom.js";
import { kept, takePictures } from "./picture.js";
import { go, now } from "./router.js";

/// Long enough not to ask for every letter, short enough not to be felt.
const PAUSE_MS = 110;

const form = $("#ask");
const field = $("#query");
/// While one types, the address changes in place: the back button leaves the search, not the letters.
let isTyping = false;

export const focusField = () => {
  field.focus();
  field.select();
};

/// `whatever`: shown as an example while the field is empty.
export const suggest = (whatever) => (field.placeholder = whatever);

export function startAsking() {
  $("#by-picture").append(drawing("picture"));
  const typed = settled(() => {
    const { play, from, to, ...asked } = now();
    const q = field.value.trim() ? field.value : undefined;
    // An emptied field goes on with the picture or the moment that is being looked for.
    const by = q ? {} : { like: asked.like, picture: asked.picture };
    const replace = isTyping;
    isTyping = true;
    go({ ...asked, like: undefined, picture: undefined, ...by, q, view: viewFor(asked.view) }, { replace });
  }, PAUSE_MS);
  field.addEventListener("input", typed);
  field.addEventListener("blur", () => (isTyping = false));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    typed.now();
    isTyping = false;
    // On a phone the keyboard would cover what was found.
    if (matchMedia("(pointer: coarse)").matches) field.blur();
  });
  takePictures((picture) => go({ ...now(), q: undefined, like: undefined, play: undefined, picture, view: "search" }));
}

/// The day is searched too; other views have nothing to do with words.
const viewFor = (view) => (view === "day" ? "day" : "search");

export function showAsked(asked) {
  // What is being typed is newer than the address.
  if (document.activeElement !== field || !isTyping) field.value = asked.q ?? "";
  const badge = $("#field-picture");
  const source = asked.like ? thumbnail(asked.like) : asked.picture ? kept(asked.picture)?.url : null;
  badge.hidden = !(asked.like || asked.picture);
  if (badge.hidden) return void fill(badge);
  fill(badge, source && h("img", { src: source, alt: "" }), h("span", {}, asked.like ? "More like this" : "Like this picture"),
    button("close", "Search by words again", () => {
      go({ ...now(), like: undefined, picture: undefined, play: undefined });
      focusField();
    }));
}
