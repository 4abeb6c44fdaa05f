// Starts the page: the address decides what is shown.

import { showAsked, startAsking } from "./ask.js";
import { showChips } from "./chips.js";
import { $ } from "./dom.js";
import { listen, news } from "./events.js";
import { startKeys } from "./keys.js";
import { watchStreams } from "./live.js";
import { moving } from "./motion.js";
import { watchConnection } from "./notice.js";
import { showPlayer } from "./player.js";
import { followLinks, start } from "./router.js";
import { leaveSearch, showSearch } from "./search.js";
import { showTeaching } from "./teach.js";
import { isSearch, searchKey } from "./url.js";

const root = $("#view");
// Fetched when somebody goes there.
const VIEWS = {
  day: async () => (await import("./day.js")).showDay,
  sources: async () => (await import("./sources.js")).showSources,
  indexing: async () => (await import("./indexing.js")).showIndexing,
};
const TITLES = { search: "clipseek", day: "Day", sources: "Sources", indexing: "Indexing" };
/// Aborted when the reader leaves the view: whatever it listens to and asks for ends with it.
let stay = new AbortController();

function show(asked, before) {
  const isAsking = isSearch(asked);
  const isStart = asked.view === "search" && !isAsking;
  document.title = asked.q && ["search", "day"].includes(asked.view) ? `${asked.q} – clipseek` : TITLES[asked.view];
  const name = isStart ? "start" : asked.view;
  if (before && document.body.dataset.view !== name) moving($(".field"), () => (document.body.dataset.view = name));
  else document.body.dataset.view = name;
  for (const link of document.querySelectorAll(".nav a")) {
    const { view } = link.dataset;
    if (view === asked.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    // The words go along between the views that use them.
    if (view === "day" && asked.q) link.href = `/?view=day&q=${encodeURIComponent(asked.q)}`;
    if (view === "search") link.href = asked.q && asked.view !== "search" ? `/?q=${encodeURIComponent(asked.q)}` : "/";
  }
  showAsked(asked);
  showChips(asked);
  if (!before || viewKey(asked) !== viewKey(before)) change(asked, before, isStart);
  showPlayer(asked);
}

function change(asked, before, isStart) {
  if (asked.view === "search" && !isStart) {
    stay.abort();
    if (before && (before.view !== "search" || !isSearch(before))) scrollTo(0, 0);
    showSearch(root, asked);
    return;
  }
  leaveSearch();
  stay.abort();
  stay = new AbortController();
  if (before?.view !== asked.view) scrollTo(0, 0);
  if (isStart) showTeaching(root, stay.signal);
  else showView(asked, stay.signal);
}

async function showView(asked, stop) {
  try {
    const view = await VIEWS[asked.view]();
    if (!stop.aborted) view(root, asked, stop);
  } catch {
    // Its file could not be fetched: the daemon is away. It is shown when the daemon is back.
    news.addEventListener("back", () => showView(asked, stop), { once: true, signal: stop });
  }
}

/// What a view depends on. The player lies above all of them.
const viewKey = (asked) => (["search", "day"].includes(asked.view) ? `${asked.view} ${asked.day} ${searchKey(asked)}` : asked.view);

startAsking();
startKeys();
watchConnection();
listen();
watchStreams();
document.addEventListener("click", followLinks);
history.scrollRestoration = "manual";
start(show);
