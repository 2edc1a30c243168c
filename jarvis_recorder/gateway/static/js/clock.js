/** The time, as near to the gateway's as its answers tell: a device's own clock may be wrong. */

/** A gateway writes the time into its answers once a second. */
const SELDOM = 2_000;

/** So many milliseconds this device is behind. */
let behind = 0;

/** @returns {number} milliseconds since 1970 */
export const now = () => Date.now() + behind;

/** @param {number} [ago] milliseconds @returns {string} */
export const iso = (ago = 0) => new Date(now() - ago).toISOString();

/**
 * Learn from an answer: it was written after it was asked for and before it came.
 * @param {string|null} date of the answer, as HTTP has it @param {number} asked by this device's clock
 */
export function learn(date, asked) {
  const written = Date.parse(date ?? "");
  if (Number.isNaN(written)) return;
  const came = Date.now();
  behind = written > came ? written - came : Math.min(written + SELDOM - asked, 0);
}
