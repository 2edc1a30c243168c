/** Silences: of what no one is told, until when; each can be ended. */

import { getAll, mayChange, post } from "./api.js";
import { now } from "./clock.js";
import { nameOf } from "./clusters.js";
import { h } from "./dom.js";
import { when } from "./format.js";
import { undoable } from "./undo.js";

const AT_ONCE = 1_000;
const VALUES = ["key", "node", "kind", "cluster"];

/** @param {AbortSignal} signal @returns {Promise<any[]>} those that have not ended */
export const silencesNow = (signal) =>
  getAll("/api/incidents/silences", "silences", { limit: AT_ONCE }, signal);

/** The condition that an incident is of. @param {string} key */
export const conditionOf = (key) => key.replace(/@[^@]*$/, "");

/** Return whether a silence is of an incident. @param {any} incident */
export function isOf({ key, node, kind, cluster }) {
  /** @type {Record<string, any>} */
  const own = { key: conditionOf(key), node, kind, cluster: cluster ?? "" };
  return (/** @type {any} */ silence) =>
    VALUES.every((name) => silence[name] === null || silence[name] === own[name]);
}

/** @param {any[]} silences @param {() => void} changed */
export function silenceRows(silences, changed) {
  return h(
    "ol",
    { class: "events", "data-rows": "silences" },
    silences.map((one) => {
      const what = words(one);
      // There may be several of the same words, one after the other.
      const name = `${what}-${one.since}`;
      return h(
        "li",
        { class: "event", "data-row": `silence-${name}` },
        h(
          "div",
          { class: "incident" },
          h("bdi", { class: "text" }, what),
          h(
            "span",
            { class: "muted", dir: "auto" },
            Date.parse(one.since) > now() && ["from ", when(one.since), " "],
            "until ",
            when(one.until),
            one.by && ` by ${one.by}`,
            one.reason && `: ${one.reason}`,
          ),
        ),
        mayChange() && end(one, name, what, changed),
      );
    }),
  );
}

/** @param {any} silence */
const words = ({ key, node, kind, cluster }) =>
  [key, kind, node !== null && `node ${node}`, cluster !== null && `cluster ${nameOf(cluster)}`]
    .filter(Boolean)
    .join(", ");

/** @param {any} silence @param {string} name @param {string} what @param {() => void} changed */
function end({ key, node, kind, cluster, since }, name, what, changed) {
  return undoable({
    key: `end-${name}`,
    verb: "End it",
    past: "ended",
    what,
    work: async (options) => {
      // One without length ends the one that it is in, and no other, whatever the time is here.
      const asked = { key, node, kind, cluster, since, until: since };
      await post("/api/incidents/silence", asked, options);
      changed();
    },
  });
}
