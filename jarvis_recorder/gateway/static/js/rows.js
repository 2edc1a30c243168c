/** Arrow keys from row to row: a list is one stop of the Tab key. */

/** @type {Record<string, (at: number, number: number) => number>} */
const STEPS = {
  ArrowDown: (at) => at + 1,
  ArrowUp: (at) => at - 1,
  Home: () => 0,
  End: (_, number) => number - 1,
};

/** Return what listens to keys in a list of elements that match. @param {string} selector */
export function stepBy(selector) {
  return (/** @type {any} */ event) => {
    const from = event.target.closest(selector);
    const step = STEPS[event.key];
    if (!from || !step) return;
    event.preventDefault();
    /** @type {HTMLElement[]} */
    const all = [...event.currentTarget.querySelectorAll(selector)];
    const next = all[step(all.indexOf(from), all.length)];
    if (!next) return;
    from.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  };
}
