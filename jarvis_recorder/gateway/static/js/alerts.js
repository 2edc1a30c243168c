/** How many alerts are open, exactly. */

import { get } from "./api.js";
import { live } from "./live.js";
import { soon } from "./load.js";
import { pulse } from "./pulse.js";

const EVERY = 30_000;
/** So far ahead an event may be dated and still be in a list. */
const AHEAD = 15 * 3_600_000;

/**
 * @param {AbortSignal} signal
 * @returns {Promise<{total: number, by: Record<string, number>}>} `by` severity
 */
export async function openAlerts(signal) {
  const { buckets } = await get(
    "/api/events/histogram",
    {
      type: "alert",
      resolved: false,
      by: "severity",
      since: "1970-01-01T00:00:00Z",
      until: new Date(Date.now() + AHEAD).toISOString(),
    },
    signal,
  );
  /** @type {Record<string, number>} */
  const by = {};
  for (const bucket of buckets)
    for (const [severity, count] of /** @type {[string, number][]} */ (Object.entries(bucket.by)))
      by[severity] = (by[severity] ?? 0) + count;
  return { total: Object.values(by).reduce((sum, count) => sum + count, 0), by };
}

/**
 * Tell how many there are, and again whenever that may have changed.
 * @param {AbortSignal} over @param {(total: number) => void} tell
 */
export function watchAlerts(over, tell) {
  let timer = 0;
  async function look() {
    clearTimeout(timer);
    timer = setTimeout(look, EVERY);
    try {
      tell((await openAlerts(over)).total);
    } catch {
      /* the pulse says what is the matter */
    }
  }
  const again = soon(look, over);
  over.addEventListener("abort", () => clearTimeout(timer));
  live.addEventListener("event", ({ detail }) => detail.type === "alert" && again(), {
    signal: over,
  });
  live.addEventListener("resolved", again, { signal: over });
  live.addEventListener("reopened", again, { signal: over });
  pulse.addEventListener("back", again, { signal: over });
  look();
}
