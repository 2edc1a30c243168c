/** Which clusters there are, and their snapshots: of each by its name, never of whichever came last. */

import { get } from "./api.js";
import { machines } from "./cluster.js";
import { h } from "./dom.js";
import { stats } from "./stats.js";

const GOOD_FOR = 60_000;

/**
 * A cluster's name for people; the publisher may have given none.
 * @param {string|null|undefined} cluster
 */
export const nameOf = (cluster) => cluster || "unnamed cluster";

/**
 * The cluster of what may name none: the only one there is, else the one without a name.
 * @param {string|null} cluster @param {string[]} names @returns {string}
 */
export const ownOf = (cluster, names) => cluster ?? (names.length === 1 ? names[0] : "");

/** @param {string[]} names @param {string} title as `nameOf` gives it @returns {string} */
export const named = (names, title) => names.find((name) => nameOf(name) === title) ?? title;

/**
 * A field to choose a cluster with, by its name for people.
 * @param {() => void} onchange
 */
export function clusterField(onchange) {
  const field = h("select", { disabled: true, onchange });
  return {
    field,
    /** @param {string[]} names @param {string|null} name the one that is shown */
    offer(names, name) {
      const all = name === null || names.includes(name) ? names : [...names, name];
      field.disabled = all.length < 2;
      const titles = all.map(nameOf);
      // A list that is open would close.
      if (titles.join("\n") !== [...field.options].map(({ value }) => value).join("\n"))
        field.replaceChildren(...titles.map((value) => h("option", { value }, value)));
      field.value = name === null ? "" : nameOf(name);
    },
  };
}

/** @type {{at: number, names: Promise<string[]>}|null} */
let latest = null;

/**
 * Kept from view to view, so no view that is left may break it off.
 * @returns {Promise<string[]>} the names, in order, of the clusters that anything recorded names
 */
export function clusterNames() {
  if (!latest || Date.now() - latest.at > GOOD_FOR) {
    const mine = {
      at: Date.now(),
      names: stats().then(({ holdings }) => holdings.clusters),
    };
    latest = mine;
    mine.names.catch(() => {
      if (latest === mine) latest = null;
    });
  }
  return latest.names;
}

/**
 * A path that asks of one cluster. A name that is empty is one, too: it has to be sent.
 * @param {string} path @param {string} cluster @param {object} [query]
 */
export const pathOf = (path, cluster, query) =>
  `${path}?${new URLSearchParams({ cluster, ...query })}`;

/**
 * @param {string} cluster @param {string} timestamp @param {AbortSignal} signal
 * @returns {Promise<any|null>} the snapshot of a cluster in force at a moment, whole
 */
export const snapshotAt = (cluster, timestamp, signal) =>
  snapshot(pathOf("/api/snapshots/at", cluster, { timestamp }), signal);

/**
 * @param {string} cluster @param {AbortSignal} signal
 * @returns {Promise<any|null>} the newest snapshot of a cluster, whole
 */
export const latestSnapshot = (cluster, signal) =>
  snapshot(pathOf("/api/snapshots/latest", cluster), signal);

/** @param {string} path @param {AbortSignal} signal @returns {Promise<any|null>} */
async function snapshot(path, signal) {
  try {
    return (await get(path, {}, signal)).snapshot;
  } catch (/** @type {any} */ error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/**
 * @param {string} cluster @param {object} query @param {AbortSignal} signal
 * @returns {Promise<any|null>} null where a time is before the cluster's first snapshot
 */
export async function snapshotDifferences(cluster, query, signal) {
  try {
    return await get(pathOf("/api/snapshots/diff", cluster, query), {}, signal);
  } catch (/** @type {any} */ error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/**
 * @param {string|null} cluster @param {object} query @param {AbortSignal} signal
 * @returns {Promise<any>} events and turns around a moment; `cluster` null where there is none
 */
export async function timelineAround(cluster, query, signal) {
  const path = cluster === null ? "/api/timeline" : pathOf("/api/timeline", cluster);
  return get(path, query, signal);
}

/**
 * A path that asks of one cluster, and of what names none where it is the only one there is.
 * @param {string} path @param {string} cluster
 */
export async function within(path, cluster) {
  const names = await clusterNames();
  return names.length === 1 && names[0] === cluster ? path : pathOf(path, cluster);
}

/**
 * The cluster that a node belonged to, as its snapshot of then says; null where none or several do.
 * It fails where the node may be in one that cannot be had.
 * @param {string} node @param {string[]} names @param {string} timestamp
 * @param {AbortSignal} signal
 */
export async function clusterOfNode(node, names, timestamp, signal) {
  const found = await Promise.allSettled(
    names.map(async (name) => {
      const { nodes } = machines(await snapshotAt(name, timestamp, signal));
      return nodes.some((one) => one.name === node);
    }),
  );
  const those = names.filter((_, index) => /** @type {any} */ (found[index]).value);
  const failed = found.find(({ status }) => status === "rejected");
  if (failed && !those.length) throw /** @type {PromiseRejectedResult} */ (failed).reason;
  return those.length === 1 ? those[0] : null;
}
