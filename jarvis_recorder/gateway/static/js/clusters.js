/** Which clusters there are, and their snapshots: of each by its name, never of whichever came last. */

import { get } from "./api.js";
import { machines } from "./cluster.js";

const HOUR = 3_600_000;
/** How long before a moment to look for clusters: one that fell silent long ago is still one. */
const LOOKED_AT = [0, HOUR, 6 * HOUR, 24 * HOUR, 168 * HOUR, 720 * HOUR];
const SAMPLE = 100;
const GOOD_FOR = 300_000;

/** A cluster's name for people; the publisher may have given none. */
export const nameOf = (cluster) => cluster || "unnamed cluster";

/** @type {{at: number, names: Promise<string[]>}|null} */
let latest = null;

/**
 * Kept from view to view, so no view that is left may break it off.
 * @returns {Promise<string[]>} the names, in order, of clusters with a snapshot up to now
 */
export function clusterNames() {
  if (!latest || Date.now() - latest.at > GOOD_FOR) {
    const mine = { at: Date.now(), names: namesBefore(Date.now() + HOUR) };
    latest = mine;
    mine.names.catch(() => {
      if (latest === mine) latest = null;
    });
  }
  return latest.names;
}

/** @returns {Promise<string[]>} the names of clusters with a snapshot before a moment */
export async function namesBefore(moment, signal) {
  const pages = await Promise.all(
    LOOKED_AT.map((earlier) => {
      const until = new Date(moment - earlier).toISOString();
      return get("/api/snapshots", { until, limit: SAMPLE }, signal);
    }),
  );
  const names = pages.flatMap(({ snapshots }) => snapshots.map(({ cluster }) => cluster));
  return [...new Set(names)].sort((one, other) => one.localeCompare(other));
}

// A name that is empty is one, too: it has to be sent.
const of = (cluster, query) => new URLSearchParams({ cluster, ...query });

/** @returns {Promise<any[]>} a cluster's snapshots without their bodies, newest first */
export async function snapshotHeads(cluster, query, signal) {
  return (await get(`/api/snapshots?${of(cluster, query)}`, {}, signal)).snapshots;
}

/** @returns {Promise<any|null>} the snapshot of a cluster in force at a moment, whole */
export async function snapshotAt(cluster, timestamp, signal) {
  try {
    return (await get(`/api/snapshots/at?${of(cluster, { timestamp })}`, {}, signal)).snapshot;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** @returns {Promise<any>} events and turns around a moment; `cluster` null where there is none */
export async function timelineAround(cluster, query, signal) {
  const path = cluster === null ? "/api/timeline" : `/api/timeline?${of(cluster, {})}`;
  return get(path, query, signal);
}

/**
 * The cluster that a node belonged to, as its snapshot of then says; null where none or several do.
 * @param {string[]} names
 */
export async function clusterOfNode(node, names, timestamp, signal) {
  const found = await Promise.all(
    names.map(async (name) => {
      const { nodes } = machines(await snapshotAt(name, timestamp, signal));
      return nodes.some((one) => one.name === node);
    }),
  );
  const those = names.filter((_, index) => found[index]);
  return those.length === 1 ? those[0] : null;
}

/** Whether events can be asked for by cluster; the gateway takes no such parameter yet. */
const EVENTS_HAVE_CLUSTERS = false;

/** @returns {Promise<string[]>} the clusters by which events can be chosen */
export async function clustersOfEvents() {
  return EVENTS_HAVE_CLUSTERS ? clusterNames() : [];
}
