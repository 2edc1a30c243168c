/** Which events are meant: in the address, in a form, in a question. */

import { h } from "./dom.js";
import { fromInput, SEVERITIES, SOURCES, toInput, TYPES } from "./format.js";
import { go } from "./router.js";

const RANGES = [
  ["1", "Last hour"],
  ["6", "Last 6 hours"],
  ["24", "Last 24 hours"],
  ["168", "Last 7 days"],
  ["720", "Last 30 days"],
  ["", "From … to"],
];
const FILTERS = ["type", "severity", "source", "node", "cluster", "resolved", "text"];
const ANY_TYPE = "any";

/** @typedef {Record<string, string>} Filters as they stand in the address */

/** @param {number} seconds */
export function iso(seconds) {
  return new Date(seconds * 1000).toISOString();
}

/** @param {URLSearchParams} params @returns {Filters} */
export function read(params) {
  const found = Object.fromEntries(FILTERS.map((name) => [name, params.get(name) ?? ""]));
  const [since, until] = [params.get("since") ?? "", params.get("until") ?? ""];
  const fixed = Date.parse(since) < Date.parse(until);
  const range = RANGES.some(([hours]) => hours && hours === params.get("range"))
    ? /** @type {string} */ (params.get("range"))
    : "24";
  return { ...found, since, until, range: fixed ? "" : range };
}

/** @param {Filters} filters */
export function written({ range, since, until, ...rest }) {
  return { ...rest, ...(range ? { range } : { since, until }) };
}

/** What is asked for besides times and types. @param {Filters} filters */
export function asked(filters) {
  return Object.fromEntries(
    FILTERS.filter((name) => name !== "type").map((name) => [name, filters[name]]),
  );
}

/**
 * The types meant: where none is chosen all but metrics, which are most of what there is.
 * @param {Filters} filters
 */
export function typesOf({ type }) {
  if (type === ANY_TYPE) return [""];
  return type ? [type] : TYPES.filter((name) => name !== "metric");
}

/**
 * The same filters with metrics, null where they say already whether metrics are meant.
 * @param {Filters} filters
 */
export function withMetrics(filters) {
  return filters.type ? null : { ...filters, type: ANY_TYPE };
}

/** @param {Filters} filters */
export function bounds({ range, since, until }) {
  return range
    ? [iso(Date.now() / 1000 - /** @type {any} */ (range) * 3600), iso(Date.now() / 1000 + 1)]
    : [since, until];
}

/** @param {(changed: object) => void} choose */
export function filterForm(choose) {
  /** @type {Record<string, any>} */
  const fields = {};
  /** @param {string} name @param {string} title @param {HTMLElement} field */
  const labelled = (name, title, field) => {
    fields[name] = field;
    return h("label", {}, title, field);
  };
  /** @param {string} name @param {string} title @param {string[][]} options */
  const select = (name, title, options) =>
    labelled(
      name,
      title,
      h(
        "select",
        {
          onchange: (/** @type {any} */ { target }) => choose({ [name]: target.value }),
        },
        options.map(([value, text]) => h("option", { value }, text)),
      ),
    );
  /** @param {string} name @param {string} title @param {object} attributes */
  const text = (name, title, attributes) =>
    labelled(
      name,
      title,
      h("input", {
        ...attributes,
        onchange: (/** @type {any} */ { target }) => choose({ [name]: target.value.trim() }),
      }),
    );
  const cluster = select("cluster", "Cluster", [["", "any"]]);
  cluster.hidden = true;
  /** @param {string[]} names */
  const any = (names) => [["", "any"], ...names.map((name) => [name, name])];
  /** @param {string} name @param {string} title */
  const time = (name, title) =>
    labelled(
      name,
      title,
      h("input", {
        type: "datetime-local",
        step: 1,
        onchange: () => {
          const [since, until] = [fromInput(fields.since.value), fromInput(fields.until.value)];
          if (since && until && since < until) choose({ range: "", since, until });
        },
      }),
    );
  const element = h(
    "form",
    {
      class: "filters panel",
      "aria-label": "Filters",
      onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
    },
    labelled(
      "range",
      "Time",
      h(
        "select",
        {
          onchange: (/** @type {any} */ { target }) => {
            if (target.value) choose({ range: target.value });
            else fields.since.focus();
          },
        },
        RANGES.map(([value, title]) => h("option", { value }, title)),
      ),
    ),
    time("since", "From"),
    time("until", "To"),
    select("severity", "Severity", any(SEVERITIES)),
    select("type", "Type", [
      ["", "all but metrics"],
      [ANY_TYPE, "any"],
      ...TYPES.map((name) => [name, name]),
    ]),
    select("source", "Source", any(SOURCES)),
    text("node", "Node", { type: "text", dir: "auto" }),
    cluster,
    select("resolved", "Resolved", [
      ["", "any"],
      ["false", "no"],
      ["true", "yes"],
    ]),
    text("text", "Words", { type: "search", dir: "auto" }),
    h("button", { type: "button", class: "quiet", onclick: () => go("events", {}) }, "Clear"),
  );
  /** @type {Filters} */
  let shown = {};
  return {
    element,
    /** Offer these clusters, where there are several to choose from. @param {string[]} names */
    offer(names) {
      cluster.hidden = names.length < 2;
      fields.cluster.replaceChildren(
        h("option", { value: "" }, "any"),
        ...names.filter(Boolean).map((name) => h("option", { value: name }, name)),
      );
      fields.cluster.value = shown.cluster;
    },
    /** @param {Filters} filters */
    show(filters) {
      shown = filters;
      for (const [name, field] of Object.entries(fields)) field.value = filters[name];
      const [since, until] = bounds(filters);
      fields.since.value = toInput(since);
      fields.until.value = toInput(until);
    },
  };
}
