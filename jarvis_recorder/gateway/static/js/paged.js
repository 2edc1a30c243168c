/** A region that holds the pages of a list, as many as were asked for. */

import { h } from "./dom.js";
import { keep } from "./load.js";

/**
 * A list with a button for its next page; it begins again when it is loaded again.
 * @param {HTMLElement} region @param {AbortSignal} over
 * @param {(cursor: string|null, signal: AbortSignal) => Promise<any>} fetch
 * @param {string} name of the list in a page @param {(all: any[]) => any} render
 */
export function paged(region, over, fetch, name, render) {
  /** @type {any[]} */
  let all = [];
  let pages = 1;
  /** @type {string|null} */
  let cursor = null;
  const kept = keep(
    region,
    over,
    async (signal) => {
      const found = [];
      /** @type {string|null} */
      let next = null;
      // Another page may be asked for meanwhile.
      for (let page = 0; page < pages; page += 1) {
        /** @type {any} */
        const answer = await fetch(next, signal);
        found.push(...answer[name]);
        next = answer.nextCursor;
        if (!next) break;
      }
      return { found, next };
    },
    ({ found, next }) => {
      all = found;
      cursor = next;
      return lines();
    },
  );
  function lines() {
    return [
      render(all),
      cursor &&
        h(
          "button",
          { type: "button", class: "quiet", "data-key": `more-${name}`, onclick: more },
          "Show more",
        ),
    ];
  }
  async function more(/** @type {any} */ { currentTarget: button }) {
    button.disabled = true;
    const from = cursor;
    try {
      const answer = await fetch(from, over);
      pages += 1;
      // The list may have been loaded again meanwhile, and end elsewhere.
      if (cursor !== from) {
        kept.load();
        return;
      }
      all = [...all, ...answer[name]];
      cursor = answer.nextCursor;
      kept.show(lines, true);
    } catch (/** @type {any} */ error) {
      button.disabled = false;
      if (!over.aborted) button.after(h("span", { class: "failed", role: "alert" }, error.message));
    }
  }
  return kept;
}
