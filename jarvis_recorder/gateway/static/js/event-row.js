/** One event, folded: what happened; unfolded: all that is known, and what can be done. */

import { get, mayChange, post } from "./api.js";
import { factList, h } from "./dom.js";
import { ago, laidOut, severity, when } from "./format.js";
import { act } from "./load.js";
import { link } from "./router.js";
import { undoable } from "./undo.js";

const MOST_WHOLE = 20;
/** What was left out of an event and is shown by now. @type {Map<string, object>} */
const whole = new Map();

/** A restored database may give the number of an event to another. @param {any} event */
const keyOf = ({ id, timestamp }) => `${id} ${timestamp}`;

/** Return an event with what is known of it, though an answer leaves that out. @param {any} event */
const asKnown = (event) =>
  event.omitted?.length && whole.has(keyOf(event))
    ? { ...event, ...whole.get(keyOf(event)), omitted: [] }
    : event;

/**
 * A button to resolve an event that is open, or to reopen one that is not.
 * @param {any} event @param {(event: any) => void} changed
 */
function resolution(event, changed) {
  if (!mayChange()) return null;
  const [name, verb, past] = event.resolved
    ? ["reopen", "Reopen", "reopened"]
    : ["resolve", "Resolve", "resolved"];
  return undoable({
    key: `${name}-${event.id}`,
    verb,
    past,
    what: event.summary,
    work: async (options) =>
      changed((await post(`/api/events/${event.id}/${name}`, undefined, options)).event),
  });
}

/** @param {any} event @param {(event: any) => void} changed */
function wholeButton(event, changed) {
  if (!event.omitted?.length) return null;
  return act(
    h("button", { type: "button", class: "quiet", "data-key": `whole-${event.id}` }, "Show details"),
    async () => {
      const found = (await get(`/api/events/${event.id}`)).event;
      // Each may take megabytes.
      if (whole.size >= MOST_WHOLE) whole.clear();
      whole.set(
        keyOf(event),
        Object.fromEntries(event.omitted.map((/** @type {string} */ name) => [name, found[name]])),
      );
      changed(found);
    },
  );
}

/**
 * @param {any} given @param {(event: any) => void} changed
 * @param {{now?: boolean, open?: boolean, refine?: (name: string, value: string) => any}} [options]
 *   `now`: for those who look at what is wrong; `refine`: what leads to more or fewer like it
 */
export function eventRow(given, changed, { now = false, open = false, refine } = {}) {
  const event = asKnown(given);
  /** @param {string} name */
  const fact = (name) => event[name] && [event[name], refine?.(name, event[name])];
  const row = h(
    "details",
    { "data-key": `event-${event.id}`, open },
    h(
      "summary",
      { "data-key": `summary-${event.id}` },
      now ? ago(event.timestamp) : when(event.timestamp),
      severity(event.severity),
      h("span", { class: "text", dir: "auto" }, event.summary),
      h(
        "span",
        { class: "muted", dir: "auto" },
        [!now && event.type, event.cluster, event.node, event.resolved && "resolved"]
          .filter(Boolean)
          .join(" · "),
      ),
    ),
    factList([
      ["Number", event.id],
      ["Time", when(event.timestamp)],
      ["UTC", event.timestamp],
      ["Type", fact("type")],
      ["Severity", refine && fact("severity")],
      ["Source", fact("source")],
      ["Cluster", fact("cluster")],
      ["Node", fact("node")],
      [
        "Resolved",
        event.resolved && [when(event.resolvedAt), ` by ${event.resolvedBy ?? "unknown"}`],
      ],
    ]),
    event.details &&
      h("pre", { tabindex: "0", dir: "auto", "aria-label": "Details" }, laidOut(event.details)),
    h(
      "p",
      { class: "row" },
      h("a", { href: link("moment", { event: event.id }) }, "See the moment"),
      h("a", { href: link(`events/${event.id}`) }, "Link to it"),
      wholeButton(event, changed),
      !now && resolution(event, changed),
    ),
  );
  return h(
    "li",
    { class: `event ${event.severity}`, "data-row": `event-${event.id}` },
    row,
    now && resolution(event, changed),
  );
}
