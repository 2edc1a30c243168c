/** The measures of a node, a guest or a storage over time: charts of one time axis, and a table. */

import { get } from "../api.js";
import { nameOf } from "../clusters.js";
import { empty, h, panel } from "../dom.js";
import { bytes, severity, tenths, when } from "../format.js";
import { keep } from "../load.js";
import { go, link } from "../router.js";
import { measured } from "../series.js";

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

/** @type {Record<string, {kind: string, word: string, measures: string[]}>} */
const KINDS = {
  nodes: { kind: "node", word: "Node", measures: ["cpu", "mem", "disk", "online"] },
  guests: { kind: "guest", word: "Guest", measures: ["cpu", "mem", "online"] },
  storages: { kind: "storage", word: "Storage", measures: ["used", "total"] },
};
/** @type {Record<string, [string, (value: number) => string]>} */
const MEASURES = {
  cpu: ["CPU", (value) => `${tenths(value * 100)} %`],
  mem: ["Memory", bytes],
  disk: ["Disk", bytes],
  used: ["Used", bytes],
  total: ["Size", bytes],
  online: ["Online", (value) => `${tenths(value * 100)} %`],
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
  const since = () => new Date(Date.now() - Number(range) * 3_600_000).toISOString();

  const shown = keep(
    charts,
    over,
    async (signal) => {
      const question = { kind, name, measures, points: POINTS };
      const times = { since: since(), until: new Date().toISOString() };
      // A name that is empty is one, too: it has to be sent.
      const path = `/api/snapshots/series?${new URLSearchParams({ cluster })}`;
      return { ...(await get(path, { ...question, ...times }, signal)), ...times };
    },
    (answer) => {
      if (!answer.points.length) return empty("Nothing was measured in that time.");
      queueMicrotask(() => draw(answer, measures.filter((one) => one !== "online"), MEASURES));
      return [place, table(answer.points, measures)];
    },
    { every: 120 },
  );
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
        const question = { node: name, cluster, minSeverity: "warning", limit: MOST_EVENTS };
        return (await get("/api/memory/events", { ...question, since: since() }, signal)).events;
      },
      (found) => {
        draw.mark(found);
        return found.length ? eventList(found) : empty("Nothing worth a warning.");
      },
      { every: 60 },
    );
  }
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
