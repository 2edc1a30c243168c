/** What is wrong now, how the cluster is, whether the recorder records. */

import { get } from "../api.js";
import { atRest, clusterView, guestsOf, isUp, share, storagesOf } from "../cluster.js";
import { clusterNames, nameOf, snapshotAt, snapshotHeads } from "../clusters.js";
import { empty, factList, h, panel } from "../dom.js";
import { ago, bytes, count, tenths, when } from "../format.js";
import { incidentList, incidentsNow } from "../incidents.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { lastDay, matrixTable } from "../matrix.js";
import { link } from "../router.js";

const HOURS = 6;
const POINTS = 16;
/** Lines are drawn from whole snapshots, as long as these are no larger than that together. */
const MOST_BYTES = 128 * 1024;
const FEWEST_POINTS = 4;

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function now(root, _, over) {
  const incidents = panel("Incidents");
  const day = panel("The last 24 hours");
  const cluster = panel("Cluster");
  const recorder = panel("Recorder");
  root.append(h("div", { class: "now" }, incidents, h("div", {}, day, recorder, cluster)));

  const shown = keep(
    incidents,
    over,
    incidentsNow,
    (found) => incidentList(found, () => shown.refresh()),
    { every: 10 },
  );
  const hours = keep(day, over, lastDay, matrixTable(), { every: 60 });
  const state = keep(cluster, over, clusterNow, clusters, { every: 60 });
  keep(recorder, over, (signal) => get("/api/stats", {}, signal), facts, { every: 15 });

  const again = soon(shown.refresh, over);
  const counted = soon(hours.refresh, over, 500, 10_000);
  live.addEventListener(
    "event",
    ({ detail }) => {
      if (detail.type === "alert") again();
      counted();
    },
    { signal: over },
  );
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, again, { signal: over });
  live.addEventListener("snapshot", soon(state.refresh, over, 500, 10_000), { signal: over });
}

// Kept from visit to visit: a snapshot does not change.
const known = new Map();

/** @param {any} head @param {AbortSignal} signal */
async function whole(head, signal) {
  // A restored database may give a number to another.
  const key = `${head.id} ${head.timestamp}`;
  if (!known.has(key)) {
    const snapshot = await snapshotAt(head.cluster, head.timestamp, signal);
    if (known.size > 200) known.clear();
    known.set(key, snapshot);
  }
  return known.get(key);
}

/** @param {AbortSignal} signal */
async function clusterNow(signal) {
  const since = new Date(Date.now() - HOURS * 3_600_000).toISOString();
  const names = await clusterNames();
  const all = await Promise.all(
    names.map(async (name) => {
      const recent = await snapshotHeads(name, { since, limit: 1000 }, signal);
      // One that is silent is shown as it was, and how long ago that is.
      const heads = recent.length ? recent : await snapshotHeads(name, { limit: 2 }, signal);
      const room = MOST_BYTES / names.length / Math.max(1, heads[0]?.sizeBytes ?? 1);
      const points = Math.min(POINTS, Math.floor(room));
      const chosen =
        recent.length && points >= FEWEST_POINTS ? spread(heads, points) : heads.slice(0, 1);
      const found = await Promise.all(chosen.map((head) => whole(head, signal)));
      const snapshots = found.filter(Boolean);
      return { name, latest: snapshots[0], earlier: snapshots.reverse(), gap: usualGap(heads) };
    }),
  );
  return all.filter(({ latest }) => latest);
}

/** Return the median of the times between snapshots, in milliseconds. @param {any[]} heads */
function usualGap(heads) {
  const at = heads.map((head) => Date.parse(head.timestamp));
  const gaps = at.slice(1).map((time, index) => at[index] - time);
  return gaps.sort((one, other) => one - other)[Math.floor(gaps.length / 2)] ?? 0;
}

/**
 * Return the newest and, evenly over the time, some of the others; the same ones a minute later.
 * @param {any[]} heads @param {number} points @returns {any[]}
 */
function spread(heads, points) {
  /** @param {any} head */
  const at = (head) => Date.parse(head.timestamp);
  const step = Math.max(
    60_000,
    2 ** Math.ceil(Math.log2((at(heads[0]) - at(heads.at(-1))) / points)),
  );
  const cells = new Map(heads.map((head) => [Math.floor(at(head) / step), head]));
  return [heads[0], ...[...cells.values()].filter((head) => head !== heads[0])];
}

/** @param {any[]} all */
function clusters(all) {
  if (!all.length) return empty("No snapshot of a cluster has been recorded.");
  return all.map(({ name, latest, earlier, gap }) => [
    h("h3", { class: "cluster", dir: "auto" }, nameOf(name)),
    h(
      "p",
      { class: "muted" },
      "as of ",
      ago(latest.timestamp),
      isOld(latest.timestamp, gap) &&
        h("strong", { class: "severity error" }, " ◆ older than usual"),
      earlier.length > 1 && [
        ", lines since ",
        when(earlier[0].timestamp),
        " · ",
        h(
          "a",
          { href: link("compare", { a: earlier[0].timestamp, cluster: nameOf(name) }) },
          "What changed since",
        ),
      ],
    ),
    inventoryLine(name, latest),
    clusterView(latest, earlier, { guests: false }),
  ]);
}

/** So full a storage is said to be. */
const FULL = 0.85;

/** Guests and storages in a line, each a way to the table of them. @param {string} name @param {any} snapshot */
function inventoryLine(name, snapshot) {
  const guests = guestsOf(snapshot);
  const storages = storagesOf(snapshot);
  const cluster = nameOf(name);
  const down = guests.filter(({ one }) => !isUp(one) && !atRest(one)).length;
  const full = storages.filter(
    ({ one }) => (share(one.used ?? one.disk, one.total ?? one.maxdisk) ?? 0) > FULL,
  ).length;
  return h(
    "p",
    { class: "row" },
    guests.length > 0 && h("a", { href: link("guests", { cluster }) }, `${count(guests.length)} guests`),
    down > 0 &&
      h("a", { href: link("guests", { cluster, state: "down" }) }, `${count(down)} down`),
    storages.length > 0 &&
      h("a", { href: link("storages", { cluster }) }, `${count(storages.length)} storages`),
    full > 0 &&
      h(
        "a",
        { class: "severity warning", href: link("storages", { cluster, state: "above 85 %" }) },
        `▲ ${count(full)} above 85 %`,
      ),
  );
}

/**
 * Whether a state is older than three times what usually lies between two.
 * @param {string} timestamp @param {number} gap
 */
function isOld(timestamp, gap) {
  return gap > 0 && Date.now() - Date.parse(timestamp) > Math.max(gap * 3, 60_000);
}

/** @param {any} stats */
function facts({ holdings, activity }) {
  return factList([
    ["State", `${activity.state}, version ${activity.version}`],
    [
      "Recording",
      `${tenths(activity.perSecond)} a second, ${tenths(activity.lagSeconds)} s behind`,
    ],
    ["Newest event", ago(holdings.events.newest)],
    ["Since its start", `${count(activity.stored)} stored, ${count(activity.duplicates)} repeated`],
    [
      "Dead letters",
      h(
        "a",
        { href: link("dead-letters") },
        `${activity.deadLettered ? count(activity.deadLettered) : "none"} since its start`,
      ),
    ],
    [
      "Holds",
      `${count(holdings.events.count)} events, ${count(holdings.conversations.count)} turns, ` +
        `${count(holdings.clusterSnapshots.count)} snapshots, ` +
        bytes(holdings.databaseBytes + holdings.walBytes),
    ],
  ]);
}
