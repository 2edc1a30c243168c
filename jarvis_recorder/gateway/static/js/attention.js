/** Whether somebody is at what is shown, and about to do something with it. */

/** After so long without a move the reader has left, wherever the pointer lies. */
const LEFT = 60_000;
const ON_THE_WAY = 5_000;

let latest = Number.NEGATIVE_INFINITY;
let pointer = "";

/** @param {any} event */
function moved(event) {
  // A browser may also tell of a pointer that rests, where the page moves below it.
  const place = `${event.screenX} ${event.screenY}`;
  if (event.type === "pointermove" && place === pointer) return;
  pointer = place;
  latest = performance.now();
}

for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
  addEventListener(name, moved, { capture: true, passive: true });
}

/** Whether rows of a region have to stay where they are. @param {HTMLElement} region */
export function attended(region) {
  const quiet = performance.now() - latest;
  if (quiet < ON_THE_WAY) return true;
  if (quiet > LEFT) return false;
  const selection = /** @type {Selection} */ (getSelection());
  return (
    region.matches(":hover") ||
    region.querySelector(":focus-visible") !== null ||
    region.getBoundingClientRect().top < 0 ||
    (!selection.isCollapsed && selection.getRangeAt(0).intersectsNode(region))
  );
}
