/** Which events are meant: in the address, in a form, in a question. */

import { isoOf, now } from "./clock.js";
import { h, refill, text } from "./dom.js";
import {
  fromInput,
  isBeingTyped,
  SEVERITIES,
  SOURCES,
  timeOf,
  toInput,
  TYPES,
} from "./format.js";
import { go, link } from "./router.js";
import { ANY_TYPE, format, parse } from "./tokens.js";

const RANGES = [
  ["1", "Last hour"],
  ["6", "Last 6 hours"],
  ["24", "Last 24 hours"],
  ["168", "Last 7 days"],
  ["720", "Last 30 days"],
  ["", "From … to"],
];
const USUAL = "24";
const ONE = ["type", "source", "cluster", "resolved", "text", "minSeverity"];
const SEVERAL = ["severity", "node", "exclude"];

/** @typedef {Record<string, any>} Filters as they stand in the address, a list of each of SEVERAL */

/** @param {number} seconds */
export const iso = (seconds) => isoOf(seconds * 1000);

/** The line that says the same as an address, besides times. @param {URLSearchParams} params */
const lineOf = (params) =>
  format(
    Object.fromEntries([
      ...ONE.map((name) => [name, params.get(name) ?? ""]),
      ...SEVERAL.map((name) => [name, [...new Set(params.getAll(name))].filter(Boolean)]),
    ]),
  );

/** What is not understood filters nothing. @param {URLSearchParams} params @returns {Filters} */
export function read(params) {
  const { filters } = parse(lineOf(params));
  const { since, until, range } = timesOf(params);
  const usual = isKnown(range) ? range : USUAL;
  return { ...filters, since, until, range: areTimes(since, until) ? "" : usual };
}

/** What an address has besides times that is not understood. @param {URLSearchParams} params */
export const notUnderstoodOf = (params) => parse(lineOf(params)).rest;

/**
 * A sentence where the times that an address asks for are not those that are shown.
 * @param {URLSearchParams} params
 */
export function notShown(params) {
  const { since, until, range } = timesOf(params);
  const asksForNone = since === "" && until === "";
  const isUnderstood = asksForNone ? !range || isKnown(range) : areTimes(since, until);
  if (isUnderstood) return "";
  const [, title] = /** @type {string[]} */ (RANGES.find(([one]) => one === read(params).range));
  return `The address asks for times that cannot be shown. These are the ${title.toLowerCase()}.`;
}

/** @param {URLSearchParams} params */
const timesOf = (params) => ({
  since: timeOf(params.get("since")),
  until: timeOf(params.get("until")),
  range: params.get("range") ?? "",
});

/** @param {string} range */
const isKnown = (range) => RANGES.some(([hours]) => hours && hours === range);

/** The end of times that have none, in milliseconds: clocks may be a little apart. */
const present = () => now() + 1_000;

/** Without an end they go on until now. @param {string|null} since @param {string|null} until */
const areTimes = (since, until) =>
  Date.parse(since ?? "") < (until === "" ? present() : Date.parse(until ?? ""));

/** Whether what is recorded from now on is among them. @param {Filters} filters */
export const goOn = ({ range, until }) => Boolean(range || !until) || Date.parse(until) > now();

/** @param {Filters} filters */
export function written({ range, since, until, ...rest }) {
  return { ...rest, ...(range ? { range } : { since, until }) };
}

/** What is asked for besides times. @param {Filters} filters */
export function asked({ range, since, until, ...filters }) {
  return { ...filters, type: typesOf(filters) };
}

/**
 * The same filters, with events that have one value only, or with none of those.
 * @param {Filters} filters @param {string} name @param {string} value
 */
export function refined(filters, name, value) {
  return {
    only: { ...filters, [name]: SEVERAL.includes(name) ? [value] : value },
    not: { ...filters, exclude: [...filters.exclude, `${name}:${value}`] },
  };
}

/**
 * The types meant: where none is chosen all but metrics, which are most of what there is.
 * @param {Filters} filters @returns {string[]} none where all are
 */
export function typesOf({ type }) {
  if (type === ANY_TYPE) return [];
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
  const end = present() / 1000;
  return range
    ? [iso(end - 1 - /** @type {any} */ (range) * 3600), iso(end)]
    : [since, until || iso(end)];
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
  const problem = h("p", { class: "problem", id: "not-understood", role: "alert", hidden: true });
  const misplaced = h("p", { class: "problem", id: "misplaced", role: "alert", hidden: true });
  const line = h("input", {
    type: "search",
    dir: "auto",
    autocapitalize: "none",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "sev:warning+ node:pve3 -type:metric words",
    "aria-describedby": problem.id,
    onchange: () => {
      const { filters, rest } = parse(line.value);
      notUnderstood = rest;
      show({ ...shown, ...filters });
      choose(filters);
    },
  });
  /** What someone typed, or an address has, that is no token stays in the line until it is put right. */
  let notUnderstood = "";
  const severities = SEVERITIES.map((name) =>
    h("input", {
      type: "checkbox",
      value: name,
      onchange: () =>
        choose({ severity: severities.filter((one) => one.checked).map((one) => one.value) }),
    }),
  );
  const node = h("input", {
    type: "text",
    dir: "auto",
    onchange: () => {
      const name = node.value.trim();
      node.value = "";
      if (name) choose({ node: [...shown.node, name] });
    },
  });
  const chosen = h("ul", { class: "chips", "aria-label": "Chosen nodes, and what is left out" });
  const cluster = select("cluster", "Cluster", []);
  /** @type {string[]} */
  let clusters = [];
  /** @param {string[]} names */
  const any = (names) => [["", "any"], ...names.map((name) => [name, name])];
  /** @param {"since"|"until"} name @param {string} title */
  const time = (name, title) =>
    labelled(
      name,
      title,
      h("input", {
        type: "datetime-local",
        step: 1,
        "aria-describedby": misplaced.id,
        onchange: () => changed(name),
      }),
    );
  /** What the fields show, exactly. */
  const times = { since: "", until: "" };
  /** @param {"since"|"until"} name whose field */
  function changed(name) {
    const moment = fromInput(fields[name].value, times[name]);
    if (!moment || isBeingTyped(fields[name].value)) return;
    times[name] = moment;
    const isInOrder = areTimes(times.since, times.until);
    misplace(isInOrder ? "" : "“From” has to be before “To”.");
    if (isInOrder) choose({ range: "", ...times });
  }
  /** @param {string} words why the times that are asked for are not shown */
  function misplace(words) {
    misplaced.textContent = words;
    misplaced.hidden = !words;
  }
  // A telephone shows them when they are asked for: what is found comes first.
  const fold = h(
    "button",
    {
      type: "button",
      class: "quiet fold",
      "aria-expanded": "false",
      "aria-controls": "fields",
      onclick: () =>
        fold.setAttribute("aria-expanded", String(element.classList.toggle("unfolded"))),
    },
    "Filters",
  );
  const rest = h(
    "div",
    { class: "fields", id: "fields" },
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
    h(
      "fieldset",
      {},
      h("legend", {}, "Severity"),
      severities.map((field) => h("label", {}, field, field.value)),
    ),
    select("minSeverity", "At least", any(SEVERITIES)),
    select("type", "Type", [
      ["", "all but metrics"],
      [ANY_TYPE, "any"],
      ...TYPES.map((name) => [name, name]),
    ]),
    select("source", "Source", any(SOURCES)),
    h("label", {}, "Node", node),
    cluster,
    select("resolved", "Resolved", [
      ["", "any"],
      ["false", "no"],
      ["true", "yes"],
    ]),
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => {
          notUnderstood = "";
          show(shown);
          go("events", {});
        },
      },
      "Clear",
    ),
  );
  const element = h(
    "form",
    {
      class: "filters panel",
      "aria-label": "Filters",
      onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
    },
    h("label", { class: "query" }, "Words and filters", line),
    fold,
    problem,
    misplaced,
    rest,
    chosen,
  );
  /** @type {Filters} */
  let shown = {};

  /**
   * @param {Filters} filters @param {string} [notTaken] why the times of the address are not shown
   * @param {string} [rest] what else it has that is not understood
   */
  function show(filters, notTaken = "", rest = "") {
    shown = filters;
    notUnderstood = rest || notUnderstood;
    showLine();
    showClusters();
    for (const [name, field] of Object.entries(fields)) field.value = filters[name];
    const number = [...ONE, ...SEVERAL].filter((name) => filters[name].length > 0).length;
    fold.textContent = number ? `Filters (${number})` : "Filters";
    for (const field of severities) field.checked = filters.severity.includes(field.value);
    refill(chosen, [
      ...filters.node.map((/** @type {string} */ name) =>
        chip(filters, "node", name, `node ${name}`),
      ),
      ...filters.exclude.map((/** @type {string} */ one) =>
        chip(filters, "exclude", one, `not ${one.replace(":", " ") || "?"}`),
      ),
    ]);
    [times.since, times.until] = bounds(filters);
    // The end stays open, whatever else is changed.
    if (!filters.range) times.until = filters.until;
    showTimes();
    misplace(notTaken);
  }

  function showTimes() {
    for (const [name, moment] of Object.entries(times)) fields[name].value = toInput(moment);
  }

  /** The line says what is filtered, and then what is not understood. */
  function showLine() {
    const { rest, problems } = parse(`${format(shown)} ${notUnderstood}`);
    notUnderstood = rest;
    line.value = [format(shown), rest].filter(Boolean).join(" ");
    line.setAttribute("aria-invalid", String(problems.length > 0));
    problem.hidden = problems.length === 0;
    problem.replaceChildren(...text(problems.map((words) => h("span", { dir: "auto" }, `${words} `))));
  }

  function showClusters() {
    const names = [...new Set([...clusters, shown.cluster])].filter(Boolean);
    cluster.hidden = clusters.length < 2 && !shown.cluster;
    fields.cluster.replaceChildren(...any(names).map(([value, name]) => h("option", { value }, name)));
    fields.cluster.value = shown.cluster;
  }

  return {
    element,
    show,
    showTimes,
    /** Offer these clusters, where there are several to choose from. @param {string[]} names */
    offer(names) {
      clusters = names;
      showClusters();
    },
  };
}

/**
 * One of several values, and a way to do without it.
 * @param {Filters} filters @param {string} name @param {string} value @param {string} words
 */
function chip(filters, name, value, words) {
  const left = filters[name].filter((/** @type {string} */ one) => one !== value);
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: link("events", written({ ...filters, [name]: left })),
        title: "Remove",
        "data-key": `chip-${name}-${value}`,
      },
      h("bdi", {}, words),
      h("span", { "aria-hidden": "true" }, " ×"),
      h("span", { class: "unseen" }, " (remove)"),
    ),
  );
}
