// The indexing view: what is being indexed and how far it is, the jobs, and what failed with its reason.

import * as api from "./api.js";
import { button, fill, h } from "./dom.js";
import { on } from "./events.js";
import { clock, count, fileName, wall } from "./format.js";
import { say, sayProblem } from "./notice.js";

const EVERY_MS = 4000;
/// Files that are over and still shown.
const RECENT = 12;

const KINDS = { index: "Index", retry: "Try again", verify: "Check the archive" };
const JOB_STATES = {
  queued: ["waiting", "waiting"],
  running: ["running", "good"],
  done: ["done", "good"],
  failed: ["failed", "bad"],
  cancelled: ["cancelled", "waiting"],
};
/// Failures in words.
const FAILURES = {
  unreadable: "unreadable",
  not_video: "no video",
  still_picture: "a still picture",
  no_video_track: "no video track",
  encrypted: "encrypted",
  no_decoder: "no decoder",
  damaged: "damaged",
  changed_while_read: "changed while it was read",
  decoder_died: "the decoder died",
  decoder_stalled: "the decoder stalled",
  model: "the model failed",
};

export function showIndexing(root, asked, stop) {
  const parts = {
    totals: h("dl", { class: "totals" }),
    running: h("ul", { class: "rows", "aria-label": "Being indexed" }),
    calm: h("p", { class: "hint" }, "Nothing is being indexed at the moment."),
    recent: h("ul", { class: "rows", "aria-label": "Indexed lately" }),
    jobs: h("ul", { class: "rows", "aria-label": "Jobs" }),
    failed: h("ul", { class: "rows", "aria-label": "Failed files" }),
    retry: button("again", "", () => start({ kind: "retry", model: null }, "Failed files are tried again"), {
      text: "Try all again",
      hidden: true,
    }),
    verify: button("done", "", () => start({ kind: "verify" }, "The archive is being checked"), {
      text: "Check the archive",
    }),
  };
  const section = (title, acts, ...body) =>
    h("section", { class: "block" }, h("div", { class: "block-head" }, h("h2", {}, title), acts), body);
  fill(
    root,
    h(
      "section",
      { class: "page", "aria-labelledby": "page-title" },
      h("h1", { id: "page-title", class: "page-title" }, "Indexing"),
      parts.totals,
      h(
        "div",
        { class: "columns" },
        h("div", {}, section("Now", null, parts.running, parts.calm), section("Lately", null, parts.recent)),
        h("div", {}, section("Failed", parts.retry, parts.failed), section("Jobs", parts.verify, parts.jobs)),
      ),
    ),
  );
  follow(parts, stop);

  async function start(job, done) {
    try {
      await api.startJob(job);
      say(done);
      poll();
    } catch (error) {
      sayProblem(error);
    }
  }

  let timer;
  async function poll() {
    clearTimeout(timer);
    try {
      const [{ jobs }, { sources }, failed] = await Promise.all([api.jobs(), api.sources(), failures()]);
      if (stop.aborted) return;
      showJobs(parts, jobs, poll);
      showFailed(parts, failed);
      showTotals(parts, sources, failed.length);
    } catch (error) {
      sayProblem(error);
    }
    if (!stop.aborted) timer = setTimeout(poll, EVERY_MS);
  }
  poll();
  on(["job", "failed", "back", "missed"], poll, stop);
  stop.addEventListener("abort", () => clearTimeout(timer));
}

async function failures() {
  const rows = [];
  let after;
  // Pages of the listing may have no failure at all although later ones do.
  for (let page = 0; page < 20 && rows.length < 500; page++) {
    const { media, next } = await api.media({ failed: true, after });
    rows.push(...media);
    if (!next) break;
    after = next;
  }
  return rows;
}

function showTotals(parts, sources, failed) {
  const sum = (key) => sources.reduce((all, source) => all + (source[key] ?? 0), 0);
  const totals = [
    ["Files known", sum("files")],
    ["Waiting", sum("pending")],
    ["Failed", failed],
    ["Frames read since the start", sum("frames")],
  ];
  fill(
    parts.totals,
    totals.map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value.toLocaleString("en")))),
  );
}

/// Files come and go by the events.
function follow(parts, stop) {
  const files = new Map();
  const row = (path) => {
    if (!files.has(path)) {
      const [bar, at] = [
        h("progress", { max: "1", "aria-label": `How far ${fileName(path)} is` }),
        h("span", { class: "row-figure" }),
      ];
      const element = h("li", { class: "row" }, h("span", { class: "row-name", title: path }, fileName(path)), at, bar);
      files.set(path, { element, bar, at, long: null });
      parts.running.append(element);
      parts.calm.hidden = true;
    }
    return files.get(path);
  };
  const over = (path, text, mood) => {
    files.get(path)?.element.remove();
    files.delete(path);
    parts.calm.hidden = files.size > 0;
    parts.recent.prepend(
      h(
        "li",
        { class: "row", "data-mood": mood },
        h("span", { class: "row-name", title: path }, fileName(path)),
        h("span", { class: "row-figure" }, text),
      ),
    );
    while (parts.recent.childElementCount > RECENT) parts.recent.lastChild.remove();
  };
  on(["begun"], ({ path, probe }) => (row(path).long = seconds(probe?.duration)), stop);
  on(
    ["advanced"],
    ({ path, at_s }) => {
      const { bar, at, long } = row(path);
      if (long) bar.value = Math.min(1, at_s / long);
      fill(at, long ? `${clock(at_s)} of ${clock(long)}` : clock(at_s));
    },
    stop,
  );
  on(
    ["ended"],
    ({ path, outcome }) => {
      const { outcome: word, windows } = typeof outcome === "object" ? outcome : { outcome };
      over(path, word === "indexed" ? count(windows, "window") : word, "good");
    },
    stop,
  );
  on(["failed"], ({ path, kind }) => over(path, FAILURES[kind] ?? kind, "bad"), stop);
  on(
    ["lost"],
    () => {
      files.forEach(({ element }) => element.remove());
      files.clear();
      parts.calm.hidden = false;
    },
    stop,
  );
  parts.recent.append(h("li", { class: "hint" }, "What is indexed while this page is open appears here."));
  on(["ended", "failed"], () => parts.recent.querySelector(".hint")?.remove(), stop);
}

/// A duration as Rust writes it.
const seconds = (duration) =>
  duration && typeof duration === "object" ? duration.secs + duration.nanos / 1e9 : (duration ?? null);

function showJobs(parts, jobs, poll) {
  const cancel = (id) => () => api.cancelJob(id).then(poll, sayProblem);
  const rows = jobs
    .toReversed()
    .slice(0, 20)
    .map((job) => {
      const [word, mood] = JOB_STATES[job.state] ?? [job.state, "waiting"];
      const isOpen = ["queued", "running"].includes(job.state);
      return h(
        "li",
        { class: "row", "data-mood": mood },
        h("span", { class: "row-name" }, KINDS[job.kind] ?? job.kind),
        h("span", { class: "row-figure" }, `${word} · ${wall(job.asked)}`),
        job.error && h("p", { class: "row-reason" }, job.error),
        isOpen && button("close", "", cancel(job.id), { text: "Cancel" }),
      );
    });
  fill(parts.jobs, rows.length ? rows : h("li", { class: "hint" }, "No jobs since the daemon started."));
}

async function tryAgain(media_id, path) {
  try {
    await api.reindex(media_id);
    say(`${fileName(path)} is tried again`);
  } catch (error) {
    sayProblem(error);
  }
}

function showFailed(parts, failed) {
  parts.retry.hidden = failed.length === 0;
  fill(
    parts.failed,
    failed.length === 0
      ? h("li", { class: "hint" }, "No file failed.")
      : failed.map(({ media_id, path, kind, reason, tries }) =>
          h(
            "li",
            { class: "row", "data-mood": "bad" },
            h("span", { class: "row-name", title: path }, fileName(path)),
            h("span", { class: "row-figure" }, `${FAILURES[kind] ?? kind}${tries > 1 ? ` · ${tries} tries` : ""}`),
            h("p", { class: "row-reason" }, reason),
            h("p", { class: "row-path" }, path),
            media_id &&
              button("again", "", () => tryAgain(media_id, path), {
                text: "Try again",
                "aria-label": `Try ${fileName(path)} again`,
              }),
          ),
        ),
  );
}
