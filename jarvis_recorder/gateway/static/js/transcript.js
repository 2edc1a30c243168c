/** What was said in a conversation: opened at its end, or at the turn that was looked for. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, laidOut, when } from "./format.js";
import { live } from "./live.js";
import { act, keep } from "./load.js";
import { reader } from "./markdown.js";
import { link } from "./router.js";

const SHOWN = 100;
const PAGE = 1_000;
/** @typedef {{cursor: string|null, turns: any[]}} Page @type {Page[]} */
const UNKNOWN = [{ cursor: null, turns: [] }];

/**
 * @param {HTMLElement} region @param {AbortSignal} over @param {string} session
 * @param {string} marked the number of a turn, empty for the last one
 */
export function transcript(region, over, session, marked) {
  /** All pages; the last one is asked for again, for what was said since, and is kept short for that. */
  let pages = UNKNOWN;
  /** @type {any[]} */
  let shown = [];
  let first = 0;
  let opened = false;
  /** What the pages have of them is cut. @type {Map<number, any>} */
  const whole = new Map();
  /** @type {((source: string) => HTMLElement)|null} */
  let read = null;
  const path = `/api/conversations/${encodeURIComponent(session)}/turns`;
  // Turns may have gone, or come late, in each of them. It is heard before `keep` asks again.
  live.addEventListener("resync", () => (pages = UNKNOWN), { signal: over });

  /** @param {AbortSignal} signal @returns {Promise<any[]>} */
  async function fetch(signal) {
    read ??= await reader();
    const before = pages;
    const found = before.slice(0, -1);
    let { cursor, turns } = /** @type {Page} */ (before.at(-1));
    let limit = turns.length > 2 * SHOWN ? turns.length - SHOWN : PAGE;
    do {
      const page = await get(path, { limit, cursor }, signal);
      found.push({ cursor, turns: page.turns });
      cursor = page.nextCursor;
      limit = PAGE;
    } while (cursor);
    // Else the stream was away meanwhile.
    if (pages === before) pages = found;
    // The end has been deleted, and what is before it may be, too.
    if (before.length > 1 && !found[before.length - 1].turns.length) {
      pages = UNKNOWN;
      return fetch(signal);
    }
    shown = found.flatMap((page) => page.turns);
    first = Math.max(0, Math.min(first, shown.length - SHOWN));
    return shown;
  }

  function list() {
    return [
      first > 0 &&
        h(
          "button",
          { type: "button", class: "quiet", "data-key": "earlier", onclick: earlier },
          `Show earlier ones (${count(first)})`,
        ),
      h(
        "ol",
        { class: "turns", "data-rows": "turns" },
        shown
          .slice(first)
          .map((turn) => turnItem(whole.get(turn.id) ?? turn, { marked, changed, read })),
      ),
    ];
  }

  const kept = keep(region, over, fetch, (turns) => {
    if (!opened) {
      const wanted = turns.findIndex(({ id }) => String(id) === marked);
      // With what was said before it, too.
      const from = wanted < 0 ? turns.length : wanted - SHOWN / 2;
      first = Math.max(0, Math.min(from, turns.length - SHOWN));
      opened = true;
      requestAnimationFrame(arrive);
    }
    return list();
  });

  /** @param {any} turn */
  function changed(turn) {
    whole.set(turn.id, turn);
    kept.show(list);
  }

  /** Go to where one wants to read, unless the reader went elsewhere meanwhile. */
  function arrive() {
    if (over.aborted) return;
    const wanted = region.querySelector(".turn[aria-current]");
    if (wanted) wanted.scrollIntoView({ block: "center" });
    else region.querySelector(".turn:last-child")?.scrollIntoView({ block: "end" });
  }

  function earlier() {
    const before = /** @type {Element} */ (region.querySelector(".turn"));
    const place = before.getBoundingClientRect().top;
    first = Math.max(0, first - SHOWN);
    kept.show(list, true);
    scrollBy(0, before.getBoundingClientRect().top - place);
  }

  return kept;
}

/**
 * @param {any} turn
 * @param {{marked: string, changed: (turn: any) => void, read: any}} how `read`: Markdown
 */
function turnItem(turn, { marked, changed, read }) {
  const calls = Array.isArray(turn.toolCalls)
    ? turn.toolCalls
    : turn.toolCalls
      ? [turn.toolCalls]
      : [];
  const cost = [
    turn.model,
    turn.tokensUsed !== null && `${count(turn.tokensUsed)} tokens`,
    turn.costUsd !== null && `$${turn.costUsd}`,
  ];
  const whole =
    turn.omitted.length > 0 &&
    act(
      h("button", { type: "button", class: "quiet", "data-key": `whole-${turn.id}` }, "Show all"),
      async () => {
        changed((await get(`/api/turns/${turn.id}`)).turn);
      },
    );
  return h(
    "li",
    {
      class: `turn ${turn.role === "user" ? "user" : ""}`,
      "data-row": `turn-${turn.id}`,
      "aria-current": String(turn.id) === marked && "true",
    },
    h(
      "p",
      { class: "row" },
      h("strong", {}, turn.role),
      when(turn.timestamp),
      h("span", { class: "muted" }, cost.filter(Boolean).join(" · ")),
      h("a", { href: link("moment", { at: turn.timestamp }) }, "Moment"),
    ),
    turn.role === "tool" ? toolResult(turn) : read(turn.content),
    calls.map((/** @type {any} */ tool, /** @type {number} */ index) =>
      h(
        "details",
        { "data-key": `tool-${turn.id}-${index}` },
        h("summary", {}, `Tool: ${tool?.name ?? tool?.tool ?? tool?.function?.name ?? "call"}`),
        h("pre", { tabindex: "0", "aria-label": "Tool call" }, laidOut(tool)),
      ),
    ),
    whole && h("p", { class: "row" }, h("span", { class: "muted" }, "Not shown whole."), whole),
  );
}


/** @param {any} turn */
function toolResult({ id, content }) {
  const words = content.replace(/\s+/g, " ").trim();
  return h(
    "details",
    { "data-key": `result-${id}` },
    h("summary", { class: "title", dir: "auto" }, "Result: ", h("bdi", {}, words.slice(0, 200))),
    h("pre", { tabindex: "0", dir: "auto", "aria-label": "Result" }, laidOut(content)),
  );
}
