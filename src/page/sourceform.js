// The form that adds a folder or a stream.

import { addSource } from "./api.js";
import { fill, h } from "./dom.js";
import { sentence } from "./format.js";
import { say } from "./notice.js";

/// `may`: what may be added; `added()` is called after each.
export function sourceForm(may, added) {
  const field = (name, title, hint, more = {}) =>
    h(
      "label",
      { class: "field-row" },
      h("span", { class: "field-title" }, title),
      h("input", { class: "input", name, autocomplete: "off", spellcheck: "false", placeholder: hint, ...more }),
    );
  const [heading, title, example] = offered(may);
  const where = field("where", title, example, { required: true });
  const record = h("label", { class: "check" }, h("input", { type: "checkbox", name: "record" }), "Keep the footage");
  const login = h(
    "div",
    { class: "form-row", hidden: true },
    field("user", "User", "viewer"),
    field("password_env", "Password is in the variable", "GARAGE_PASSWORD"),
    field("password_file", "or in the file", "/run/secrets/garage"),
    record,
  );
  const problem = h("p", { class: "form-problem", role: "alert" });
  const form = h(
    "form",
    { class: "add-source", "aria-labelledby": "add-title" },
    h("h2", { id: "add-title" }, heading),
    h(
      "div",
      { class: "form-row" },
      where,
      field("name", "Name", "garage", { pattern: "[A-Za-z0-9_.\\-]+", title: "letters, digits, '_', '-', '.'" }),
      field("label", "Label", "Garage, north wall"),
      field("tags", "Tags", "indoor, camera"),
    ),
    login,
    problem,
    h("div", {}, h("button", { type: "submit", class: "button primary" }, "Watch it")),
  );
  // What only a stream needs appears when an address is typed.
  form.addEventListener("input", () => (login.hidden = !isStream(form.elements.where.value)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fill(problem);
    const source = sourceOf(form.elements);
    try {
      await addSource(source);
      say(`${source.name} is watched`);
      form.reset();
      login.hidden = true;
      added();
    } catch (error) {
      fill(problem, sentence(error.message));
    }
  });
  return form;
}

/// Heading, name of the field and an example in it.
function offered({ can_add_folders, can_add_streams }) {
  if (!can_add_streams) return ["Add a folder", "Folder", "/srv/videos"];
  if (!can_add_folders) return ["Add a camera", "Address", "rtsp://camera/stream1"];
  return ["Add a folder or a camera", "Folder or address", "/srv/videos or rtsp://camera/stream1"];
}

const isStream = (text) => /^[a-z0-9]+:\/\//i.test(text.trim());

function sourceOf({ where, name, label, tags, user, password_env, password_file, record }) {
  const place = where.value.trim();
  const source = isStream(place) ? { uri: place } : { path: place };
  source.name = name.value.trim() || nameFrom(place);
  if (label.value.trim()) source.label = label.value.trim();
  const words = tags.value
    .split(",")
    .map((tag) => tag.trim())
    .filter(Boolean);
  if (words.length) source.tags = words;
  if (!source.uri) return source;
  for (const field of [user, password_env, password_file]) if (field.value.trim()) source[field.name] = field.value.trim();
  if (record.checked) source.record = true;
  return source;
}

/// The last word of the address: `/srv/videos/garage/` becomes `garage`.
function nameFrom(place) {
  const words = place.split(/[^A-Za-z0-9_.-]+/).filter(Boolean);
  return words.at(-1) ?? "source";
}
