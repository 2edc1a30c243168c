/** The incidents that no one is told of, and the silences that say so. */

import { get } from "../api.js";
import { empty, h, panel } from "../dom.js";
import { count } from "../format.js";
import { incidentRows, worstFirst } from "../incidents.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { silenceRows, silencesNow } from "../silences.js";

const MOST = 200;

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function silences(root, _, over) {
  const incidents = panel("Silenced incidents");
  const lasting = panel("Silences in force or to come");
  root.append(incidents, lasting);
  const changed = () => {
    silenced.refresh();
    all.refresh();
  };
  const silenced = keep(
    incidents,
    over,
    (signal) => get("/api/incidents", { state: "silenced", limit: MOST }, signal),
    ({ incidents: found, total }) =>
      found.length
        ? [
            incidentRows(worstFirst(found), changed),
            total > found.length &&
              h("p", { class: "muted" }, `The newest ${count(found.length)} of ${count(total)}.`),
          ]
        : empty("No incident is silenced."),
    { every: 30 },
  );
  const all = keep(
    lasting,
    over,
    silencesNow,
    (found) => (found.length ? silenceRows(found, changed) : empty("There is no silence.")),
    { every: 30 },
  );
  const again = soon(silenced.refresh, over);
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, again, { signal: over });
}
