/** Nodes and virtual machines of a snapshot; its shape is its publisher's, so nothing is assumed. */

import { h, svg } from "./dom.js";
import { bytes } from "./format.js";
import { link } from "./router.js";

/** @type {[number, string][]} */
const LEVELS = [
  [0.9, "high"],
  [0.75, "raised"],
];

/** @param {any} value @returns {any[]} */
function list(value) {
  return Array.isArray(value) ? value.filter((one) => one && typeof one === "object") : [];
}

/** @param {unknown} used @param {unknown} whole @returns {number|null} */
export function share(used, whole) {
  return typeof used === "number" && typeof whole === "number" && whole > 0
    ? Math.min(Math.max(used / whole, 0), 1)
    : null;
}

/** @type {[string, Measure, (one: any) => string][]} */
const MEASURES = [
  ["CPU", (one) => share(one.cpu, 1), (one) => `of ${one.maxcpu ?? "?"} cores`],
  [
    "Memory",
    (one) => share(one.mem, one.maxmem),
    (one) => `${bytes(one.mem)} of ${bytes(one.maxmem)}`,
  ],
  [
    "Disk",
    (one) => share(one.disk, one.maxdisk),
    (one) => `${bytes(one.disk)} of ${bytes(one.maxdisk)}`,
  ],
];

/**
 * @typedef {{kind: string, name: string, one: any}} Machine
 * @typedef {(one: any) => number|null} Measure
 */

/** @param {any} snapshot @param {string} kind @param {string} key @returns {Machine[]} */
const named = (snapshot, kind, key) =>
  list(snapshot?.snapshot?.[kind]).map((one) => ({
    kind,
    name: String(one.name ?? one[key] ?? "?"),
    one,
  }));

/** @param {any} snapshot */
export const guestsOf = (snapshot) =>
  ["vms", "guests"].flatMap((kind) => named(snapshot, kind, "vmid"));
/** @param {any} snapshot */
export const storagesOf = (snapshot) => named(snapshot, "storages", "storage");

/** @param {any} snapshot */
export function machines(snapshot) {
  return { nodes: named(snapshot, "nodes", "name"), vms: named(snapshot, "vms", "vmid") };
}

/** The name by which the measures of something are kept. @param {string} kind @param {any} one */
export function thingKey(kind, one) {
  if (kind === "guests") return String(one.vmid ?? one.name ?? "?");
  const name = String(one.storage ?? one.name ?? "?");
  return kind === "storages" && one.node && !one.shared ? `${one.node}/${name}` : name;
}

/** @param {any} one */
export const isUp = (one) => ["online", "running"].includes(String(one.status ?? "unknown"));

/** Whether a guest is not meant to run. @param {any} one */
export const atRest = ({ template, onboot, hastate }) =>
  [1, "1", true].includes(template) ||
  [0, "0", false].includes(onboot) ||
  ["stopped", "disabled", "ignored"].includes(hastate);

/**
 * @param {string} name @param {number|null} value @param {string} words
 * @param {(number|null)[]|false} past
 */
function meter(name, value, words, past) {
  if (value === null)
    return h("div", { class: "meter" }, h("span", {}, name), h("span", { class: "muted" }, "–"));
  const level = LEVELS.find(([from]) => value >= from)?.[1] ?? "";
  const fill = h("span", { class: `fill ${level}` });
  fill.style.inlineSize = `${(value * 100).toFixed(1)}%`;
  const text = `${Math.round(value * 100)} %`;
  return h(
    "div",
    { class: "meter", title: words },
    h("span", {}, name),
    h(
      "span",
      {
        class: "bar",
        role: "meter",
        "aria-label": name,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.round(value * 100),
        "aria-valuetext": `${text}, ${words}`,
      },
      fill,
    ),
    h("span", { class: "number" }, text),
    past ? sparkline(past) : null,
  );
}

/** @param {Array<number|null>} values shares, oldest first */
function sparkline(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return null;
  const step = 60 / (values.length - 1);
  let pen = "M";
  const path = values
    .map((value, index) => {
      if (value === null) {
        pen = "M";
        return "";
      }
      const point = `${pen}${(index * step).toFixed(1)} ${(15 - value * 14).toFixed(1)}`;
      pen = "L";
      return point;
    })
    .join("");
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 60 16", "aria-hidden": "true" },
    svg("path", { d: path }),
  );
}

/** Where something of a cluster is shown over time. @param {string} view @param {string} cluster @param {any} one */
export const linkTo = (view, cluster, one) =>
  link([view, cluster, thingKey(view, one)].map(encodeURIComponent).join("/"));

/** @param {Machine} machine @param {string} cluster @param {any[]} points means of its measures */
function machine({ kind, name, one }, cluster, points) {
  const status = String(one.status ?? "unknown");
  const up = isUp(one) || atRest(one);
  /** @param {Measure} measure */
  const past = (measure) => points.length > 1 && points.map((point) => point && measure(point));
  return h(
    "li",
    { class: `machine ${up ? "" : "down"}` },
    h(
      "p",
      { class: "name" },
      h(
        "strong",
        {},
        h("a", { href: linkTo(kind === "vms" ? "guests" : kind, cluster, one), dir: "auto" }, name),
      ),
      h("span", { class: up ? "muted" : "severity error" }, up ? status : `◆ ${status}`),
      kind === "vms" &&
        h(
          "span",
          { class: "muted" },
          [one.type, one.node && `on ${one.node}`].filter(Boolean).join(" "),
        ),
    ),
    MEASURES.map(([title, measure, words]) =>
      meter(title, measure(one), words(one), past(measure)),
    ),
  );
}

/**
 * @param {any} snapshot @param {{node: string, points: any[]}[]} [lines] of its nodes
 * @param {{guests?: boolean}} [options]
 */
export function clusterView(snapshot, lines = [], { guests = true } = {}) {
  const { nodes, vms } = machines(snapshot);
  // A time at which another node has values and this one has none is a gap of its line.
  const times = [...new Set(lines.flatMap(({ points }) => points.map(({ at }) => at)))].sort();
  const points = new Map(
    lines.map(({ node, points: those }) => {
      const at = new Map(those.map((point) => [point.at, point]));
      return [node, times.map((time) => at.get(time) ?? null)];
    }),
  );
  const quorum = snapshot.snapshot?.quorum;
  /** @param {Machine[]} many */
  const down = (many) =>
    many.filter(({ one }) => !isUp(one) && !atRest(one)).length;
  /** @param {string} word @param {Machine[]} many */
  const title = (word, many) =>
    `${word}: ${many.length}${down(many) ? `, ${down(many)} down` : ""}`;
  /** @param {Machine[]} many */
  const cards = (many) =>
    h(
      "ul",
      { class: "machines" },
      many.map((one) =>
        machine(
          one,
          snapshot.cluster ?? "",
          (one.kind === "nodes" && points.get(one.name)) || [],
        ),
      ),
    );
  return [
    quorum &&
      typeof quorum === "object" &&
      h(
        "p",
        { class: quorum.quorate ? "muted" : "severity critical" },
        quorum.quorate
          ? `Quorate, ${quorum.nodes ?? "?"} of ${quorum.expected ?? "?"} nodes`
          : `■ No quorum: ${quorum.nodes ?? "?"} of ${quorum.expected ?? "?"} nodes`,
      ),
    nodes.length > 0 && [h("h3", {}, title("Nodes", nodes)), cards(nodes)],
    guests &&
      vms.length > 0 &&
      h(
        "details",
        { "data-key": "vms" },
        h("summary", { "data-key": "vms-summary" }, title("Machines", vms)),
        cards(vms),
      ),
    !nodes.length &&
      !vms.length &&
      h(
        "pre",
        { tabindex: "0", "aria-label": "Snapshot" },
        JSON.stringify(snapshot.snapshot, null, 2),
      ),
  ];
}
