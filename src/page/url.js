// What is asked, as the address of the page and as a search request. Whatever can be shared is in the address.
//
// `asked` is `{view, q, like, picture, play, day, …filters}`. `picture` names a picture that only this browser tab has.

/// Filters by their key in the address. `list`: it may stand several times.
export const FILTERS = {
  not: { title: "Not", list: true, hint: "what should not be seen", example: "snow" },
  also: { title: "Also called", list: true, hint: "the same in other words; both count", example: "a puppy plays" },
  source: { title: "Source", hint: "one camera or folder" },
  label: { title: "Label", hint: "the name somebody gave it", example: "garage" },
  tag: { title: "Tag", list: true, hint: "all of these tags", example: "indoor" },
  path: { title: "Path", hint: "a pattern over file names", example: "garage/**" },
  caption: { title: "Caption has", hint: "words of written captions", example: "red car" },
  after: { title: "From", hint: "recorded at or after", input: "datetime-local" },
  before: { title: "Until", hint: "recorded before", input: "datetime-local" },
  between: { title: "Time of day", hint: "by the daemon's clock; may pass midnight", input: "span" },
  mode: {
    title: "Compare", hint: "with pictures, captions, or both",
    choices: { text: "captions", hybrid: "pictures and captions" },
  },
  model: { title: "Model", hint: "whose index to search" },
  group: { title: "By file", hint: "moments of a file together", choices: { yes: "together" } },
  diversity: { title: "Variety", hint: "fewer that look alike", choices: { 0.3: "some", 0.6: "much" } },
};

const SINGLE = ["view", "q", "like", "picture", "play", "from", "to", "day"];
const VIEWS = ["search", "day", "sources", "indexing"];

export function read(location) {
  const query = new URLSearchParams(location.search);
  const asked = {};
  for (const key of SINGLE) if (query.get(key)) asked[key] = query.get(key);
  for (const [key, { list }] of Object.entries(FILTERS)) {
    const values = query.getAll(key).filter(Boolean);
    if (values.length) asked[key] = list ? values : values[0];
  }
  asked.view = VIEWS.includes(asked.view) ? asked.view : "search";
  return asked;
}

export function write(asked) {
  const query = new URLSearchParams();
  for (const key of [...SINGLE, ...Object.keys(FILTERS)]) {
    if (key === "view" && asked.view === "search") continue;
    for (const value of [asked[key] ?? []].flat()) if (value !== "") query.append(key, value);
  }
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

/// Whether there is something to look for.
export const isSearch = ({ q, like, picture }) => Boolean(q?.trim() || like || picture);

/// What makes two addresses the same search.
export function searchKey(asked) {
  const { play, from, to, view, day, ...rest } = asked;
  return write({ ...rest, view: "search" });
}

/// A time of the browser's clock, which need not be the daemon's. What is no time the daemon refuses.
function instant(time) {
  const at = new Date(time);
  return time === undefined || Number.isNaN(at.getTime()) ? time : at.toISOString();
}

/// The body of `POST /v1/search`.
export function request(asked, more = {}) {
  const { q, like, picture, also, not, tag, source, label, path, caption, after, before, between, mode, model } = asked;
  const set = { not, source, label, path, caption, after: instant(after), before: instant(before), between, mode, model, tags: tag, ...more };
  if (asked.group) set.group = true;
  if (asked.diversity) set.diversity = Number(asked.diversity);
  if (like) set.like = like;
  else if (!picture && also?.length) set.texts = [q, ...also];
  else if (!picture) set.text = q;
  return Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined));
}

/// The filters that are set, as `[key, value]`, one for each value.
export function filtersOf(asked) {
  return Object.keys(FILTERS).flatMap((key) => [asked[key] ?? []].flat().map((value) => [key, value]));
}

export function without(asked, key, value) {
  const left = [asked[key] ?? []].flat().filter((one) => one !== value);
  return { ...asked, [key]: FILTERS[key].list && left.length ? left : undefined };
}

export function withFilter(asked, key, value) {
  const list = FILTERS[key].list ? [...new Set([...(asked[key] ?? []), value])] : value;
  return { ...asked, [key]: list };
}
