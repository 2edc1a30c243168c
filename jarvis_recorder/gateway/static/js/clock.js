/** The time, as near to the gateway's as its answers tell: a device's own clock may be wrong. */

/** A gateway writes the time into its answers once a second. */
const SELDOM = 2_000;

/** So many milliseconds this device is behind. */
let behind = 0;

/** @returns {number} milliseconds since 1970 */
export const now = () => Date.now() + behind;

/** @param {number} [ago] milliseconds @returns {string} */
export const iso = (ago = 0) => isoOf(now() - ago);

/** The times that the recorder takes: the years 1 to 9999. */
const EARLIEST = Date.parse("0001-01-01T00:00:00.000Z");
const LATEST = Date.parse("9999-12-31T23:59:59.999Z");

/**
 * A time as it is sent, or the first or last of the calendar in place of one beyond it.
 * @param {number} moment milliseconds since 1970 @returns {string}
 */
export const isoOf = (moment) => new Date(Math.min(Math.max(moment, EARLIEST), LATEST)).toISOString();

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
