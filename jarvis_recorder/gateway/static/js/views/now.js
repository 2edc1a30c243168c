/** What is wrong now, how the cluster is, whether the recorder records. */

import { get } from "../api.js";
import { iso, now as present } from "../clock.js";
import { atRest, clusterView, guestsOf, isUp, share, storagesOf } from "../cluster.js";
import { nameOf, snapshotAt } from "../clusters.js";
import { empty, factList, h, panel } from "../dom.js";
import { ago, bytes, count, tenths, when } from "../format.js";
import { incidentList, incidentsNow } from "../incidents.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { lastDay, matrixTable } from "../matrix.js";
import { link } from "../router.js";
import { stats } from "../stats.js";
import { zone } from "../zone.js";

const HOURS = 6;

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function now(root, _, over) {
  const incidents = panel("Incidents");
  const day = panel("The last 24 hours");
  const cluster = panel("Cluster");
  const recorder = panel("Recorder");
  root.append(h("div", { class: "now" }, incidents, day, cluster, recorder));

  /** The clusters that have an incident which is not over. @type {Set<string>} */
  let troubled = new Set();
  const { promise: looked, resolve: look } = Promise.withResolvers();
  const shown = keep(
    incidents,
    over,
    async (signal) => {
      try {
        const found = await incidentsNow(signal);
        troubled = new Set(found.active.map(({ cluster: of }) => of ?? ""));
        return found;
      } finally {
        look(null);
      }
    },
    (found) => incidentList(found, () => shown.refresh()),
    { every: 10 },
  );
  const hours = keep(day, over, lastDay, matrixTable(), { every: 60 });
  const state = keep(
    cluster,
    over,
    async (signal) => {
      const [{ all, truncated }] = await Promise.all([clusterNow(signal), looked]);
      const calm = (/** @type {any} */ { name }) => Number(!troubled.has(name));
      return { all: all.sort((one, other) => calm(one) - calm(other)), truncated };
    },
    clusters,
    { every: 60 },
  );
  zone.addEventListener("change", hours.load, { signal: over });
  keep(recorder, over, stats, facts, { every: 15 });

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

/**
 * The newest one of each cluster that is too large for an overview, kept from visit to visit: a
 * snapshot does not change. Each may take hundreds of KiB.
 * @type {Map<string, {of: string, snapshot: any}>}
 */
const known = new Map();

/** @param {any} head @param {AbortSignal} signal */
async function whole(head, signal) {
  // A restored database may give a number to another.
  const of = `${head.id} ${head.timestamp}`;
  const before = known.get(head.cluster);
  if (before?.of === of) return before.snapshot;
  const snapshot = await snapshotAt(head.cluster, head.timestamp, signal);
  known.set(head.cluster, { of, snapshot });
  return snapshot;
}

/** @param {AbortSignal} signal */
async function clusterNow(signal) {
  const since = iso(HOURS * 3_600_000);
  const { clusters: found, truncated } = await get("/api/snapshots/overview", { since }, signal);
  const all = await Promise.all(
    found.map(async (/** @type {any} */ { cluster: name, snapshot, usualGapSeconds, firstAt, lines }) => ({
      name,
      latest: snapshot.omitted.includes("snapshot") ? await whole(snapshot, signal) : snapshot,
      lines,
      firstAt,
      gap: 1000 * (usualGapSeconds ?? 0),
    })),
  );
  return { all, truncated };
}

/** @param {{all: any[], truncated: boolean}} found */
function clusters({ all, truncated }) {
  if (!all.length) return empty("No snapshot of a cluster has been recorded.");
  return [
    all.map(oneCluster),
    truncated && h("p", { class: "muted" }, "There are more clusters than can be shown here."),
  ];
}

/** @param {any} cluster */
function oneCluster({ name, latest, firstAt, lines, gap }) {
  return [
    h("h3", { class: "cluster", dir: "auto" }, nameOf(name)),
    h(
      "p",
      { class: "row" },
      h(
        "span",
        { class: "muted" },
        "as of ",
        ago(latest.timestamp),
        isOld(latest.timestamp, gap) &&
          h("strong", { class: "severity error" }, " ◆ older than usual"),
        firstAt && firstAt < latest.timestamp && sinceWhen(firstAt, name),
      ),
      inventoryLine(name, latest),
    ),
    clusterView(latest, lines, { guests: false }),
  ];
}

/** @param {string} first @param {string} name */
const sinceWhen = (first, name) => [
  ", lines since ",
  when(first),
  " · ",
  h("a", { href: link("compare", { a: first, cluster: nameOf(name) }) }, "What changed since"),
];

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
    "span",
    { class: "line" },
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
  return gap > 0 && present() - Date.parse(timestamp) > Math.max(gap * 3, 60_000);
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
