/** Parts that all charts have: uPlot itself, colours of the style sheet, an axis of time. */

import { part } from "./parts.js";
import { inZone, isUtc } from "./zone.js";

const DAY = 86_400;

const styles = inZone((timeZone) => ({
  second: new Intl.DateTimeFormat(undefined, { timeStyle: "medium", timeZone }),
  minute: new Intl.DateTimeFormat(undefined, { timeStyle: "short", timeZone }),
  day: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone }),
  month: new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric", timeZone }),
}));

/**
 * Times as the reader's language writes them, and the day below where another one begins.
 * @param {unknown} _ @param {number[]} splits @param {unknown} __ @param {unknown} ___
 * @param {number} step
 */
export function timeLabels(_, splits, __, ___, step) {
  const { month, day: date, second, minute } = styles();
  if (step >= 28 * DAY) return splits.map((at) => month.format(at * 1000));
  if (step >= DAY) return splits.map((at) => date.format(at * 1000));
  let before = "";
  return splits.map((at) => {
    const day = date.format(at * 1000);
    const text = (step < 60 ? second : minute).format(at * 1000);
    const fresh = day !== before;
    before = day;
    return fresh ? `${text}\n${day}` : text;
  });
}

/** Loaded where something is drawn first: it is a quarter of all there is. @type {any} */
let uPlot = null;

export async function drawing() {
  uPlot ??= (await part(() => import("../vendor/uplot/uPlot.esm.js"))).default;
  return uPlot;
}

/** @param {number} at seconds since 1970 */
export function tzDate(at) {
  const date = new Date(at * 1000);
  return isUtc() ? uPlot.tzDate(date, "Etc/UTC") : date;
}

/**
 * A canvas knows no variables of a style sheet, nor which of two colours holds.
 * @param {HTMLElement} place @param {string} name
 */
export function colourOf(place, name) {
  place.style.color = `var(--${name})`;
  return getComputedStyle(place).color;
}

/** The looks of an axis. @param {HTMLElement} place */
export function axisOf(place) {
  return {
    stroke: colourOf(place, "muted"),
    grid: { stroke: colourOf(place, "line"), width: 1 },
    ticks: { stroke: colourOf(place, "line") },
    font: "12px system-ui, sans-serif",
  };
}

/** @param {HTMLElement} place */
export const sizeOf = (place) => ({
  width: Math.max(place.clientWidth, 200),
  height: place.clientHeight,
});
