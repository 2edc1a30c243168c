/** The worst severity of each node's events over the last day: a strip of links for each node. */

import { get } from "./api.js";
import { now } from "./clock.js";
import { linkTo } from "./cluster.js";
import { clusterNames, nameOf, ownOf } from "./clusters.js";
import { empty, h } from "./dom.js";
import { count, SEVERITIES, sign } from "./format.js";
import { link } from "./router.js";
import { stopAt } from "./rows.js";
import { inZone } from "./zone.js";

const DAY = 86_400_000;
const CELLS = 48;
/** A finger hits no cell of half an hour. */
const CELLS_ON_A_TELEPHONE = 8;
const TIMES = 4;
/** The recorder leaves out no more values than these. */
const MOST_EXCLUDED = 50;

const styles = inZone((timeZone) => ({
  clock: new Intl.DateTimeFormat(undefined, { timeStyle: "short", timeZone }),
  day: new Intl.DateTimeFormat(undefined, { weekday: "long", timeZone }),
}));

/** @type {Record<string, [number, number]>} down and right */
const STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** Where arrows lead. */
const STOPS = "th a, td a";
const PLACES = `.matrix :is(${STOPS})`;

/** @param {AbortSignal} signal */
export async function lastDay(signal) {
  const narrow = matchMedia("(max-width: 480px)").matches;
  const cells = narrow ? CELLS_ON_A_TELEPHONE : CELLS;
  // Whole stretches stay the same cells all the while.
  const width = Math.min(DAY / cells, 3_600_000);
  const until = new Date(Math.ceil(now() / width) * width);
  const since = new Date(until.getTime() - DAY);
  const [answer, names] = await Promise.all([
    get(
      "/api/events/matrix",
      { since: since.toISOString(), until: until.toISOString(), buckets: cells },
      signal,
    ),
    clusterNames(),
  ]);
  return { ...answer, since: since.getTime(), names };
}

/** Return what renders a matrix again and again; it is one stop of the Tab key, arrows lead on. */
export function matrixTable() {
  /** The cell that Tab leads to, by its key. */
  let stop = "";

  /** @param {any} answer */
  return ({ nodes, bucketSeconds, since, truncated, names }) => {
    if (!nodes.length) return empty("No event in the last 24 hours.");
    const width = bucketSeconds * 1000;
    const starts = nodes[0].cells.map((/** @type {any} */ _, /** @type {number} */ index) =>
      since + index * width,
    );
    const clusters = Map.groupBy(nodes, (/** @type {any} */ { cluster }) => cluster);
    // Another cluster may have a node of the same name.
    const named = clusters.size > 1 || truncated ? names.filter(Boolean) : [];
    const table = h(
      "table",
      { class: "matrix", "data-rows": "matrix", onkeydown: move, onfocusin: stay },
      h("caption", { class: "unseen" }, "The worst severity by node and time"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Node"),
          h(
            "th",
            { scope: "col" },
            h(
              "span",
              { class: "times" },
              Array.from({ length: TIMES }, (_, index) => {
                const start = starts[(index * starts.length) / TIMES];
                return h("time", { title: times(start, width) }, styles().clock.format(start));
              }),
            ),
          ),
        ),
      ),
      [...clusters].map(([cluster, those]) =>
        h(
          "tbody",
          { "data-rows": `cluster-${cluster}` },
          (cluster !== null || clusters.size > 1) &&
            h(
              "tr",
              {},
              h(
                "th",
                { scope: "rowgroup", colspan: 2, dir: "auto" },
                cluster === null ? "no cluster named" : nameOf(cluster),
              ),
            ),
          those.map((one) =>
            row(one, ownOf(cluster, names), cluster === null ? named : [], starts, width),
          ),
        ),
      ),
    );
    // When it is in its place, where rows that show the same are those of before.
    queueMicrotask(() => stopAt(document.querySelectorAll(PLACES), stop));
    return [
      table,
      h(
        "ul",
        { class: "legend", "aria-label": "Signs" },
        SEVERITIES.map((name) =>
          h("li", {}, h("span", { class: `sample ${name}` }, sign(name)), name),
        ),
      ),
      truncated && h("p", { class: "muted" }, "There are more nodes: these have the worst events."),
    ];
  };

  /** @param {any} event */
  function stay({ target }) {
    if (!target.matches(STOPS)) return;
    stop = target.dataset.key;
    stopAt(document.querySelectorAll(PLACES), stop);
  }
}

/**
 * @param {any} one @param {string} own its cluster @param {string[]} others not its cluster
 * @param {number[]} starts @param {number} width
 */
function row({ node, cluster, cells }, own, others, starts, width) {
  return h(
    "tr",
    { "data-row": `node-${cluster}-${node}` },
    h(
      "th",
      { scope: "row", dir: "auto" },
      node === null
        ? "no node named"
        : h(
            "a",
            {
              href: linkTo("nodes", own, { name: node }),
              tabindex: -1,
              "data-key": `node-${cluster}-${node}`,
            },
            node,
          ),
    ),
    h(
      "td",
      { class: "strip" },
      cells.map((/** @type {any} */ cell, /** @type {number} */ index) =>
        cellOf({ node, cluster, others }, cell, starts[index], width),
      ),
    ),
  );
}

/**
 * @param {{node: string|null, cluster: string|null, others: string[]}} of @param {any} cell
 * @param {number} start @param {number} width
 */
function cellOf({ node, cluster, others }, { severity, count: number }, start, width) {
  const of = `${node ?? "no node named"}, ${times(start, width)}`;
  if (!severity) return h("i", { title: `${of}: nothing` });
  const words = `${of}: ${severity}, ${count(number)} ${number === 1 ? "event" : "events"}`;
  const known = { class: severity, title: words, "aria-label": words };
  // No filter means those that name no node, or are of none of so many clusters.
  if (node === null || others.length > MOST_EXCLUDED)
    return h("span", { ...known, role: "img" }, sign(severity));
  return h(
    "a",
    {
      ...known,
      href: link("events", {
        // A cell counts every type.
        type: "any",
        node,
        cluster,
        exclude: others.map((one) => `cluster:${one}`),
        since: new Date(start).toISOString(),
        until: new Date(start + width).toISOString(),
      }),
      tabindex: -1,
      "data-key": `cell-${cluster}-${node}-${start}`,
    },
    sign(severity),
  );
}

/** @param {number} start @param {number} width */
function times(start, width) {
  const { clock, day } = styles();
  return `${day.format(start)} ${clock.format(start)} to ${clock.format(start + width)}`;
}

/** Focus the next cell that has events. @param {any} event */
function move(event) {
  const step = STEPS[event.key];
  const from = event.target.closest(STOPS);
  if (!step || !from) return;
  event.preventDefault();
  const [down, right] = step;
  const here = placeOf(from);
  const ways = [.../** @type {NodeListOf<HTMLElement>} */ (
    event.currentTarget.querySelectorAll(STOPS)
  )].flatMap((one) => {
    const { row, column } = placeOf(one);
    const [rows, columns] = [row - here.row, column - here.column];
    const beyond = down ? Math.sign(rows) === down : !rows && Math.sign(columns) === right;
    return beyond ? [{ one, far: Math.abs(rows) * 1_000 + Math.abs(columns) }] : [];
  });
  ways.sort((a, b) => a.far - b.far)[0]?.one.focus();
}

/** @param {any} cell */
const placeOf = (cell) => ({
  row: cell.closest("tr").rowIndex,
  // A node's name stands before its cells.
  column: cell.closest("td") ? [...cell.parentElement.children].indexOf(cell) : -1,
});
