/** Arrow keys from row to row: a list is one stop of the Tab key, however often it is made again. */

/** @type {Record<string, (at: number, number: number) => number>} */
const STEPS = {
  ArrowDown: (at) => at + 1,
  ArrowUp: (at) => at - 1,
  Home: () => 0,
  End: (_, number) => number - 1,
};

/**
 * Let Tab lead to one of these, the one with this key or else the first.
 * @param {Iterable<any>} all @param {string} key
 */
export function stopAt(all, key) {
  const links = [...all];
  const stop = links.find((one) => one.dataset.key === key) ?? links[0];
  for (const one of links) one.tabIndex = one === stop ? 0 : -1;
}

/**
 * Have keys step through those elements of a region that match and have a `data-key`.
 * @param {HTMLElement} region @param {string} selector
 * @returns {() => void} what is to be called when the region has been filled
 */
export function stepBy(region, selector) {
  let stop = "";
  const keep = () => stopAt(region.querySelectorAll(selector), stop);
  region.addEventListener("focusin", (/** @type {any} */ { target }) => {
    if (!target.matches(selector)) return;
    stop = target.dataset.key;
    keep();
  });
  region.addEventListener("keydown", (/** @type {any} */ event) => {
    const from = event.target.closest(selector);
    const step = STEPS[event.key];
    if (!from || !step) return;
    event.preventDefault();
    const all = [.../** @type {NodeListOf<HTMLElement>} */ (region.querySelectorAll(selector))];
    all[step(all.indexOf(from), all.length)]?.focus();
  });
  return keep;
}
