/** One event, folded: what happened; unfolded: all that is known, and what can be done. */

import { get, mayChange, post } from "./api.js";
import { factList, h } from "./dom.js";
import { ago, laidOut, severity, when } from "./format.js";
import { act } from "./load.js";
import { link } from "./router.js";

/** @param {any} event @param {(event: any) => void} changed */
function resolveButton(event, changed) {
  if (!mayChange() || event.resolved) return null;
  return act(
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        "data-key": `resolve-${event.id}`,
        "aria-label": `Resolve: ${event.summary}`,
      },
      "Resolve",
    ),
    async () => {
      changed((await post(`/api/events/${event.id}/resolve`)).event);
    },
  );
}

/** @param {any} event @param {(event: any) => void} changed */
function wholeButton(event, changed) {
  if (!event.omitted?.length) return null;
  return act(
    h("button", { type: "button", class: "quiet", "data-key": `whole-${event.id}` }, "Show details"),
    async () => {
      changed((await get(`/api/events/${event.id}`)).event);
    },
  );
}

/** @param {any} event @param {(event: any) => void} changed @param {{now?: boolean}} [options] */
export function eventRow(event, changed, { now = false } = {}) {
  const row = h(
    "details",
    { "data-key": `event-${event.id}` },
    h(
      "summary",
      { "data-key": `summary-${event.id}` },
      now ? ago(event.timestamp) : when(event.timestamp),
      severity(event.severity),
      h("span", { class: "text" }, event.summary),
      h(
        "span",
        { class: "muted" },
        [!now && event.type, event.node, event.resolved && "resolved"].filter(Boolean).join(" · "),
      ),
    ),
    factList([
      ["Number", event.id],
      ["Time", when(event.timestamp)],
      ["UTC", event.timestamp],
      ["Type", event.type],
      ["Source", event.source],
      ["Node", event.node],
      [
        "Resolved",
        event.resolved && [when(event.resolvedAt), ` by ${event.resolvedBy ?? "unknown"}`],
      ],
    ]),
    event.details && h("pre", { tabindex: "0", "aria-label": "Details" }, laidOut(event.details)),
    h(
      "p",
      { class: "row" },
      h("a", { href: link("moment", { event: event.id }) }, "See the moment"),
      wholeButton(event, changed),
      !now && resolveButton(event, changed),
    ),
  );
  return h("li", { class: `event ${event.severity}` }, row, now && resolveButton(event, changed));
}
