/** What is wrong now, how the cluster is, whether the recorder records. */

import { get } from "../api.js";
import { clusterView } from "../cluster.js";
import { empty, factList, h, panel } from "../dom.js";
import { eventRow } from "../event-row.js";
import { ago, bytes, count, SEVERITIES, when } from "../format.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { look } from "../look.js";
import { link } from "../router.js";

const MOST = 50;
const HOURS = 6;
const POINTS = 16;

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function now(root, _, over) {
  const alerts = panel("Unresolved alerts");
  const cluster = panel("Cluster");
  const recorder = panel("Recorder");
  root.append(h("div", { class: "now" }, alerts, h("div", {}, recorder, cluster)));

  const shown = keep(alerts, over, unresolved, (pages) => alertList(pages, () => shown.load()), {
    every: 30,
  });
  const state = keep(cluster, over, clusterNow, clusters, { every: 60 });
  keep(recorder, over, (signal) => get("/api/stats", {}, signal), facts, { every: 15 });

  const again = soon(shown.load, over);
  live.addEventListener(
    "event",
    ({ detail }) => {
      if (detail.type === "alert") again();
    },
    { signal: over },
  );
  live.addEventListener("resolved", again, { signal: over });
  live.addEventListener("snapshot", soon(state.load, over, 500, 10_000), { signal: over });
}

async function unresolved(signal) {
  // By severity: the critical ones would be missing from one page of many warnings.
  return Promise.all(
    SEVERITIES.map((severity) =>
      look({ type: "alert", resolved: false, severity, limit: MOST }, null, signal),
    ),
  );
}

function alertList(pages, changed) {
  const all = pages.flatMap((page) => page.events);
  if (!all.length) return empty("Nothing is wrong that anybody said.");
  return [
    h(
      "p",
      { class: "muted" },
      SEVERITIES.map(
        (name, index) =>
          pages[index].events.length > 0 &&
          `${pages[index].events.length}${pages[index].older ? " or more" : ""} ${name}`,
      )
        .filter(Boolean)
        .join(", "),
    ),
    h(
      "ol",
      { class: "events" },
      all.map((event) => eventRow(event, changed, { now: true })),
    ),
    pages.some((page) => page.older) &&
      h(
        "a",
        { href: link("events", { type: "alert", resolved: "false", range: "720" }) },
        "All of the last 30 days",
      ),
  ];
}

// Kept from visit to visit: a snapshot does not change.
const known = new Map();

async function snapshotAt(head, signal) {
  // A restored database may give a number to another.
  const key = `${head.id} ${head.timestamp}`;
  if (!known.has(key)) {
    const { snapshot } = await get(
      "/api/snapshots/at",
      { timestamp: head.timestamp, cluster: head.cluster },
      signal,
    );
    if (known.size > 200) known.clear();
    known.set(key, snapshot);
  }
  return known.get(key);
}

async function clusterNow(signal) {
  const since = new Date(Date.now() - HOURS * 3_600_000).toISOString();
  const { snapshots: recent } = await get("/api/snapshots", { since, limit: 1000 }, signal);
  const heads = recent.length
    ? recent
    : (await get("/api/snapshots", { limit: 1 }, signal)).snapshots;
  const names = [...new Set(heads.map((head) => head.cluster))];
  return Promise.all(
    names.map(async (name) => {
      const of = heads.filter((head) => head.cluster === name);
      const chosen = recent.length ? spread(of) : [of[0]];
      const whole = await Promise.all(chosen.map((head) => snapshotAt(head, signal)));
      return { name, latest: whole[0], earlier: whole.reverse() };
    }),
  );
}

/** Return the newest and, evenly over the time, some of the others; the same ones a minute later. */
function spread(heads) {
  const at = (head) => Date.parse(head.timestamp);
  const step = Math.max(
    60_000,
    2 ** Math.ceil(Math.log2((at(heads[0]) - at(heads.at(-1))) / POINTS)),
  );
  const cells = new Map(heads.map((head) => [Math.floor(at(head) / step), head]));
  return [heads[0], ...[...cells.values()].filter((head) => head !== heads[0])];
}

function clusters(all) {
  if (!all.length) return empty("No snapshot of a cluster has been recorded.");
  return all.map(({ name, latest, earlier }) => [
    h(
      "p",
      { class: "muted" },
      name && `${name}, `,
      "as of ",
      ago(latest.timestamp),
      earlier.length > 1 && [", lines since ", when(earlier[0].timestamp)],
    ),
    clusterView(latest, earlier),
  ]);
}

function facts({ holdings, activity }) {
  return factList([
    ["State", `${activity.state}, version ${activity.version}`],
    [
      "Recording",
      `${activity.perSecond.toFixed(1)} a second, ${activity.lagSeconds.toFixed(1)} s behind`,
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
