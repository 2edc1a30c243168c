/** The worst severity of each node's events over the last day, a cell an hour: a table of links. */

import { get } from "./api.js";
import { nameOf } from "./clusters.js";
import { empty, h } from "./dom.js";
import { count, SEVERITIES, sign } from "./format.js";
import { link } from "./router.js";

const HOUR = 3_600_000;
const HOURS = 24;
/** A finger hits no cell of an hour. */
const CELLS_ON_A_TELEPHONE = 8;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long" });

/** @type {Record<string, [number, number]>} down and right */
const STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** @param {AbortSignal} signal */
export async function lastDay(signal) {
  const until = new Date();
  until.setMinutes(60, 0, 0); // whole hours stay the same cells all the while
  const since = new Date(until.getTime() - HOURS * HOUR);
  const narrow = matchMedia("(max-width: 480px)").matches;
  const answer = await get(
    "/api/events/matrix",
    {
      since: since.toISOString(),
      until: until.toISOString(),
      buckets: narrow ? CELLS_ON_A_TELEPHONE : HOURS,
    },
    signal,
  );
  return { ...answer, since: since.getTime() };
}

/** Return what renders a matrix again and again; it is one stop of the Tab key, arrows lead on. */
export function matrixTable() {
  /** The cell that Tab leads to, by its key. */
  let stop = "";

  /** @param {any} answer */
  return ({ nodes, bucketSeconds, since, truncated }) => {
    if (!nodes.length) return empty("No event in the last 24 hours.");
    const width = bucketSeconds * 1000;
    const starts = nodes[0].cells.map((/** @type {any} */ _, /** @type {number} */ index) =>
      since + index * width,
    );
    const clusters = Map.groupBy(nodes, (/** @type {any} */ { cluster }) => cluster);
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
          starts.map((/** @type {number} */ start) =>
            h("th", { scope: "col" }, h("time", { title: times(start, width) }, hour(start))),
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
                { scope: "rowgroup", colspan: starts.length + 1, dir: "auto" },
                cluster === null ? "no cluster named" : nameOf(cluster),
              ),
            ),
          those.map((one) => row(one, starts, width)),
        ),
      ),
    );
    /** @type {any[]} */
    const links = [...table.querySelectorAll("td a")];
    const first = links.find((one) => one.dataset.key === stop) ?? links[0];
    if (first) first.tabIndex = 0;
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
  function stay({ target, currentTarget: table }) {
    if (!target.matches("td a")) return;
    for (const one of table.querySelectorAll('td a[tabindex="0"]')) one.tabIndex = -1;
    target.tabIndex = 0;
    stop = target.dataset.key;
  }
}

/** @param {any} one @param {number[]} starts @param {number} width */
function row({ node, cluster, cells }, starts, width) {
  return h(
    "tr",
    { "data-row": `node-${cluster}-${node}` },
    h("th", { scope: "row", dir: "auto" }, node ?? "no node named"),
    cells.map((/** @type {any} */ cell, /** @type {number} */ index) =>
      cellOf({ node, cluster }, cell, starts[index], width),
    ),
  );
}

/**
 * @param {{node: string|null, cluster: string|null}} of @param {any} cell
 * @param {number} start @param {number} width
 */
function cellOf({ node, cluster }, { severity, count: number }, start, width) {
  if (!severity) return h("td");
  const events = `${count(number)} ${number === 1 ? "event" : "events"}`;
  const words = `${node ?? "no node named"}, ${times(start, width)}: ${severity}, ${events}`;
  if (node === null)
    // No filter means those that name no node.
    return h(
      "td",
      {},
      h(
        "span",
        { class: severity, role: "img", title: words, "aria-label": words },
        sign(severity),
      ),
    );
  return h(
    "td",
    {},
    h(
      "a",
      {
        class: severity,
        href: link("events", {
          // A cell counts every type.
          type: "any",
          node,
          cluster,
          since: new Date(start).toISOString(),
          until: new Date(start + width).toISOString(),
        }),
        tabindex: -1,
        title: words,
        "aria-label": words,
        "data-key": `cell-${cluster}-${node}-${start}`,
      },
      sign(severity),
    ),
  );
}

/** @param {number} start @param {number} width */
function times(start, width) {
  return `${day.format(start)} ${clock.format(start)} to ${clock.format(start + width)}`;
}

/** @param {number} start */
const hour = (start) => String(new Date(start).getHours()).padStart(2, "0");

/** Focus the next cell that has events. @param {any} event */
function move(event) {
  const step = STEPS[event.key];
  const from = event.target.closest("td a");
  if (!step || !from) return;
  event.preventDefault();
  const [down, right] = step;
  const here = placeOf(from);
  const ways = [.../** @type {NodeListOf<HTMLElement>} */ (
    event.currentTarget.querySelectorAll("td a")
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
  column: cell.parentElement.cellIndex,
});
