/** The guests or the storages of all clusters in one table; order and filters are in the address. */

import { atRest, guestsOf, isUp, linkTo, share, storagesOf, thingKey } from "../cluster.js";
import { clusterNames, latestSnapshot, nameOf } from "../clusters.js";
import { empty, h, panel } from "../dom.js";
import { ago, bytes, count, span } from "../format.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { go } from "../router.js";
import { stepBy } from "../rows.js";

/** So full a storage is said to be. */
export const FULL = 0.85;
const MOST = 1_000;

/**
 * `value`: what rows are sorted by, a number or words; `shown`: the cell, where it is not that.
 * @typedef {{name: string, title: string, value: (row: any) => any, shown?: (row: any) => any,
 *   minor?: boolean}} Column
 * @typedef {{view: string, title: string, none: string, of: (snapshot: any) => any[],
 *   columns: Column[], states: Record<string, (one: any) => boolean>}} Kind
 */

/** @param {number|null} value */
const percent = (value) => (value === null ? "–" : `${Math.round(value * 100)} %`);

/** @param {string} name @param {string} title @param {string} used @param {string} whole @returns {Column} */
const sharing = (name, title, used, whole) => ({
  name,
  title,
  value: ({ one }) => share(one[used], whole ? one[whole] : 1),
  shown: ({ one }) => {
    const value = share(one[used], whole ? one[whole] : 1);
    return h(
      "span",
      { title: whole && `${bytes(one[used])} of ${bytes(one[whole])}` },
      percent(value),
    );
  },
});

/** @param {any} row */
const full = ({ one }) => (share(one.used ?? one.disk, one.total ?? one.maxdisk) ?? 0) > FULL;

/** @type {Column} */
const NODE = { name: "node", title: "Node", value: ({ one }) => one.node ?? "", minor: true };
/** @type {Column} */
const CLUSTER = { name: "cluster", title: "Cluster", value: ({ cluster }) => nameOf(cluster) };

/** @type {Kind} */
const GUESTS = {
  view: "guests",
  title: "Guests",
  none: "No guest fits.",
  of: guestsOf,
  columns: [
    { name: "name", title: "Name", value: ({ name }) => name },
    { name: "vmid", title: "Number", value: ({ one }) => one.vmid ?? "", minor: true },
    NODE,
    { ...CLUSTER, minor: true },
    { name: "status", title: "Status", value: ({ one }) => stateOf(one), shown: state },
    sharing("cpu", "CPU", "cpu", ""),
    sharing("mem", "Memory", "mem", "maxmem"),
    {
      name: "uptime",
      title: "Up for",
      value: ({ one }) => (typeof one.uptime === "number" ? one.uptime : null),
      shown: ({ one }) => (isUp(one) && typeof one.uptime === "number" ? span(one.uptime) : "–"),
      minor: true,
    },
  ],
  states: {
    running: ({ one }) => isUp(one),
    down: ({ one }) => !isUp(one) && !atRest(one),
    "at rest": ({ one }) => atRest(one) && !isUp(one),
  },
};

/** @type {Kind} */
const STORAGES = {
  view: "storages",
  title: "Storages",
  none: "No storage fits.",
  of: storagesOf,
  columns: [
    { name: "name", title: "Name", value: ({ name }) => name },
    NODE,
    CLUSTER,
    { name: "type", title: "Kind", value: ({ one }) => one.type ?? "", minor: true },
    {
      name: "used",
      title: "Used",
      value: ({ one }) => share(one.used ?? one.disk, one.total ?? one.maxdisk),
      shown: (row) => {
        const { one } = row;
        const words = percent(share(one.used ?? one.disk, one.total ?? one.maxdisk));
        return full(row) ? h("span", { class: "severity warning" }, `▲ ${words}`) : words;
      },
    },
    {
      name: "total",
      title: "Size",
      value: ({ one }) => one.total ?? one.maxdisk ?? null,
      shown: ({ one }) => bytes(one.total ?? one.maxdisk),
      minor: true,
    },
  ],
  states: { "above 85 %": full },
};

/** @param {any} one */
const stateOf = (one) =>
  one.template && one.template !== "0" ? "template" : String(one.status ?? "unknown");

/** What a guest does, and whether it should. @param {{one: any}} row */
export function state({ one }) {
  if (isUp(one)) return stateOf(one);
  return atRest(one)
    ? h("span", { class: "muted" }, stateOf(one), " (at rest)")
    : h("span", { class: "severity error" }, `◆ ${stateOf(one)}`);
}

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export const guests = (root, params, over) => inventory(GUESTS, root, params, over);
/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export const storages = (root, params, over) => inventory(STORAGES, root, params, over);

/** @param {URLSearchParams} params @returns {Record<string, string>} */
const read = (params) =>
  Object.fromEntries(
    ["q", "cluster", "node", "state", "sort"].map((name) => [name, params.get(name) ?? ""]),
  );

/**
 * @param {Kind} kind @param {HTMLElement} root @param {URLSearchParams} params
 * @param {AbortSignal} over
 */
function inventory(kind, root, params, over) {
  let asked = read(params);
  /** @type {any[]} */
  let all = [];
  /** @param {object} changed */
  const choose = (changed) => go(kind.view, { ...asked, ...changed });
  /** @param {string} name @param {string} title */
  const select = (name, title) => {
    const field = h("select", { onchange: () => choose({ [name]: field.value }) });
    return { name, field, label: h("label", {}, title, field) };
  };
  const words = h("input", {
    type: "search",
    dir: "auto",
    onchange: () => choose({ q: words.value.trim() }),
  });
  const selects = [select("cluster", "Cluster"), select("node", "Node"), select("state", "State")];
  const list = panel(kind.title);
  root.append(
    h(
      "form",
      {
        class: "filters panel",
        "aria-label": "Filters",
        onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
      },
      h("label", {}, "Name", words),
      selects.map(({ label }) => label),
    ),
    list,
  );

  const stop = stepBy(list, "tbody th a");
  const shown = keep(
    list,
    over,
    async (signal) => {
      const found = await Promise.all(
        (await clusterNames()).map(async (cluster) => {
          const snapshot = await latestSnapshot(cluster, signal);
          return kind.of(snapshot).map((thing) => ({
            ...thing,
            cluster,
            at: snapshot.timestamp,
          }));
        }),
      );
      return found.flat();
    },
    (found) => {
      all = found;
      return table();
    },
    { every: 60 },
  );
  live.addEventListener("snapshot", soon(shown.refresh, over, 500, 10_000), { signal: over });

  function fill() {
    words.value = asked.q;
    /** @type {Record<string, string[]>} */
    const offered = {
      cluster: [...new Set(all.map(({ cluster }) => nameOf(cluster)))],
      node: [...new Set(all.map(({ one }) => one.node).filter(Boolean))].sort(),
      state: Object.keys(kind.states),
    };
    for (const { name, field } of selects) {
      const options = [...new Set([...offered[name], asked[name]])].filter(Boolean);
      field.replaceChildren(
        h("option", { value: "" }, "any"),
        ...options.map((value) => h("option", { value }, value)),
      );
      field.value = asked[name];
    }
  }

  /** @param {any} row */
  const fits = (row) =>
    (!asked.q ||
      [row.name, row.one.vmid, row.one.node].some((one) =>
        String(one ?? "").toLowerCase().includes(asked.q.toLowerCase()),
      )) &&
    (!asked.cluster || nameOf(row.cluster) === asked.cluster) &&
    (!asked.node || row.one.node === asked.node) &&
    (!Object.hasOwn(kind.states, asked.state) || kind.states[asked.state](row));

  function table() {
    fill();
    // When it is in its place.
    queueMicrotask(stop);
    const [name, down] = [asked.sort.replace(/^-/, ""), asked.sort.startsWith("-")];
    const column = kind.columns.find((one) => one.name === name);
    const rows = all.filter(fits);
    if (column) rows.sort((a, b) => compared(column.value(a), column.value(b), down));
    if (!all.length) return empty("No snapshot of a cluster has been recorded.");
    const notable = Object.entries(kind.states)
      .filter(([state]) => state !== "running")
      .map(([state, is]) => ({ state, number: rows.filter(is).length }))
      .filter(({ number }) => number);
    return [
      h(
        "p",
        { class: "muted" },
        [`${count(rows.length)} of ${count(all.length)}`]
          .concat(notable.map(({ state, number }) => `${count(number)} ${state}`))
          .join(" · "),
        " · as of ",
        ago(all.map(({ at }) => at).sort()[0]),
      ),
      rows.length
        ? h(
            "table",
            { class: "inventory", "data-rows": "inventory" },
            h("caption", { class: "unseen" }, kind.title),
            h("thead", {}, h("tr", {}, kind.columns.map((one) => header(one, name, down)))),
            h("tbody", { "data-rows": "things" }, rows.slice(0, MOST).map(line)),
          )
        : empty(kind.none),
      rows.length > MOST &&
        h("p", { class: "muted" }, `${count(rows.length - MOST)} more are not shown.`),
    ];
  }

  /** @param {Column} column @param {string} sorted @param {boolean} down */
  function header({ name, title, minor }, sorted, down) {
    const mine = name === sorted;
    const sign = mine ? (down ? " ▾" : " ▴") : "";
    return h(
      "th",
      {
        scope: "col",
        class: minor && "minor",
        "aria-sort": mine && (down ? "descending" : "ascending"),
      },
      h(
        "button",
        {
          type: "button",
          class: "plain-button",
          "data-key": `sort-${name}`,
          onclick: () => choose({ sort: mine && !down ? `-${name}` : name }),
        },
        title,
        h("span", { "aria-hidden": "true" }, sign),
      ),
    );
  }

  /** @param {any} row */
  function line(row) {
    const key = thingKey(kind.view, row.one);
    return h(
      "tr",
      { "data-row": `${kind.view}-${row.cluster}-${key}-${row.one.node ?? ""}` },
      kind.columns.map(({ name, value, shown, minor }) => {
        const text = shown ? shown(row) : value(row);
        if (name !== "name") return h("td", { class: minor && "minor", dir: "auto" }, text);
        return h(
          "th",
          { scope: "row", dir: "auto" },
          h(
            "a",
            {
              href: linkTo(kind.view, row.cluster, row.one),
              "data-key": `thing-${row.cluster}-${key}`,
              tabindex: -1,
            },
            text,
          ),
        );
      }),
    );
  }

  return (/** @type {URLSearchParams} */ next) => {
    asked = read(next);
    if (all.length) shown.show(table, true);
    else shown.load();
  };
}

const words = new Intl.Collator(undefined, { numeric: true });

/** Order two values; what is not known comes last. @param {any} a @param {any} b @param {boolean} down */
function compared(a, b, down) {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const order = typeof a === "number" && typeof b === "number" ? a - b : words.compare(a, b);
  return down ? -order : order;
}
