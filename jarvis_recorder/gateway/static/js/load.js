/** A region of a view with its data: loading, there, grey while the recorder is away. */

import { token } from "./api.js";
import { attended } from "./attention.js";
import { now } from "./clock.js";
import { difference, focusRow, h, notice, refill, renew } from "./dom.js";
import { when } from "./format.js";
import { live } from "./live.js";
import { pulse } from "./pulse.js";

const SLOWEST_RETRY = 15_000;
const LOOK_AGAIN = 1_000;
/** So long after a gap something of it may still be recorded. */
const CATCHING_UP = 6_000;

/**
 * Keep a region filled until the view is left. `load` is for what the reader asked for, and ends what
 * is under way; `refresh` for what comes by itself, which moves no row while somebody is at them: a
 * button says what waits. It waits for what is under way, so that this is shown however fast more comes.
 * @template T
 * @param {HTMLElement} region
 * @param {AbortSignal} over the view is left
 * @param {(signal: AbortSignal) => Promise<T>} fetch
 * @param {(data: T) => any} render returns the region's children
 * @param {{every?: number, from?: {at: Date, make: () => any}|null, follows?: () => boolean,
 *   once?: boolean}} [options]
 *   every: seconds between refreshments; from: what there is to begin with, and since when;
 *   follows: whether what was missed is to come by itself; once: what is shown does not change
 */
export function keep(
  region,
  over,
  fetch,
  render,
  { every = 0, from = null, follows = () => true, once = false } = {},
) {
  let timer = 0;
  let wait = 1_000;
  /** What is under way. @type {AbortController|null} */
  let running = null;
  /** Whether something came by itself meanwhile. */
  let again = false;
  /** Whether the reader has asked for more than is shown; an answer overtaken leaves it so. */
  let owed = false;
  /** When what is shown was fetched. @type {Date|null} */
  let filled = null;
  const problem = h("p", { class: "problem", role: "status", hidden: true });
  const content = h("div", { class: "content" }, h("p", { class: "loading" }, "Loading …"));
  const old = h("span", { class: "old", hidden: true });
  const held = holding(region, content, over);
  // Without height, so that what is said here moves nothing.
  region.prepend(h("div", { class: "over" }, old, held.button));
  region.classList.add("kept");
  region.append(problem, content);
  over.addEventListener("abort", () => {
    clearTimeout(timer);
    region.classList.remove("stale");
  });
  pulse.addEventListener("away", grey, { signal: over });
  // What is under way may wait for a connection that is gone.
  pulse.addEventListener("back", () => (once && filled ? ungrey() : begin()), { signal: over });
  afterGaps(refresh, over, () => filled !== null && !once && follows());

  function refresh() {
    if (running) again = true;
    else begin();
  }

  async function begin() {
    clearTimeout(timer);
    running?.abort();
    again = false;
    // Who logs in has it begin again.
    if (!token.get()) return;
    const mine = new AbortController();
    running = mine;
    const ended = AbortSignal.any([over, mine.signal]);
    region.setAttribute("aria-busy", "true");
    try {
      const data = await fetch(ended);
      if (ended.aborted) return;
      problem.hidden = true;
      ungrey();
      filled = new Date(now());
      wait = 1_000;
      held.show(() => render(data), owed);
      owed = false;
      if (every) timer = setTimeout(refresh, every * 1000);
    } catch (error) {
      if (!ended.aborted) failed(error);
    } finally {
      if (running === mine) {
        running = null;
        region.removeAttribute("aria-busy");
        if (again && !over.aborted) begin();
      }
    }
  }

  /** @param {{at: Date, make: () => any}} from what was shown before, which the newest joins */
  function startFrom({ at, make }) {
    filled = at;
    owed = false;
    held.show(make, true);
    begin();
  }

  function load() {
    owed = true;
    // What waits answers what was asked before.
    held.drop();
    begin();
  }

  function grey() {
    if (!filled) return;
    region.classList.add("stale");
    old.replaceChildren("as of ", when(filled.toISOString()));
    old.hidden = false;
  }

  function ungrey() {
    region.classList.remove("stale");
    old.hidden = true;
  }

  /** @param {any} error */
  function failed(error) {
    const passes = error.passes === true;
    if (error.status === undefined) console.error(error);
    if (error.status === 401) {
      // The login is shown by now, and the same view after it.
      grey();
      return;
    }
    const stays = /** @type {boolean} */ (filled && passes);
    if (stays) grey();
    else content.replaceChildren();
    // What comes by itself and fails is said without moving what is shown.
    problem.hidden = stays && !owed;
    problem.textContent = passes
      ? `${error.message} ${filled ? "What is grey is from before. " : ""}Trying again …`
      : error.message;
    if (passes) {
      timer = setTimeout(refresh, wait);
      wait = Math.min(wait * 2, SLOWEST_RETRY);
    } else if (every) timer = setTimeout(refresh, every * 1000);
  }

  if (from) startFrom(from);
  else load();
  return { load, refresh, content, show: held.show, startFrom };
}

/**
 * What waits until nobody is at the rows, or until it is asked for.
 * @param {HTMLElement} region @param {HTMLElement} content @param {AbortSignal} over
 */
function holding(region, content, over) {
  /** @type {any} */
  let waiting = null;
  let timer = 0;
  const button = h("button", { type: "button", class: "news", hidden: true, onclick: take });
  over.addEventListener("abort", () => clearTimeout(timer));

  /** @param {() => any} make returns children @param {boolean} [asked] by the reader */
  function show(make, asked = false) {
    clearTimeout(timer);
    const fresh = h("div", {}, make());
    const { come, gone, moves } = difference(content, fresh);
    waiting = !asked && moves && attended(region) ? make : null;
    button.hidden = !waiting;
    if (!waiting) {
      refill(content, [...fresh.childNodes]);
      return;
    }
    renew(content, fresh);
    button.textContent =
      [come && `${come} new`, gone && `${gone} gone`].filter(Boolean).join(", ") || "New order";
    timer = setTimeout(again, LOOK_AGAIN);
  }

  function drop() {
    clearTimeout(timer);
    waiting = null;
    button.hidden = true;
  }

  function again() {
    if (attended(region)) timer = setTimeout(again, LOOK_AGAIN);
    else show(waiting);
  }

  function take() {
    show(waiting, true);
    if (region.getBoundingClientRect().top < 0) region.scrollIntoView();
    focusRow(content);
  }

  return { button, show, drop };
}

/**
 * Return what has `work` done soon after a call, and once more `gap` ms later: what is published
 * may be seen a moment before it is recorded. However many calls, once in a gap.
 * @param {() => void} work @param {AbortSignal} over @param {number} [delay] @param {number} [gap]
 */
export function soon(work, over, delay = 120, gap = 1_000) {
  let timer = 0;
  let left = 0;
  const run = () => {
    left -= 1;
    timer = left > 0 ? setTimeout(run, gap) : 0;
    work();
  };
  over.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    left = 2;
    if (!timer && !over.aborted) timer = setTimeout(run, delay);
  };
}

/**
 * Have `work` done where the stream may have missed something: it was away, or the gateway's was.
 * @param {() => void} work @param {AbortSignal} over
 * @param {() => boolean} applies not where what is asked for has not come yet
 */
export function afterGaps(work, over, applies) {
  const again = soon(work, over, 120, CATCHING_UP);
  live.addEventListener("resync", () => applies() && again(), { signal: over });
}

/**
 * A button's work: disabled meanwhile, what fails is said next to it, or where the button is gone
 * in a line that stays.
 * @param {HTMLButtonElement} button @param {() => Promise<any>} work
 */
export function act(button, work) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    /** @type {Element} */ (button.parentElement).querySelector(".failed")?.remove();
    try {
      await work();
    } catch (/** @type {any} */ error) {
      if (button.isConnected)
        button.after(h("span", { class: "failed", role: "alert" }, error.message));
      else if (error.name !== "AbortError") notice(`Not done: ${button.textContent}. ${error.message}`);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
