/** What a view showed at each step of the history, so that Back leads to it and not to its top. */

const MOST = 20;
/** @type {Map<number, any>} */
const kept = new Map();

// The browser would do it before what was shown is there again.
history.scrollRestoration = "manual";

/** @returns {number} the step that the history is at; it is the same one when the reader is back */
export function step() {
  if (!history.state?.step) history.replaceState({ step: Date.now() + Math.random() }, "");
  return history.state.step;
}

/** @param {number} step @param {any} shown */
export function remember(step, shown) {
  kept.delete(step);
  kept.set(step, shown);
  if (kept.size > MOST) kept.delete(/** @type {number} */ (kept.keys().next().value));
}

/** @param {number} step @returns {any} undefined where it is not known any more */
export const recalled = (step) => kept.get(step);

const SETTLING = 5_000;

/**
 * The row that is read, and its place in the window.
 * @param {HTMLElement} region @returns {{row: string, top: number}|null} null where none is
 */
export function placeIn(region) {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (
    region.querySelectorAll("[data-row]")
  )) {
    const { top, bottom } = one.getBoundingClientRect();
    if (bottom > 0) return { row: String(one.dataset.row), top };
  }
  return null;
}

/**
 * Have a row at the place that it had, also while what is above it is filled, until the reader
 * does something.
 * @param {HTMLElement} region @param {{row: string, top: number}|null} place @param {AbortSignal} over
 */
export function putBack(region, place, over) {
  if (!place) return;
  const put = () => {
    const row = region.querySelector(`[data-row="${CSS.escape(place.row)}"]`);
    if (row) scrollBy(0, row.getBoundingClientRect().top - place.top);
  };
  put();
  const done = new AbortController();
  const end = () => done.abort();
  const seen = new ResizeObserver(put);
  seen.observe(/** @type {Element} */ (region.parentElement));
  for (const name of ["wheel", "pointerdown", "keydown", "touchmove"])
    addEventListener(name, end, { signal: done.signal, passive: true });
  over.addEventListener("abort", end, { signal: done.signal });
  const timer = setTimeout(end, SETTLING);
  done.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    seen.disconnect();
  });
}
