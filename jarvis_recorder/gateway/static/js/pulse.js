/** Whether the recorder records: asked every few seconds, for the whole page. */

import { get, state } from "./api.js";
import { now } from "./clock.js";
import { again, live } from "./live.js";
import { LONGEST, stats } from "./stats.js";

const BEAT = 3_000;
const BEATS_BETWEEN_STATS = 5;
const QUIET = 600_000;
const SILENT = "The gateway does not answer.";

/**
 * Says "away" and "back" as the recorder ceases to answer or to record and begins again, and
 * "change" with each beat.
 */
export const pulse = new EventTarget();

/**
 * `away`: why nothing is recorded, empty where it is; `newest`: the newest that is recorded.
 * @typedef {{away: string, since: Date|null, newest: Date|null, checked: boolean}} Known
 * @type {Known}
 */
let known = { away: "", since: null, newest: null, checked: false };
let streaming = "connecting";
/** @type {AbortController|null} */
let running = null;
let beats = 0;
let timer = 0;
/** @type {AbortController|null} */
let beating = null;

/** @returns {{name: string, since: Date|null, why: string}} */
export function condition() {
  const { away, since, newest, checked } = known;
  if (away) return { name: "away", since, why: away };
  if (!checked || streaming !== "live") return { name: streaming, since: null, why: "" };
  const quiet = newest && now() - /** @type {any} */ (newest) > QUIET;
  return { name: quiet ? "quiet" : "recording", since: quiet ? newest : null, why: "" };
}

export function start() {
  stop();
  running = new AbortController();
  known = { away: "", since: null, newest: null, checked: false };
  beats = 0;
  beat();
}

export function stop() {
  running?.abort();
  running = null;
  clearTimeout(timer);
}

/** Look now: something did not work. */
export function doubt() {
  if (running && beating !== running) beat();
}

async function beat() {
  const mine = /** @type {AbortController} */ (running);
  beating = mine;
  clearTimeout(timer);
  let away = "";
  let { newest } = known;
  try {
    if (beats++ % BEATS_BETWEEN_STATS && !known.away) {
      // A proxy may answer, too, in the gateway's place.
      if ((await get("/api/health", {}, mine.signal, LONGEST)).status !== "ok") away = SILENT;
    } else [away, newest] = read(await stats());
  } catch (/** @type {any} */ error) {
    // Who refuses has not been heard to record. Where the token is refused, the login is shown.
    if (error.status !== 401) away = error.status === undefined ? SILENT : error.message;
  }
  if (mine.signal.aborted) return;
  beating = null;
  turn(away, newest);
  timer = setTimeout(beat, BEAT);
}

/** @param {string} away @param {Date|null} newest */
function turn(away, newest) {
  const before = known.away;
  known = { away, since: away ? (known.since ?? new Date(now())) : null, newest, checked: true };
  if (away && !before) pulse.dispatchEvent(new Event("away"));
  if (!away && before) {
    again();
    pulse.dispatchEvent(new Event("back"));
  }
  pulse.dispatchEvent(new Event("change"));
}

/** @param {any} stats @returns {[string, Date|null]} */
function read({ holdings, activity }) {
  const times = [holdings.events, holdings.conversations, holdings.clusterSnapshots].map(
    ({ newest }) => Math.min(Date.parse(newest ?? "") || 0, now()),
  );
  const newest = Math.max(...times);
  const recording = activity.state === "recording";
  return [
    recording ? "" : `It answers but does not record: ${activity.state.replaceAll("_", " ")}.`,
    newest ? new Date(newest) : null,
  ];
}

state.addEventListener("doubt", doubt);
for (const name of ["online", "offline"]) addEventListener(name, doubt);
document.addEventListener("visibilitychange", () => !document.hidden && doubt());
live.addEventListener("state", ({ detail }) => {
  streaming = detail;
  pulse.dispatchEvent(new Event("change"));
  if (detail === "reconnecting") doubt();
});
