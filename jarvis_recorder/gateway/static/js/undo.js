/** What is done in a moment, unless it is undone: a slip of the hand is announced to no one. */

import { announce, focusRow, h, notice } from "./dom.js";

const UNDO_SECONDS = 10;

/** What waits, by its key. @type {Map<string, {timer: number, done: () => void}>} */
const waiting = new Map();

/** Do at once whatever waits: the reader leaves. */
export function settle() {
  for (const one of [...waiting.values()]) one.done();
}
addEventListener("pagehide", settle);

/**
 * A button whose work begins 10 s after it; meanwhile it is one to undo that, in the same place.
 * @param {{key: string, verb: string, past: string, what: string,
 *   work: (options: object) => Promise<any>}} action
 */
export function undoable({ key, verb, past, what, work }) {
  const place = h("span", { class: "undoable" }, waiting.has(key) ? undo() : begin());

  /** @param {string} name @param {string} title @param {(event: MouseEvent) => void} onclick */
  function button(name, title, onclick) {
    return h(
      "button",
      {
        type: "button",
        class: "quiet",
        "data-key": `${name}-${key}`,
        "aria-label": `${title}: ${what}`,
        onclick,
      },
      title,
    );
  }

  function begin() {
    return button("begin", verb, (/** @type {MouseEvent} */ { detail }) => {
      // The second half of a double click is meant for the button that was here.
      if (detail > 1) return;
      const timer = setTimeout(() => waiting.get(key)?.done(), UNDO_SECONDS * 1000);
      waiting.set(key, { timer, done });
      place.replaceChildren(undo());
      focusNext(place);
      announce(`${verb}: ${what}. It can be undone for ${UNDO_SECONDS} seconds.`);
    });
  }

  function undo() {
    return button("undo", "Undo", (/** @type {MouseEvent} */ { detail }) => {
      if (detail > 1 || !waiting.has(key)) return;
      forget();
      const again = begin();
      place.replaceChildren(again);
      again.focus();
      announce(`Undone: ${what}`);
    });
  }

  function forget() {
    clearTimeout(waiting.get(key)?.timer);
    waiting.delete(key);
  }

  async function done() {
    forget();
    try {
      // It goes out even where the page is closed.
      await work({ keepalive: true });
      say(h("span", { class: "muted" }, past));
    } catch (/** @type {any} */ error) {
      const isSaid = say(begin(), h("span", { class: "failed", role: "alert" }, error.message));
      if (!isSaid) notice(`Not done: ${verb}, ${what}. ${error.message}`);
    }
  }

  /** @param {...Node} words @returns {boolean} whether the reader sees the place of it */
  function say(...words) {
    // The row may have been made again meanwhile, before or after this began.
    const buttons = ["undo", "begin"].map((name) => `[data-key="${name}-${CSS.escape(key)}"]`);
    const shown = document.querySelector(buttons.join());
    const where = shown?.parentElement ?? place;
    const focused = where.contains(document.activeElement);
    where.replaceChildren(...words);
    if (focused) focusNext(where);
    return where.isConnected;
  }

  /** @param {HTMLElement} from */
  function focusNext(from) {
    const row = from.closest("[data-row]");
    const rows = [...(row?.parentElement?.children ?? [])];
    if (!row || rows.length < 2) {
      from.tabIndex = -1;
      (from.querySelector("button") ?? from).focus();
      return;
    }
    const next = rows.indexOf(row) + 1;
    const list = /** @type {HTMLElement} */ (row.parentElement);
    focusRow(list, next < rows.length ? next : next - 2);
  }

  return place;
}
