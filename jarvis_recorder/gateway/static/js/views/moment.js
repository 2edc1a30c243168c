/** What the cluster was like when something happened: its state, events and talk side by side. */

import { get } from "../api.js";
import { iso, isoOf } from "../clock.js";
import { clusterView } from "../cluster.js";
import {
  clusterField,
  clusterNames,
  clusterOfNode,
  named,
  nameOf,
  snapshotAt,
  timelineAround,
} from "../clusters.js";
import { empty, h, panel } from "../dom.js";
import {
  count,
  fromInput,
  isBeingTyped,
  severity,
  span,
  timeOf,
  toInput,
  when,
} from "../format.js";
import { keep } from "../load.js";
import { go, link } from "../router.js";
import { zone } from "../zone.js";

const WINDOWS = [
  ["120", "1 minute"],
  ["600", "5 minutes"],
  ["3600", "30 minutes"],
  ["14400", "2 hours"],
];

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function moment(root, params, over) {
  let asked = read(params);
  const time = h("input", { type: "datetime-local", step: 1 });
  const around = h(
    "select",
    {},
    WINDOWS.map(([value, text]) => h("option", { value }, text)),
  );
  const node = h("input", { type: "text", dir: "auto" });
  const { field: cluster, offer } = clusterField(() => choose());
  const choose = () => {
    if (isBeingTyped(time.value)) return;
    const at = fromInput(time.value, asked.at);
    const same = toInput(asked.at) === time.value;
    go("moment", {
      event: same ? asked.event : "",
      at: same ? asked.at : at,
      window: around.value,
      node: node.value.trim(),
      cluster: cluster.value,
    });
  };
  for (const field of [time, around, node]) field.addEventListener("change", choose);
  /** @param {number} direction */
  const step = (direction) =>
    asked.at &&
    go("moment", {
      at: isoOf(Date.parse(asked.at) + direction * asked.window * 500),
      window: asked.window,
      node: asked.node,
      cluster: cluster.value,
    });
  const misplaced = h("p", { class: "problem", role: "alert", hidden: true });
  const region = h("section", { "aria-label": "The moment" });
  root.append(
    h(
      "form",
      {
        class: "filters panel",
        "aria-label": "Moment",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          choose();
        },
      },
      h("label", {}, "Time", time),
      h("label", {}, "Before and after", around),
      h("label", {}, "Node", node),
      h("label", {}, "Cluster", cluster),
      h("button", { type: "button", class: "quiet", onclick: () => step(-1) }, "Earlier"),
      h("button", { type: "button", class: "quiet", onclick: () => step(1) }, "Later"),
      misplaced,
    ),
    region,
  );

  const shown = keep(
    region,
    over,
    async (signal) => {
      const mine = asked;
      const event =
        mine.event &&
        (await get(`/api/events/${encodeURIComponent(mine.event)}`, {}, signal)).event;
      const at = mine.at || event.timestamp;
      // A snapshot of that very moment is in force.
      const names = await clusterNames();
      const name = await chosen(names, mine, event, at, signal);
      const [timeline, snapshot] = await Promise.all([
        timelineAround(
          name,
          { timestamp: at, windowSeconds: mine.window, node: mine.node },
          signal,
        ),
        name === null ? null : snapshotAt(name, at, signal),
      ]);
      if (mine === asked && !mine.at) {
        asked = { ...mine, at };
        time.value = toInput(at);
      }
      return { event, at, names, name, timeline: { ...timeline, snapshot } };
    },
    ({ event, at, names, name, timeline }) => {
      offer(names, name);
      return sides({ event, at, name, several: name && names.length > 1 }, timeline);
    },
  );

  /** With what the reader asked for; not with what comes by itself, which may come while one types. */
  function fill() {
    time.value = toInput(asked.at);
    around.value = asked.window;
    node.value = asked.node;
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

/**
 * @typedef {{event: string, at: string, window: any, node: string, cluster: string,
 *   notShown: string}} Asked `notShown`: what is said where the address asks for another time
 * @param {URLSearchParams} params
 * @returns {Asked}
 */
function read(params) {
  const event = params.get("event") ?? "";
  const at = timeOf(params.get("at"));
  const window = WINDOWS.some(([value]) => value === params.get("window"))
    ? params.get("window")
    : "600";
  return {
    event,
    at: at || (event ? "" : iso()),
    window,
    node: params.get("node") ?? "",
    cluster: params.get("cluster") ?? "",
    notShown:
      at === null
        ? `The address asks for a time that cannot be shown. This is ${event ? "the time of the event" : "now"}.`
        : "",
  };
}

/**
 * The cluster asked for, else the one that the event is of: which it names, the one without a name,
 * or its node's; else the first one by name. An event without any is in the timeline of each.
 * @param {string[]} names @param {Asked} asked @param {any} event @param {string} at
 * @param {AbortSignal} signal
 */
async function chosen(names, { cluster }, event, at, signal) {
  if (cluster) return named(names, cluster);
  if (event?.cluster) return event.cluster;
  if (event && names.includes("")) return "";
  if (names.length > 1 && event?.node) {
    const own = await clusterOfNode(event.node, names, at, signal);
    if (own !== null) return own;
  }
  return names[0] ?? null;
}

/** @param {string} timestamp @param {string} at */
function away(timestamp, at) {
  const seconds = (Date.parse(timestamp) - Date.parse(at)) / 1000;
  return h(
    "time",
    { class: "offset", datetime: timestamp, title: timestamp },
    Math.abs(seconds) < 0.5 ? "then" : `${seconds < 0 ? "−" : "+"}${span(Math.abs(seconds))}`,
  );
}

/**
 * @param {{event: any, at: string, name: string|null, several: boolean}} asked @param {any} timeline
 */
function sides({ event, at, name, several }, { snapshot, events, turns, truncated }) {
  const metrics = events.filter(
    (/** @type {any} */ one) => one.type === "metric" && one.id !== event?.id,
  );
  const others = events.filter((/** @type {any} */ one) => !metrics.includes(one));
  /** @param {any[]} some */
  const lines = (some) => h("ol", { class: "around" }, some.map(line));
  /** @param {any} one @returns {HTMLElement} */
  const line = (one) =>
    h(
      "li",
      {
        class: event && one.id === event.id ? "chosen" : "",
        "aria-current": event && one.id === event.id && "true",
      },
      away(one.timestamp, at),
      severity(one.severity),
      h(
        "a",
        { href: link("moment", { event: one.id }) },
        h("bdi", {}, one.summary),
        // Next to those of a cluster it says that it may be of another one.
        several && !one.cluster && h("span", { class: "muted" }, " · no cluster named"),
      ),
    );
  return [
    h(
      "p",
      {},
      when(at),
      event && [" – ", severity(event.severity), " ", h("bdi", {}, event.summary)],
    ),
    truncated &&
      h("p", { class: "problem" }, "There is more than is shown: choose a shorter time."),
    h(
      "div",
      { class: "sides" },
      panel(
        name === null ? "Cluster" : ["Cluster ", h("bdi", {}, nameOf(name))],
        snapshot
          ? [
              h(
                "p",
                { class: "muted" },
                "snapshot of ",
                when(snapshot.timestamp),
                " · ",
                h(
                  "a",
                  { href: link("compare", { a: at, cluster: nameOf(name) }) },
                  "What changed since",
                ),
              ),
              clusterView(snapshot),
            ]
          : empty("No snapshot was in force."),
      ),
      panel(
        "Events",
        others.length ? lines(others) : empty("No event around it."),
        metrics.length > 0 &&
          h(
            "details",
            { "data-key": "metrics" },
            h("summary", {}, `${count(metrics.length)} metrics`),
            lines(metrics),
          ),
      ),
      panel(
        "Conversation",
        turns.length
          ? h(
              "ol",
              { class: "around" },
              turns.map((/** @type {any} */ turn, /** @type {number} */ index) => [
                turn.sessionId !== turns[index - 1]?.sessionId && conversationLink(turn.sessionId),
                h(
                  "li",
                  {},
                  away(turn.timestamp, at),
                  h("strong", {}, turn.role),
                  h("p", { class: "said", dir: "auto" }, turn.content),
                  turn.omitted.includes("content") &&
                    h("p", { class: "muted" }, "The conversation shows it whole."),
                ),
              ]),
            )
          : empty("No one said anything."),
      ),
    ),
  ];
}

/** @param {string} session */
function conversationLink(session) {
  return h(
    "li",
    {},
    h("a", { class: "whole", href: link("conversations", { session }) }, "Whole conversation"),
  );
}
