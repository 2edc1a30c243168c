/** The time zone of all times that are shown: the reader's, or UTC. */

const KEY = "jarvis.zone";
let utc = localStorage.getItem(KEY) === "UTC";

/** Says "change" when times are to be shown again. */
export const zone = new EventTarget();

export const isUtc = () => utc;

/**
 * Return what gives the formats for the zone, made once for each.
 * @template T
 * @param {(timeZone: string|undefined) => T} make
 * @returns {() => T}
 */
export function inZone(make) {
  /** @type {Map<boolean, T>} */
  const made = new Map();
  return () => {
    if (!made.has(utc)) made.set(utc, make(utc ? "UTC" : undefined));
    return /** @type {T} */ (made.get(utc));
  };
}

/** Show times so from now on, and whenever the page is opened in this browser. @param {boolean} inUtc */
export function setUtc(inUtc) {
  utc = inUtc;
  if (utc) localStorage.setItem(KEY, "UTC");
  else localStorage.removeItem(KEY);
  zone.dispatchEvent(new Event("change"));
}

/** @param {HTMLElement} button */
export function zoneSwitch(button) {
  const say = () => {
    button.textContent = utc ? "UTC" : "local";
    button.setAttribute("aria-label", `Times: ${utc ? "UTC" : "local"}`);
  };
  button.addEventListener("click", () => setUtc(!utc));
  zone.addEventListener("change", say);
  say();
}
