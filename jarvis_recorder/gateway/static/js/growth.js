/** How a storage grows, and when it is full if it goes on so. */

import { get } from "./api.js";
import { now } from "./clock.js";
import { pathOf } from "./clusters.js";
import { bytes, count } from "./format.js";

const DAY = 86_400_000;

/**
 * @param {string} cluster @param {string} name of a storage @param {AbortSignal} signal
 * @returns {Promise<any|null>} how it grows, null where that is not known
 */
export async function growthOf(cluster, name, signal) {
  try {
    return await get(
      pathOf("/api/snapshots/forecast", cluster),
      { kind: "storage", name, measure: "used" },
      signal,
    );
  } catch (/** @type {any} */ error) {
    if ([403, 404].includes(error.status)) return null;
    throw error;
  }
}

/** A sentence: when it is full, as a range. @param {any} growth @returns {string} */
export function outlookOf(growth) {
  if (!growth) return "Nothing is known of its growth.";
  const { growing, value, limit, soonestAt, latestAt, measuredAt } = growth;
  const used = `${bytes(value)} of ${bytes(limit)} used`;
  const age = measuredAt ? Math.floor((now() - Date.parse(measuredAt)) / DAY) : 0;
  if (age >= 2) return `Last measured ${count(age)} days ago: ${used}.`;
  if (value >= limit) return `Full: ${used}.`;
  if (!growing) return `Not growing, as far as its last 30 days show: ${used}.`;
  if (!soonestAt) return `Growing, and not full within ten years: ${used}.`;
  const soonest = daysTo(soonestAt);
  const latest = latestAt ? daysTo(latestAt) : Infinity;
  return `Full ${spanOf(soonest, latest)} if it grows as in its last 30 days: ${used}.`;
}

/** @param {string} moment */
const daysTo = (moment) => Math.max(0, Math.round((Date.parse(moment) - now()) / DAY));

/** @param {number} soonest @param {number} latest */
function spanOf(soonest, latest) {
  const days = (/** @type {number} */ number) => `${count(number)} ${number === 1 ? "day" : "days"}`;
  if (latest === Infinity) return `in ${days(soonest)} at the soonest`;
  if (soonest === 0) return `within ${days(Math.max(latest, 1))}`;
  return soonest === latest ? `in ${days(latest)}` : `in ${count(soonest)} to ${days(latest)}`;
}
