/** Events as a file: those that the filters choose, the newest first. */

import { h } from "./dom.js";
import { look } from "./look.js";

const PAGE = 500;
const MOST = 10_000;
/** A search for few among many would look through all there is. */
const MOST_PAGES = 40;
/** A spreadsheet would take what begins so for a formula (OWASP, CSV injection). */
const FORMULA = /^[=+\-@\t\r]/;
const COLUMNS = [
  "timestamp", "severity", "type", "cluster", "node", "source", "summary", "details",
  "resolved", "resolvedAt", "resolvedBy", "id", "omitted",
];

/** Excel takes a file without it for one of the machine's own code page. */
const BYTE_ORDER_MARK = "\ufeff";

/** @typedef {{name: string, type: string, write: (events: any[]) => string}} Form */

/** @type {Form} */
export const CSV = {
  name: "csv",
  type: "text/csv",
  write: (events) => {
    const lines = [COLUMNS, ...events.map((one) => COLUMNS.map((name) => one[name]))];
    return BYTE_ORDER_MARK + lines.map(row).join("");
  },
};
/** @type {Form} */
export const JSON_LINES = {
  name: "jsonl",
  type: "application/x-ndjson",
  write: (events) => events.map((one) => `${JSON.stringify(one)}\n`).join(""),
};

/** A line of RFC 4180. @param {any[]} cells */
const row = (cells) => `${cells.map(cell).join(",")}\r\n`;

/** @param {any} value */
function cell(value) {
  if (value === null || value === undefined) return "";
  const text = Array.isArray(value) ? value.join(" ") : String(value);
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * Save what a question finds, of 10,000 events at most.
 * @param {any} question @param {Form} form @param {AbortSignal} signal
 * @returns {Promise<{count: number, isAll: boolean}>}
 */
export async function save(question, form, signal) {
  /** @type {any[]} */
  const events = [];
  /** @type {any} */
  let older = null;
  for (let pages = 0; pages < MOST_PAGES && events.length < MOST; pages += 1) {
    const found = await look({ ...question, limit: PAGE }, older, signal);
    events.push(...found.events);
    older = found.older;
    if (!older) break;
  }
  const url = URL.createObjectURL(
    new Blob([form.write(events.slice(0, MOST))], { type: form.type }),
  );
  h("a", { href: url, download: `events.${form.name}` }).click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return { count: Math.min(events.length, MOST), isAll: !older && events.length <= MOST };
}
