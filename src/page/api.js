// What the page asks the daemon. Every address of the HTTP API that the page uses is in this file.

/// An answer that says what is wrong (RFC 9457). `status` is 0 where no answer came at all.
class Problem extends Error {
  constructor(status, detail, retryAfter = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/// Hears of every request that got no answer, and of every one that was refused for want of a token.
export const trouble = new EventTarget();

async function ask(method, path, { query, json, picture, signal, range } = {}) {
  const body = picture ?? (json === undefined ? undefined : JSON.stringify(json));
  const headers = { accept: "application/json" };
  if (range) headers.range = range;
  if (body !== undefined) headers["content-type"] = picture ? picture.type : "application/json";
  let response;
  try {
    response = await fetch(address(path, query), { method, body, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    trouble.dispatchEvent(new Event("lost"));
    throw new Problem(0, "clipseek cannot be reached");
  }
  if (response.ok) return response.status === 204 || range ? null : await read(response);
  const said = await response.json().catch(() => ({}));
  if (response.status === 401) trouble.dispatchEvent(new Event("locked"));
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  throw new Problem(response.status, said.detail ?? `clipseek answers ${response.status} ${response.statusText}`, retryAfter);
}

async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(response.status, "the answer broke off: try again");
  }
}

function address(path, query) {
  const set = Object.entries(query ?? {}).filter(([, value]) => value != null && value !== "");
  const pairs = set.flatMap(([key, value]) => [value].flat().map((one) => [key, one]));
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

const within = (id, rest = "") => encodeURIComponent(id) + rest;

/// `picture`: a blob to search by; the rest of the request is then in the query.
export function search(request, { picture, signal } = {}) {
  return picture
    ? ask("POST", "/v1/search", { query: request, picture, signal })
    : ask("POST", "/v1/search", { json: request, signal });
}

export function scores(medium, request, { picture, signal } = {}) {
  const path = `/v1/media/${within(medium, "/scores")}`;
  return picture ? ask("POST", path, { query: request, picture, signal }) : ask("POST", path, { json: request, signal });
}

export const moment = (id, span) => ask("GET", `/v1/moments/${within(id)}`, { query: span });
/// `how`: the least that is done to make it playable.
export const playback = (id, span, how, signal) =>
  ask("GET", `/v1/moments/${within(id, "/playback")}`, { query: { ...span, how }, signal });

// Addresses that elements load by themselves.
export const thumbnail = (id, at) => address(`/v1/moments/${within(id, "/thumbnail")}`, { at_s: at });
export const preview = (id, span) => address(`/v1/moments/${within(id, "/preview")}`, span);
export const clip = (id, span, exact) =>
  address(`/v1/moments/${within(id, "/clip")}`, { ...span, exact: exact ? "true" : null });

/// Has the clip made, so that it is known whether there is one before the browser is sent to it.
export const makeClip = (id, span, exact) =>
  ask("GET", `/v1/moments/${within(id, "/clip")}`, { query: { ...span, exact: exact ? "true" : null }, range: "bytes=0-0" });

export const media = (query) => ask("GET", "/v1/media", { query });
export const reindex = (id) => ask("POST", `/v1/media/${within(id, "/reindex")}`);
export const sources = () => ask("GET", "/v1/sources");
export const addSource = (source) => ask("POST", "/v1/sources", { json: source });
export const removeSource = (name) => ask("DELETE", `/v1/sources/${within(name)}`);
export const pauseSource = (name) => ask("POST", `/v1/sources/${within(name, "/pause")}`);
export const resumeSource = (name) => ask("POST", `/v1/sources/${within(name, "/resume")}`);
export const jobs = () => ask("GET", "/v1/jobs");
export const startJob = (job) => ask("POST", "/v1/jobs", { json: job });
export const cancelJob = (id) => ask("DELETE", `/v1/jobs/${id}`);
/// What whoever looks at the page may do.
export const session = () => ask("GET", "/v1/session");
export const models = () => ask("GET", "/v1/models");
export const alive = () => ask("GET", "/livez");
