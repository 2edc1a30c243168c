/** Events over time and one by one; the filters are in the address. */

import { get } from "../api.js";
import { attended } from "../attention.js";
import { now } from "../clock.js";
import { chart, legend } from "../chart.js";
import { empty, h, panel } from "../dom.js";
import { eventRow } from "../event-row.js";
import {
  asked,
  bounds,
  filterForm,
  goOn,
  iso,
  notShown,
  notUnderstoodOf,
  read,
  refined,
  typesOf,
  withMetrics,
  written,
} from "../filters.js";
import { clusterNames } from "../clusters.js";
import { count } from "../format.js";
import { live } from "../live.js";
import { CSV, JSON_LINES, save } from "../export.js";
import { joined, look, lookedBack } from "../look.js";
import { act, keep, soon } from "../load.js";
import { go, link } from "../router.js";
import { savedList } from "../saved.js";
import { placeIn, putBack, recalled, remember, step } from "../steps.js";
import { zone } from "../zone.js";

const PAGE = 50;
/** So many may come by themselves before the list begins again with the newest. */
const MOST_FOLLOWED = 500;

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function events(root, params, over) {
  let filters = read(params);
  /** @type {any[]} */
  let rows = [];
  /** Where the next page begins, of the question that the others answered. @type {any} */
  let older = null;
  /** With more rows, of those that the reader asked for and others, it begins again. */
  let most = MOST_FOLLOWED;
  let following = true;
  let here = step();

  const form = filterForm((changed) => go("events", written({ ...filters, ...changed })));
  const place = h("div", { class: "chart", role: "img", "aria-label": "Events over time" });
  const signs = legend((severity) => link("events", written({ ...filters, severity })));
  const draw = chart(place, over, (since, until) =>
    go("events", written({ ...filters, range: "", since: iso(since), until: iso(until) })),
  );
  const histogram = panel(
    "Over time",
    place,
    h(
      "div",
      { class: "row of-chart" },
      signs.element,
      h("button", { type: "button", class: "quiet", onclick: () => zoom(0.5) }, "Zoom in"),
      h("button", { type: "button", class: "quiet", onclick: () => zoom(2) }, "Zoom out"),
    ),
  );
  const list = panel("Events");
  const follow = h("input", {
    type: "checkbox",
    onchange: () => {
      following = follow.checked;
      if (following) shown.refresh();
    },
  });
  follow.checked = true;
  const saved = h("span", { class: "muted", role: "status" });
  list.append(
    h(
      "div",
      { class: "row of-list" },
      h("label", { class: "inline" }, follow, " Follow what is recorded"),
      h("span", { class: "row" }, saved, saveButton("CSV", CSV), saveButton("JSON Lines", JSON_LINES)),
    ),
  );
  form.element.append(savedList(over));
  root.append(h("div", { class: "searched" }, form.element, histogram, list));
  form.show(filters, notShown(params), notUnderstoodOf(params));
  zone.addEventListener("change", form.showTimes, { signal: over });
  clusterNames()
    .then(form.offer)
    .catch(() => {}); // without them there is nothing to choose from

  const bars = keep(
    histogram,
    over,
    (signal) => counted(filters, signal),
    ({ histogram: answer, metrics }) => {
      const more = withMetrics(filters);
      signs.show(answer.buckets);
      return h(
        "p",
        { class: "row" },
        h("span", { class: "muted" }, `${count(draw(answer))} events`),
        metrics > 0 &&
          more &&
          h("a", { href: link("events", written(more)) }, `Show ${count(metrics)} metrics, too`),
      );
    },
    { every: 60 },
  );

  const shown = keep(
    list,
    over,
    (signal) => look(question(filters), null, signal),
    (newest) => {
      const all = joined({ events: rows, older }, newest);
      const mayGrow = rows.length <= most || attended(list);
      ({ events: rows, older } = all && mayGrow ? all : newest);
      return table();
    },
    { from: before(), follows: () => following },
  );
  reopen();
  over.addEventListener("abort", leave);

  /** Remember what is shown here, to show it again when the reader is back. */
  function leave() {
    const open = [
      .../** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("details[open][data-key]")),
    ].map((one) => one.dataset.key);
    if (rows.length)
      remember(here, { rows, older, open, at: new Date(now()), place: placeIn(list) });
  }

  function before() {
    const known = recalled(here);
    if (!known) return null;
    ({ rows, older } = known);
    most = rows.length + MOST_FOLLOWED;
    return { at: known.at, make: table };
  }

  function reopen() {
    const known = recalled(here);
    if (!known) return;
    for (const one of /** @type {NodeListOf<HTMLDetailsElement>} */ (
      list.querySelectorAll("details[data-key]")
    ))
      one.open = known.open.includes(one.dataset.key);
    putBack(list, known.place, over);
  }

  function table() {
    return [
      rows.length
        ? h(
            "ol",
            { class: "events", "data-rows": "events", "aria-label": "Events, newest first" },
            rows.map((event) => eventRow(event, changed, { refine })),
          )
        : !older && empty("No event fits these filters."),
      lookedBack({ events: rows, older }),
      older &&
        h(
          "button",
          { type: "button", class: "quiet", "data-key": "more", onclick: more },
          rows.length ? "Show older ones" : "Look further back",
        ),
    ];
  }

  /** @param {string} words @param {import("../export.js").Form} as */
  function saveButton(words, as) {
    const button = h(
      "button",
      { type: "button", class: "quiet", "aria-label": `Save as ${words}` },
      words,
    );
    return act(button, async () => {
      saved.textContent = "Saving …";
      try {
        const { count: number, isAll } = await save(question(filters), as, over);
        saved.textContent = isAll
          ? `${count(number)} saved.`
          : `The newest ${count(number)} saved; there are older ones.`;
      } catch (error) {
        saved.textContent = "";
        throw error;
      }
    });
  }

  async function more(/** @type {any} */ { currentTarget: button }) {
    const from = older;
    if (!from) return; // others are asked for, and these still shown
    button.disabled = true;
    try {
      const found = await look(from.question, from, over);
      if (older !== from) return;
      rows = [...rows, ...found.events];
      older = found.older;
      most = rows.length + MOST_FOLLOWED;
      shown.show(table, true);
    } catch (/** @type {any} */ error) {
      if (!over.aborted) button.after(h("span", { class: "failed", role: "alert" }, error.message));
      button.disabled = false;
    }
  }

  /** @param {string} name @param {string} value */
  function refine(name, value) {
    const { only, not } = refined(filters, name, value);
    /** @param {string} words @param {import("../filters.js").Filters} these */
    const way = (words, these) => [
      " ",
      h(
        "a",
        {
          href: link("events", written(these)),
          "aria-label": `${words} ${name} ${value}`,
        },
        words,
      ),
    ];
    return [way("only", only), way("not", not)];
  }

  /** It may be of those that were shown before. @param {any} event */
  function changed(event) {
    if (!rows.some(({ id }) => id === event.id)) return;
    rows = rows.map((one) => (one.id === event.id ? event : one));
    shown.show(table);
  }

  /** Somebody resolved or reopened one: it may be behind what is fetched again. @param {any} event */
  function settled({ id, resolved, resolvedAt, resolvedBy }) {
    if (!rows.some((one) => one.id === id)) return;
    rows = rows
      .map((one) => (one.id === id ? { ...one, resolved, resolvedAt, resolvedBy } : one))
      .filter((one) => one.id !== id || !filters.resolved || filters.resolved === String(resolved));
    shown.show(table);
  }

  /** @param {number} factor */
  function zoom(factor) {
    const [since, until] = bounds(filters).map((one) => Date.parse(one));
    const half = Math.max(((until - since) * factor) / 2, 5_000);
    const middle = (since + until) / 2;
    go(
      "events",
      written({
        ...filters,
        range: "",
        since: iso((middle - half) / 1000),
        until: iso((middle + half) / 1000),
      }),
    );
  }

  const again = soon(() => {
    if (following) shown.refresh();
  }, over);
  const redraw = soon(bars.refresh, over, 400, 5_000);
  for (const name of ["event", "resolved", "reopened"]) {
    live.addEventListener(
      name,
      ({ detail }) => {
        if (name !== "event") settled(detail);
        // What is not shown moves nothing; each of them has all of an event.
        const types = typesOf(filters);
        const meant = !types.length || types.includes(detail.type);
        if (meant && goOn(filters) && following) {
          again();
          redraw();
        }
      },
      { signal: over },
    );
  }

  return (/** @type {URLSearchParams} */ next) => {
    leave();
    here = step();
    filters = read(next);
    rows = [];
    older = null;
    most = MOST_FOLLOWED;
    form.show(filters, notShown(next), notUnderstoodOf(next));
    bars.load();
    const known = before();
    if (known) shown.startFrom(known);
    else shown.load();
    reopen();
  };
}

/** @param {import("../filters.js").Filters} filters */
function question(filters) {
  const [since] = bounds(filters);
  // Without an end of its own it goes on, also where clocks differ.
  const until = filters.range ? "" : filters.until;
  return { ...asked(filters), since, until, limit: PAGE };
}

/**
 * How many there are over time, and how many metrics are left out of that.
 * @param {import("../filters.js").Filters} filters @param {AbortSignal} signal
 */
async function counted(filters, signal) {
  const [since, until] = bounds(filters);
  const question = { ...asked(filters), since, until, by: "severity" };
  const [metrics, histogram] = await Promise.all([
    withMetrics(filters)
      ? get("/api/events/histogram", { ...question, type: "metric" }, signal)
      : { buckets: [] },
    get("/api/events/histogram", question, signal),
  ]);
  return { histogram, metrics: total(metrics.buckets) };
}

/** @param {any[]} buckets @returns {number} */
const total = (buckets) => buckets.reduce((sum, bucket) => sum + bucket.count, 0);
