/** How many incidents are open, exactly. */

import { openIncidents } from "./incidents.js";
import { live } from "./live.js";
import { afterGaps, soon } from "./load.js";
import { pulse } from "./pulse.js";

const EVERY = 30_000;

/**
 * Tell how many there are, and again whenever that may have changed.
 * @param {AbortSignal} over @param {(total: number) => void} tell
 */
export function watchAlerts(over, tell) {
  let timer = 0;
  let told = false;
  async function look() {
    clearTimeout(timer);
    timer = setTimeout(look, EVERY);
    try {
      tell(await openIncidents(over));
      told = true;
    } catch {
      /* the pulse says what is the matter */
    }
  }
  const again = soon(look, over);
  over.addEventListener("abort", () => clearTimeout(timer));
  live.addEventListener("event", ({ detail }) => detail.type === "alert" && again(), {
    signal: over,
  });
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, again, { signal: over });
  pulse.addEventListener("back", again, { signal: over });
  afterGaps(look, over, () => told);
  look();
}
