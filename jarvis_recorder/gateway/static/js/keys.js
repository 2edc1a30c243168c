/** What keys do in every view, but never in a field. */

import { factList, h } from "./dom.js";
import { go } from "./router.js";

const NEXT_MS = 1_500;
/** @type {Record<string, [string, string]>} */
const VIEWS = {
  n: ["now", "Now"],
  e: ["events", "Events"],
  u: ["guests", "Guests"],
  s: ["storages", "Storages"],
  m: ["moment", "Moment"],
  c: ["conversations", "Conversations"],
  p: ["preferences", "Preferences"],
  d: ["dead-letters", "Dead letters"],
  ",": ["settings", "Settings"],
};
/** Rows of lists and of tables, and not of the filters above them. */
const ROWS =
  "main [data-row] summary, main :not(.chips) > [data-row] > a, main [data-row] th a, main .turn";

let afterG = Number.NEGATIVE_INFINITY;

/** @param {EventTarget|null} target */
const isField = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || target.matches("input:not([type=checkbox]), textarea, select"));

/** @param {() => boolean} allowed @param {() => void} search opens the search over everything */
export function listenToKeys(allowed, search) {
  addEventListener("keydown", (event) => {
    if (!allowed()) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      search();
      return;
    }
    const open = document.querySelector("dialog[open]");
    if (event.ctrlKey || event.metaKey || event.altKey || open || isField(event.target))
      return;
    if (press(event.key, search)) event.preventDefault();
  });
}

/** @param {string} key @param {() => void} search @returns {boolean} whether it means something */
function press(key, search) {
  const to = performance.now() - afterG < NEXT_MS ? VIEWS[key] : undefined;
  afterG = key === "g" ? performance.now() : Number.NEGATIVE_INFINITY;
  if (to) {
    go(to[0]);
    return true;
  }
  if (key === "/") {
    /** @type {HTMLElement|null} */
    const field = document.querySelector("main input[type=search]");
    if (field?.checkVisibility()) field.focus();
    else search();
    return true;
  }
  if (key === "?") {
    help();
    return true;
  }
  if (key === "j" || key === "k") {
    stepRow(key === "j" ? 1 : -1);
    return true;
  }
  return key === "g";
}

/** Focus the next or the last row; the first one in sight where none has the focus. @param {number} by */
function stepRow(by) {
  /** @type {HTMLElement[]} */
  const rows = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(ROWS))].filter(
    (one) => one.checkVisibility(),
  );
  const row = document.activeElement?.closest("[data-row]");
  const here = row ? rows.findIndex((one) => row.contains(one)) : -1;
  const next =
    here < 0 ? rows.find((one) => one.getBoundingClientRect().top >= 0) : rows[here + by];
  if (!next) return;
  if (next.matches(".turn")) next.tabIndex = -1;
  next.focus();
}

function help() {
  const dialog = h(
    "dialog",
    { "aria-label": "Keys", onclose: () => dialog.remove() },
    h("h2", {}, "Keys"),
    factList([
      ["Ctrl K", "search, and go anywhere"],
      ["/", "the field to search in this view"],
      ["j, k", "the next row, the one before"],
      .../** @type {[string, string][]} */ (
        Object.entries(VIEWS).map(([key, [, title]]) => [`g ${key}`, title])
      ),
      ["?", "these keys"],
    ]),
    h("form", { method: "dialog" }, h("button", { class: "quiet" }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}
