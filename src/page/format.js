// How times, numbers and names are written.

/// `1:02:03`, or with a tenth `0:05.5`.
export function clock(seconds, tenths = false) {
  const all = Math.max(0, tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6));
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const last = tenths ? rest.toFixed(1).padStart(4, "0") : `${rest}`.padStart(2, "0");
  return hours ? `${hours}:${`${minutes}`.padStart(2, "0")}:${last}` : `${minutes}:${last}`;
}

export const span = (start, end) => `${clock(start)} – ${clock(end)}`;

/// For screen readers: "1 minute 5 seconds".
export function spoken(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.round(seconds % 60)];
  const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  return minutes ? `${many(minutes, "minute")} ${many(rest, "second")}` : many(rest, "second");
}

export const count = (number, one, more = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : more}`;

/// A message of the daemon, which begins small and has no full stop, as a sentence.
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

export const score = (value) => value.toFixed(2);

/// `2 s`, `5 min`, `3 h`, `4 days`.
export function length(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export const fileName = (path) => path.slice(path.lastIndexOf("/") + 1);

/// The file, the label or the camera: what a person calls it.
export const nameOf = (moment) =>
  moment.label || (moment.path && !isLive(moment) ? fileName(moment.path) : moment.source) || moment.uri || "moment";

/// A live stream has no file, or a segment of its recording with the place in it.
export const isLive = (moment) => moment.path == null || moment.offset_s != null;

const sameDay = (a, b) => a.toDateString() === b.toDateString();

/// Wall clock: `14:05:12`, with the day unless it is today.
export function wall(time, now = new Date()) {
  const at = new Date(time);
  const hours = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  return sameDay(at, now) ? hours : `${shortDay(at, now)}, ${hours}`;
}

function shortDay(day, now = new Date()) {
  const year = day.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return day.toLocaleDateString("en-GB", { day: "numeric", month: "short", year });
}

export function longDay(day) {
  return day.toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

/// `YYYY-MM-DD` where the reader is.
export function isoDay(day) {
  return [day.getFullYear(), `${day.getMonth() + 1}`.padStart(2, "0"), `${day.getDate()}`.padStart(2, "0")].join("-");
}

/// The command that plays the moment at its place, to be pasted into a shell.
export function playCommand(moment) {
  const start = moment.offset_s ?? moment.start_s;
  const what = isLive(moment) && moment.path == null ? moment.uri : moment.path;
  const long = Math.max(moment.end_s - moment.start_s, 0.1);
  return `ffplay -autoexit -ss ${start.toFixed(1)} -t ${long.toFixed(1)} ${quoted(what)}`;
}

const quoted = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
