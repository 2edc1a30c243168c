/** Incidents: what is broken, since when, whether it still is, who has seen it. */

import { get, mayChange, post } from "./api.js";
import { iso, now } from "./clock.js";
import { nameOf } from "./clusters.js";
import { empty, h } from "./dom.js";
import { ago, count, severity, when } from "./format.js";
import { link } from "./router.js";
import { undoable } from "./undo.js";

/** The states of a problem that no one has seen. */
const OPEN = ["open", "unknown"];
const SEEN = "acknowledged";
const RANKS = ["critical", "error", "warning", "info"];
const MOST = 200;
const DAY = 86_400_000;
/** The list knows when a problem was told last, and the longest outage is told once. */
const LONGEST = 30 * DAY;
const LOOKED_AT = 100;
const RECENT = 20;
const SHOWN = 20;

/** @type {Record<string, string>} */
const WORDS = {
  open: "still so",
  unknown: "no newer state",
  acknowledged: "seen",
  silenced: "silenced",
  recovered: "over",
  resolved: "closed",
};
/** What a snapshot shows of its object. @type {Record<string, [string, string]>} */
const SHOWS = {
  NODE_DOWN: ["still offline", "online again"],
  VM_CRASHED: ["still down", "up again"],
};

/** @param {AbortSignal} signal */
export async function incidentsNow(signal) {
  const since = iso(LONGEST);
  const [problems, recent, silenced] = await Promise.all([
    activeIncidents("/api/incidents", {}, signal),
    get("/api/incidents", { state: "recovered", since, limit: LOOKED_AT }, signal),
    get("/api/incidents", { state: "silenced", limit: 1 }, signal),
  ]);
  return { ...problems, recent: overToday(recent.incidents), silenced: silenced.total };
}

/** Those that were over in the last day, the last one first. @param {any[]} recovered */
function overToday(recovered) {
  const from = now() - DAY;
  return recovered
    .filter(({ recoveredAt }) => Date.parse(recoveredAt) >= from)
    .sort((a, b) => Date.parse(b.recoveredAt) - Date.parse(a.recoveredAt))
    .slice(0, RECENT);
}

/**
 * Return those that are a problem, the worst first, how many there are of them, and how many of
 * each of RANKS no one has seen. Where there are more than come at once, the worst come: they are
 * asked for by severity then, and what others have seen comes last. They are not complete while the
 * recorder makes the incidents of the stored events again.
 * @param {string} path @param {object} question @param {AbortSignal} signal
 * @returns {Promise<{active: any[], total: number, open: number[], complete: boolean}>}
 */
export async function activeIncidents(path, question, signal) {
  /** @param {object} more */
  const ask = (more) => get(path, { ...question, ...more, limit: MOST }, signal);
  const all = await ask({ state: [...OPEN, SEEN] });
  const { complete = true } = all;
  if (all.incidents.length >= all.total) {
    const open = all.incidents.filter(isOpen);
    const number = (/** @type {string} */ name) =>
      open.filter((/** @type {any} */ one) => one.severity === name).length;
    return { active: worstFirst(all.incidents), total: all.total, open: RANKS.map(number), complete };
  }
  const [seen, ...open] = await Promise.all([
    ask({ state: SEEN }),
    ...RANKS.map((name) => ask({ state: OPEN, severity: name })),
  ]);
  // One that changes its state between two answers is in both.
  const found = new Map([seen, ...open].flatMap(({ incidents }) => incidents).map((one) => [one.key, one]));
  return {
    active: worstFirst([...found.values()]).slice(0, MOST),
    total: [seen, ...open].reduce((sum, { total }) => sum + total, 0),
    open: open.map(({ total }) => total),
    complete,
  };
}

/** How many no one has seen yet, exactly. @param {AbortSignal} signal @returns {Promise<number>} */
export async function openIncidents(signal) {
  return (await get("/api/incidents", { state: OPEN, limit: 1 }, signal)).total;
}

/** @param {any} incident */
const isOpen = ({ state }) => OPEN.includes(state);

/** @param {any[]} incidents */
export function worstFirst(incidents) {
  /** @param {any} one */
  const rank = (one) => RANKS.indexOf(one.severity) + (one.state === SEEN ? 10 : 0);
  return incidents.sort((one, other) => rank(one) - rank(other));
}

/** @param {any} found @param {() => void} changed */
export function incidentList({ active, total, open, recent, silenced, complete }, changed) {
  const { own, parts } = folded(active);
  return [
    h(
      "div",
      { class: "row" },
      sentence(active, open, complete),
      !complete && empty("The incidents are being made again: more may be open."),
      // Else what no one is told of would seem to be well. In a line of its own it would move rows.
      silenced > 0 && h("a", { href: link("silences") }, `${count(silenced)} silenced`),
    ),
    incidentRows(own, changed, parts),
    onlyTheWorst(active, total),
    h(
      "p",
      { class: "row" },
      h(
        "a",
        { href: link("events", { type: "alert", resolved: "false", range: "720" }) },
        "Unresolved alerts of the last 30 days",
      ),
      h("a", { href: link("silences") }, "Silences"),
    ),
    recent.length > 0 &&
      h(
        "details",
        { "data-key": "recent-incidents" },
        h(
          "summary",
          { "data-key": "recent-incidents-summary" },
          `${count(recent.length)}${recent.length === RECENT ? " or more" : ""} over in the last day`,
        ),
        rows(recent, new Map(), changed),
      ),
  ];
}

/** Those that are part of another are shown inside of it. @param {any[]} active */
function folded(active) {
  const keys = new Set(active.map(({ key }) => key));
  /** @type {Map<string, any[]>} */
  const parts = new Map();
  const own = active.filter((one) => {
    if (!keys.has(one.causedBy)) return true;
    parts.set(one.causedBy, [...(parts.get(one.causedBy) ?? []), one]);
    return false;
  });
  return { own, parts };
}

/** What is not shown, where that is anything. @param {any[]} active @param {number} total */
export const onlyTheWorst = (active, total) =>
  total > active.length &&
  h("p", { class: "muted" }, `Of ${count(total)} the worst ${count(active.length)} are shown.`);

/**
 * One sentence in the colour of the worst; none where only what is missing may be open.
 * @param {any[]} active @param {number[]} open how many of each of RANKS @param {boolean} complete
 */
function sentence(active, open, complete) {
  const worst = RANKS.find((_, rank) => open[rank]);
  if (!worst)
    return complete && empty(active.length ? "Somebody has seen all that is open." : "Nothing is open.");
  const words = RANKS.map((name, rank) => open[rank] && `${count(open[rank])} ${name}`);
  const down = active
    .filter((one) => one.kind === "NODE_DOWN" && isOpen(one))
    .map(({ node }) => node);
  return h(
    "p",
    { class: `severity ${worst}`, dir: "auto" },
    `${words.filter(Boolean).join(", ")} open`,
    down.length > 0 && `; ${down.slice(0, 3).join(", ")} ${down.length > 1 ? "are" : "is"} offline`,
  );
}

/**
 * The first ones, and the others folded.
 * @param {any[]} incidents @param {() => void} changed
 * @param {Map<string, any[]>} [parts] those inside of each, by its key
 */
export function incidentRows(incidents, changed, parts = new Map()) {
  return [
    rows(incidents.slice(0, SHOWN), parts, changed),
    incidents.length > SHOWN &&
      h(
        "details",
        { "data-key": "more-incidents" },
        h(
          "summary",
          { "data-key": "more-incidents-summary" },
          `${count(incidents.length - SHOWN)} more`,
        ),
        rows(incidents.slice(SHOWN), parts, changed),
      ),
  ];
}

/** @param {any[]} incidents @param {Map<string, any[]>} parts @param {() => void} changed */
function rows(incidents, parts, changed) {
  return h(
    "ol",
    { class: "events", "data-rows": "incidents" },
    incidents.map((one) => row(one, parts.get(one.key) ?? [], changed)),
  );
}

/** @param {any} incident @param {any[]} parts @param {() => void} changed */
function row(incident, parts, changed) {
  return h(
    "li",
    { class: `event ${incident.severity}`, "data-row": `incident-${incident.key}` },
    h(
      "div",
      { class: "incident" },
      severity(incident.severity),
      h(
        "a",
        { href: incidentLink(incident.key), "data-key": `incident-${incident.key}`, class: "text", dir: "auto" },
        titleOf(incident),
      ),
      h("span", { class: "muted", dir: "auto" }, story(incident)),
      parts.length > 0 &&
        h(
          "details",
          { "data-key": `parts-${incident.key}` },
          h(
            "summary",
            { "data-key": `parts-summary-${incident.key}` },
            `${count(parts.length)} on it`,
          ),
          h(
            "ul",
            {},
            parts.map((one) =>
              h("li", {}, h("a", { href: incidentLink(one.key) }, titleOf(one)), " ", story(one)),
            ),
          ),
        ),
    ),
    buttons(incident, changed),
  );
}

/** @param {string} key */
export const incidentLink = (key) => link(`incidents/${encodeURIComponent(key)}`);

/** The object and its node. @param {any} incident */
export const aboutOf = ({ object, node }) =>
  [object, object === node ? null : node].filter(Boolean).join(" on ");

/** Kind, and the object or the node. @param {any} incident */
export function titleOf(incident) {
  const about = aboutOf(incident);
  return [h("span", {}, incident.kind), about && [" ", h("bdi", {}, about)]];
}

/** Count, since when, how long, whether it is still so. @param {any} incident */
export function story(incident) {
  const { firstAt, lastAt, recoveredAt, resolvedAt } = incident;
  const end = recoveredAt ?? resolvedAt;
  return [
    incident.flapping && h("strong", {}, "flapping · "),
    incident.count > 1 && `${count(incident.count)} × since `,
    incident.count > 1 ? when(firstAt) : ago(lastAt),
    end && `, lasted ${lasted(firstAt, end)}`,
    ", ",
    stateWords(incident),
    incident.acknowledgedBy && ` by ${incident.acknowledgedBy}`,
    incident.note && `: ${incident.note}`,
    incident.cluster && ` · ${nameOf(incident.cluster)}`,
  ];
}

/** @param {any} incident @returns {string} */
export function stateWords({ kind, state, evidenceAt, lastAt }) {
  const shows = SHOWS[kind];
  if (shows && state === "recovered") return shows[1];
  if (shows && state === "open" && evidenceAt && evidenceAt > lastAt) return shows[0];
  return WORDS[state] ?? state;
}

/** @param {string} since @param {string} until */
function lasted(since, until) {
  const minutes = Math.max(0, Date.parse(until) - Date.parse(since)) / 60_000;
  if (minutes < 1) return "less than a minute";
  if (minutes < 90) return `${Math.round(minutes)} min`;
  return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
}

/** @param {any} incident */
export const isOver = ({ state }) => ["recovered", "resolved"].includes(state);

/** @param {any} incident @param {() => void} changed */
export function buttons(incident, changed) {
  if (!mayChange()) return null;
  /** @param {string} name @param {string} verb @param {string} past */
  const button = (name, verb, past) =>
    undoable({
      key: `${name}-${incident.key}`,
      verb,
      past,
      what: [incident.kind, incident.object, incident.node].filter(Boolean).join(" "),
      work: async (options) => {
        await post(`/api/incidents/${name}`, { key: incident.key }, options);
        changed();
      },
    });
  return h(
    "span",
    { class: "row" },
    isOpen(incident) && button("acknowledge", "Seen", "seen"),
    incident.state !== "resolved" && button("resolve", "Close", "closed"),
    isOver(incident) && button("reopen", "Open again", "open again"),
  );
}
