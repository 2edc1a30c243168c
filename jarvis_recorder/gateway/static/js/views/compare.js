/** What changed in a cluster between two moments; the second one is now where none is given. */

import { iso } from "../clock.js";
import {
  clusterField,
  clusterNames,
  latestSnapshot,
  named,
  nameOf,
  snapshotAt,
  snapshotDifferences,
} from "../clusters.js";
import { machines } from "../cluster.js";
import { empty, h, panel } from "../dom.js";
import {
  bytes,
  count,
  fromInput,
  isBeingTyped,
  laidOut,
  span,
  tenths,
  timeOf,
  toInput,
  when,
} from "../format.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { go } from "../router.js";
import { zone } from "../zone.js";

const HOUR = 3_600_000;
const MOST = 300;
const TOLERANCES = [
  ["0", "every change"],
  ["0.1", "more than 10 %"],
  ["0.5", "more than half"],
  ["1", "none"],
];
const USUAL = "0.1";

/** @type {Record<string, string>} lists of a snapshot, and what one of them is */
const KINDS = { nodes: "Node", vms: "Guest", guests: "Guest", storages: "Storage", storage: "Storage" };
/** @type {Record<string, string>} */
const WORDS = {
  cpu: "CPU",
  maxcpu: "cores",
  mem: "memory used",
  maxmem: "memory",
  disk: "disk used",
  maxdisk: "disk",
  uptime: "up for",
};
const SIZES = ["mem", "maxmem", "disk", "maxdisk", "used", "avail", "total"];

/**
 * @typedef {{a: string, b: string, cluster: string, tolerance: string, notShown: string}} Asked
 *   `notShown`: what is said where the address asks for other times
 */

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function compare(root, params, over) {
  let asked = read(params);
  const first = h("input", { type: "datetime-local", step: 1, onchange: choose });
  const second = h("input", { type: "datetime-local", step: 1, onchange: choose });
  const { field: cluster, offer } = clusterField(choose);
  const tolerance = h(
    "select",
    { onchange: choose },
    TOLERANCES.map(([value, text]) => h("option", { value }, text)),
  );
  const misplaced = h("p", { class: "problem", role: "alert", hidden: true });
  const changes = panel("Changes");
  root.append(
    h(
      "form",
      {
        class: "filters panel",
        "aria-label": "Two moments",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          choose();
        },
      },
      h("label", {}, "From", first),
      h("label", {}, "To (now where it is empty)", second),
      h("label", {}, "Cluster", cluster),
      h("label", {}, "Numbers that changed by", tolerance),
      misplaced,
    ),
    changes,
  );

  function choose() {
    if (isBeingTyped(first.value) || isBeingTyped(second.value)) return;
    /** @param {string} given @param {any} field */
    const time = (given, field) =>
      toInput(given) === field.value ? given : fromInput(field.value, given);
    go("compare", {
      a: time(asked.a, first) || asked.a,
      b: time(asked.b, second),
      cluster: cluster.value || asked.cluster,
      tolerance: tolerance.value,
    });
  }

  const shown = keep(
    changes,
    over,
    async (signal) => {
      const { a, b, tolerance, cluster } = asked;
      const names = await clusterNames();
      const name = cluster ? named(names, cluster) : (names[0] ?? null);
      if (name === null) return { names, name, found: null, later: null };
      const later = await (b ? snapshotAt(name, b, signal) : latestSnapshot(name, signal));
      const to = b || later?.timestamp;
      const found = later && (await snapshotDifferences(name, { from: a, to, tolerance }, signal));
      return { names, name, found, later };
    },
    ({ names, name, found, later }) => {
      offer(names, name);
      if (name === null) return empty("No snapshot of a cluster has been recorded.");
      if (!found) return empty(`No snapshot of ${nameOf(name)} is as old as that.`);
      return differences(name, found, guestNames(later));
    },
  );
  live.addEventListener("snapshot", soon(() => asked.b || shown.refresh(), over, 500, 10_000), {
    signal: over,
  });

  function fill() {
    first.value = toInput(asked.a);
    second.value = toInput(asked.b);
    tolerance.value = asked.tolerance;
    misplaced.textContent = asked.notShown;
    misplaced.hidden = !asked.notShown;
  }
  fill();
  zone.addEventListener("change", fill, { signal: over });
  return (/** @type {URLSearchParams} */ next) => {
    asked = read(next);
    fill();
    shown.load();
  };
}

/** @param {URLSearchParams} params @returns {Asked} */
function read(params) {
  const [a, b] = ["a", "b"].map((name) => timeOf(params.get(name)));
  const tolerance = params.get("tolerance") ?? "";
  return {
    a: a || iso(HOUR),
    b: b ?? "",
    cluster: params.get("cluster") ?? "",
    tolerance: TOLERANCES.some(([value]) => value === tolerance) ? tolerance : USUAL,
    notShown: [
      a === null && "The address asks for a first time that cannot be shown: it is an hour ago.",
      b === null && "The address asks for a second time that cannot be shown: it is now.",
    ]
      .filter(Boolean)
      .join(" "),
  };
}

/** A migration keeps a guest's number, which is its key; people know its name. @param {any} snapshot */
function guestNames(snapshot) {
  return new Map(machines(snapshot).vms.map(({ one, name }) => [one.vmid, name]));
}

/**
 * @param {string} cluster @param {any} found @param {Map<any, string>} guests
 */
function differences(cluster, { added, removed, changed, before, after }, guests) {
  const all = [
    ...removed.map((/** @type {any} */ one) => ({ ...one, word: "removed" })),
    ...added.map((/** @type {any} */ one) => ({ ...one, word: "added" })),
    ...changed.map((/** @type {any} */ one) => ({ ...one, word: "" })),
  ].map((one) => ({ ...one, ...placeOf(one, guests) }));
  const things = [...Map.groupBy(all, ({ thing }) => thing)].sort(
    ([, [one]], [, [other]]) => rank(one) - rank(other),
  );
  return [
    h(
      "p",
      { class: "muted" },
      h("bdi", {}, nameOf(cluster)),
      ": from the snapshot of ",
      when(before.timestamp),
      " to the one of ",
      when(after.timestamp),
    ),
    things.length
      ? h(
          "table",
          { class: "changes", "data-rows": "changes" },
          h("caption", { class: "unseen" }, "What changed"),
          h(
            "thead",
            {},
            h("tr", {}, h("th", { scope: "col" }, "Of"), h("th", { scope: "col" }, "Changes")),
          ),
          h(
            "tbody",
            { "data-rows": "things" },
            things.slice(0, MOST).map(([thing, those]) =>
              h(
                "tr",
                { "data-row": thing },
                h("th", { scope: "row", dir: "auto" }, thing),
                h("td", {}, h("ul", {}, those.slice(0, MOST).map(change)), notAll(those)),
              ),
            ),
          ),
        )
      : empty("Nothing changed."),
    notAll(things),
  ];
}

/** @param {any[]} all */
const notAll = (all) =>
  all.length > MOST &&
  h("p", { class: "problem" }, `${count(all.length - MOST)} more are not shown.`);

const ORDER = ["Node", "Guest", "Storage"];

/** @param {{kind: string}} one */
const rank = ({ kind }) => (ORDER.indexOf(kind) + ORDER.length + 1) % (ORDER.length + 1);

/**
 * Whom a difference is of, and what of it.
 * @param {any} one @param {Map<any, string>} guests
 */
function placeOf({ path, value }, guests) {
  const [list, key, ...rest] = path;
  if (!key || typeof key !== "object")
    return { kind: "", thing: "The cluster", rest: path.map(step) };
  const kind = KINDS[list] ?? String(list);
  const name = guests.get(key.vmid) ?? (rest.length ? null : value?.name);
  const number = Object.values(key).join(" on ");
  const thing = key.vmid !== undefined && name ? `${name} (${number})` : number;
  return { kind, thing: `${kind} ${thing}`, rest: rest.map(step) };
}

/** @param {any} part of a path @returns {string} */
const step = (part) =>
  typeof part === "object" ? Object.values(part).join(" on ") : String(part);

/** @param {any} one */
function change({ word, rest, value, from, to }) {
  const last = rest.at(-1);
  const name = rest.map((/** @type {string} */ part) => WORDS[part] ?? part).join(" › ");
  if (word)
    return h(
      "li",
      {},
      name && `${name} `,
      h("strong", {}, word),
      name ? [": ", shownAs(value, last)] : shownWhole(value),
    );
  return h(
    "li",
    {},
    `${name}: `,
    h("del", {}, shownAs(from, last)),
    " → ",
    h("ins", {}, shownAs(to, last)),
  );
}

/** @param {any} value */
function shownWhole(value) {
  return h(
    "details",
    {},
    h("summary", {}, "All of it"),
    h("pre", { tabindex: "0", dir: "auto", "aria-label": "All of it" }, laidOut(value)),
  );
}

/** @param {any} value @param {string} name */
function shownAs(value, name) {
  if (typeof value === "number") {
    if (name === "cpu" && value <= 1) return `${tenths(value * 100)} %`;
    if (name === "uptime") return span(value);
    return SIZES.includes(name) ? bytes(value) : tenths(value);
  }
  if (value && typeof value === "object") return shownWhole(value);
  return h("bdi", {}, value === "" ? "(empty)" : String(value));
}
