/** Times, sizes and numbers as people read them; times are local, the title has the exact UTC. */

import { isoOf, now } from "./clock.js";
import { h } from "./dom.js";
import { inZone, isUtc, zone } from "./zone.js";

export const SEVERITIES = ["critical", "error", "warning", "info"];
export const TYPES = ["alert", "action", "status", "metric"];
export const SOURCES = ["monitor", "user", "jarvis", "system"];

/** @type {Record<string, string>} */
const SIGNS = { critical: "■", error: "◆", warning: "▲", info: "○" };
const styles = inZone((timeZone) => ({
  clock: new Intl.DateTimeFormat(undefined, { timeStyle: "medium", timeZone }),
  day: new Intl.DateTimeFormat(undefined, {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZone,
  }),
  year: new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", timeZone }),
}));
const number = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** @param {any} moment */
export function when(moment) {
  if (!moment) return h("span", { class: "muted" }, "–");
  const time = h("time", { datetime: moment, title: String(moment) });
  write(time, new Date(moment));
  return time;
}

/** @param {HTMLTimeElement} time @param {Date} at */
function write(time, at) {
  const [day, today] = [at, new Date(now())].map(dayOf);
  const as = day === today ? "clock" : day.slice(-4) === today.slice(-4) ? "day" : "year";
  time.dataset.as = as;
  time.textContent = styles()[as].format(at);
}

/** Write all in their places, by which a row keeps what is typed in it and can be undone. */
function writeAgain() {
  for (const one of /** @type {NodeListOf<HTMLTimeElement>} */ (
    document.querySelectorAll("time[data-as]")
  ))
    write(one, new Date(one.dateTime));
}
zone.addEventListener("change", writeAgain);

/** A day, its year last. @param {Date} at */
const dayOf = (at) =>
  isUtc() ? at.toUTCString().slice(5, 16) : at.toDateString();

/** Seconds as the two largest units: "3 h 12 min". @param {number} seconds */
export function span(seconds) {
  const left = Math.max(0, Math.round(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${left % 60} s`;
  if (left < 86400) return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
  return `${Math.floor(left / 86400)} d ${Math.floor((left % 86400) / 3600)} h`;
}

/** @param {string} moment */
function age(moment) {
  const seconds = Math.round((now() - Date.parse(moment)) / 1000);
  // A clock may be a little off; what is further ahead is said to be.
  if (seconds < -60) return `in ${span(-seconds)}`;
  const minutes = Math.floor(seconds / 60);
  return `${minutes > 0 && minutes < 60 ? `${minutes} min` : span(seconds)} ago`;
}

/** @param {any} moment */
export function ago(moment) {
  if (!moment) return h("span", { class: "muted" }, "none yet");
  return h("time", { "data-ago": true, datetime: moment, title: String(moment) }, age(moment));
}

/** Have all ages go on, and times get their day when it is over, whether anything else comes or not. */
export function keepAges() {
  let day = dayOf(new Date(now()));
  setInterval(() => {
    const today = dayOf(new Date(now()));
    if (today !== day) writeAgain();
    day = today;
    for (const one of /** @type {NodeListOf<HTMLTimeElement>} */ (
      document.querySelectorAll("time[data-ago]")
    )) {
      const text = age(one.dateTime);
      if (one.textContent !== text) one.textContent = text;
    }
  }, 5_000);
}

/**
 * With one digit behind the point, or what the reader's language has there.
 * @param {number} value
 */
export function tenths(value) {
  return short.format(value);
}

/** @param {unknown} value */
export function count(value) {
  return typeof value === "number" ? number.format(value) : "–";
}

/** @param {unknown} value */
export function bytes(value) {
  if (typeof value !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let left = value;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${left >= 100 ? number.format(Math.round(left)) : short.format(left)} ${units[unit]}`;
}

/** A sign for those who see no colours. @param {string} name */
export const sign = (name) => SIGNS[name] ?? SIGNS.info;

/** @param {string} name */
export function severity(name) {
  return h(
    "span",
    { class: `severity ${SIGNS[name] ? name : "info"}` },
    h("span", { "aria-hidden": "true" }, sign(name)),
    ` ${name}`,
  );
}

/**
 * JSON laid out for reading, where nothing is lost by it (a large number would be); else as it is.
 * @param {unknown} value
 */
export function laidOut(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    const read = JSON.parse(value);
    return JSON.stringify(read) === value ? JSON.stringify(read, null, 2) : value;
  } catch {
    return value;
  }
}

/** The value that `<input type="datetime-local">` has for a moment. @param {string} moment */
export function toInput(moment) {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return "";
  // It leaves out seconds that are zero.
  return (isUtc() ? at : asIfUtc(at)).toISOString().slice(0, 19).replace(/:00$/, "");
}

/**
 * The moment at which UTC shows what the reader's zone shows now. The difference is no number of
 * minutes in years before the zone had a standard time.
 * @param {Date} at
 */
function asIfUtc(at) {
  const shown = new Date(0);
  shown.setUTCFullYear(at.getFullYear(), at.getMonth(), at.getDate());
  shown.setUTCHours(at.getHours(), at.getMinutes(), at.getSeconds());
  return shown;
}

/**
 * Whether the year of such an input is being typed: a browser tells of each of its digits.
 * @param {string} text
 */
export const isBeingTyped = (text) => text !== "" && text < "1970";

const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d))?$/i;

/**
 * The time that an address asks for, as the recorder takes it; empty where it asks for none, null
 * where that is not understood.
 * @param {string|null} given
 */
export function timeOf(given) {
  // A query has a space for a plus.
  const time = (given ?? "").replace(/ (?=\d\d:?\d\d$)/, "+");
  return !time || (TIME.test(time) && !Number.isNaN(Date.parse(time))) ? time : null;
}

/** The hour that an autumn night has twice begins again after so long, on Lord Howe Island sooner. */
const TWICE = [0, 1_800_000, 3_600_000];

/**
 * Return the moment that such an input shows, of two that are shown alike the one nearer to
 * another; empty where it shows none.
 * @param {string} text @param {string} near
 */
export function fromInput(text, near) {
  const at = Date.parse(isUtc() && text ? `${text}Z` : text);
  if (Number.isNaN(at)) return "";
  const [shown, before] = [toInput(isoOf(at)), Date.parse(near)];
  const away = (/** @type {number} */ moment) => Math.abs(moment - before) || 0;
  const [nearest] = TWICE.map((later) => at + later)
    .filter((moment) => toInput(isoOf(moment)) === shown)
    .sort((one, other) => away(one) - away(other));
  return isoOf(nearest);
}
