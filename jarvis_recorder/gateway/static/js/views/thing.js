/** The measures of a node, a guest or a storage over time: charts of one time axis, and a table. */

import { get } from "../api.js";
import { iso } from "../clock.js";
import { guestsOf, isUp, linkTo } from "../cluster.js";
import { latestSnapshot, nameOf, pathOf, within } from "../clusters.js";
import { empty, h, panel } from "../dom.js";
import { ago, severity, when } from "../format.js";
import { growthOf, outlookOf } from "../growth.js";
import { activeIncidents, incidentRows, onlyTheWorst } from "../incidents.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { look, lookedBack } from "../look.js";
import { go, link } from "../router.js";
import { MEASURES, measured } from "../series.js";
import { state } from "./inventory.js";

const RANGES = [
  ["6", "Last 6 hours"],
  ["24", "Last 24 hours"],
  ["168", "Last 7 days"],
  ["720", "Last 30 days"],
  ["2160", "Last 90 days"],
];
const USUAL = "24";
const POINTS = 96;
const MOST_EVENTS = 100;
const MOST_SILENCED = 100;
const MOST_PAST = 10;

/** @type {Record<string, {kind: string, word: string, measures: string[]}>} */
const KINDS = {
  nodes: { kind: "node", word: "Node", measures: ["cpu", "mem", "disk", "online"] },
  guests: { kind: "guest", word: "Guest", measures: ["cpu", "mem", "online"] },
  storages: { kind: "storage", word: "Storage", measures: ["used", "total"] },
};

/**
 * @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over
 * @param {string[]} path the view, the cluster, the name
 */
export function thing(root, params, over, [view, cluster, name]) {
  const { kind, word, measures } = KINDS[view];
  let range = read(params);
  const field = h(
    "select",
    { onchange: () => go([view, cluster, name].map(encodeURIComponent).join("/"), { range: field.value }) },
    RANGES.map(([value, text]) => h("option", { value }, text)),
  );
  field.value = range;
  const charts = panel([`${word} `, h("bdi", {}, name), ` of ${nameOf(cluster)}`]);
  root.append(
    h(
      "form",
      {
        class: "filters panel",
        "aria-label": "Time",
        onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
      },
      h("label", {}, "Time", field),
    ),
    charts,
  );
  const place = h("div", { class: "series" });
  const draw = measured(place, over);
  const since = () => iso(Number(range) * 3_600_000);

  const shown = keep(
    charts,
    over,
    async (signal) => {
      const question = { kind, name, measures, points: POINTS };
      const times = { since: since(), until: iso() };
      const path = pathOf("/api/snapshots/series", cluster);
      const [series, growth] = await Promise.all([
        get(path, { ...question, ...times }, signal),
        view === "storages" ? growthOf(cluster, name, signal) : null,
      ]);
      return { ...series, ...times, growth };
    },
    (answer) => {
      const outlook = view === "storages" && h("p", {}, outlookOf(answer.growth));
      if (!answer.points.length) return [outlook, empty("Nothing was measured in that time.")];
      queueMicrotask(() => draw(answer, measures.filter((one) => one !== "online")));
      return [outlook, place, table(answer.points, measures)];
    },
    { every: 120 },
  );
  if (view === "nodes") {
    root.append(incidentsOf(cluster, name, over), guestsOn(cluster, name, over));
  }
  const events = view === "nodes" ? eventsOf() : null;
  return (/** @type {URLSearchParams} */ next) => {
    range = read(next);
    field.value = range;
    shown.load();
    events?.load();
  };

  function eventsOf() {
    const said = panel("Its events");
    root.append(said);
    return keep(
      said,
      over,
      async (signal) => {
        const question = { node: name, minSeverity: "warning", limit: MOST_EVENTS, since: since() };
        return look(question, null, signal, await within("/api/memory/events", cluster));
      },
      ({ events: found, older }) => {
        draw.mark(found);
        return [
          found.length ? eventList(found) : !older && empty("Nothing worth a warning."),
          lookedBack({ events: found, older }),
          older && !older.lookedTo && h("p", { class: "muted" }, `The newest ${MOST_EVENTS} are shown.`),
        ];
      },
      { every: 60 },
    );
  }
}

/**
 * The incidents of a node, those that are open first.
 * @param {string} cluster @param {string} node @param {AbortSignal} over
 */
function incidentsOf(cluster, node, over) {
  const region = panel("Its incidents");
  const shown = keep(
    region,
    over,
    async (signal) => {
      const path = await within("/api/incidents", cluster);
      const [problems, silenced, past] = await Promise.all([
        activeIncidents(path, { node }, signal),
        get(path, { node, state: "silenced", limit: MOST_SILENCED }, signal),
        get(path, { node, state: ["recovered", "resolved"], limit: MOST_PAST }, signal),
      ]);
      return { ...problems, silenced, past };
    },
    ({ active, total, silenced, past }) => {
      const all = [...active, ...silenced.incidents, ...past.incidents];
      if (!all.length) return empty("None is known.");
      return [
        incidentRows(all, () => shown.refresh()),
        onlyTheWorst(active, total),
        silenced.total > silenced.incidents.length &&
          h("p", { class: "muted" }, `Of those that are silenced the newest ${MOST_SILENCED} are shown.`),
        past.nextCursor &&
          h("p", { class: "muted" }, `Of those that are over the newest ${MOST_PAST} are shown.`),
      ];
    },
    { every: 30 },
  );
  const again = soon(shown.refresh, over);
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, again, { signal: over });
  return region;
}

/**
 * The guests of a node, as the newest snapshot shows them.
 * @param {string} cluster @param {string} node @param {AbortSignal} over
 */
function guestsOn(cluster, node, over) {
  const region = panel("Its guests");
  const shown = keep(
    region,
    over,
    (signal) => latestSnapshot(cluster, signal),
    (snapshot) => {
      const found = guestsOf(snapshot).filter(({ one }) => one.node === node);
      if (!found.length) return empty("The newest snapshot shows none on it.");
      return [
        h(
          "ul",
          { class: "line" },
          found.map(({ name, one }) =>
            h(
              "li",
              {},
              h(
                "a",
                {
                  href: linkTo("guests", cluster, one),
                  "data-key": `guest-${one.vmid ?? name}`,
                  dir: "auto",
                },
                name,
              ),
              !isUp(one) && [" ", state({ one })],
            ),
          ),
        ),
        h(
          "p",
          { class: "muted" },
          "as of ",
          ago(snapshot.timestamp),
          " · ",
          h("a", { href: link("guests", { cluster: nameOf(cluster), node }) }, "As a table"),
        ),
      ];
    },
    { every: 60 },
  );
  live.addEventListener("snapshot", soon(shown.refresh, over, 500, 10_000), { signal: over });
  return region;
}

/** @param {any[]} found */
function eventList(found) {
  return h(
    "ol",
    { class: "around", "data-rows": "marks" },
    found.map(({ id, timestamp, severity: worst, summary }) =>
      h(
        "li",
        { "data-row": `mark-${id}` },
        when(timestamp),
        severity(worst),
        h("a", { href: link(`events/${id}`) }, h("bdi", {}, summary)),
      ),
    ),
  );
}

/** @param {URLSearchParams} params */
function read(params) {
  const given = params.get("range") ?? "";
  return RANGES.some(([value]) => value === given) ? given : USUAL;
}

/** @param {any[]} points @param {string[]} measures */
function table(points, measures) {
  return h(
    "details",
    { "data-key": "as-table" },
    h("summary", { "data-key": "as-table-summary" }, "As a table"),
    h(
      "div",
      { class: "wide", tabindex: "0", role: "group", "aria-label": "Measures" },
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "Means, with the least and the most"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "From"),
            measures.map((one) => h("th", { scope: "col" }, MEASURES[one][0])),
          ),
        ),
        h(
          "tbody",
          {},
          points.toReversed().map((point) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, when(point.at)),
              measures.map((one) => h("td", {}, words(point[one], MEASURES[one][1]))),
            ),
          ),
        ),
      ),
    ),
  );
}

/** @param {any} value @param {(value: number) => string} shown */
function words(value, shown) {
  if (!value) return "–";
  const { min, mean, max } = value;
  const mid = shown(mean);
  return min === max ? mid : `${mid} (${shown(min)} to ${shown(max)})`;
}
