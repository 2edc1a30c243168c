/** One event, by its own address. */

import { get } from "../api.js";
import { isoOf } from "../clock.js";
import { h, panel } from "../dom.js";
import { eventRow } from "../event-row.js";
import { keep } from "../load.js";
import { link } from "../router.js";

const AROUND = 1_800_000;

/**
 * @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over
 * @param {string[]} path
 */
export function oneEvent(root, _, over, [, id]) {
  const region = panel("Event");
  root.append(region);
  const shown = keep(
    region,
    over,
    async (signal) => (await get(`/api/events/${encodeURIComponent(id)}`, {}, signal)).event,
    (event) => [
      h(
        "ol",
        { class: "events", "data-rows": "event" },
        eventRow(event, () => shown.refresh(), { open: true }),
      ),
      h("a", { href: link("events", around(event)) }, "The events around it"),
    ],
  );
}

/** @param {any} event */
function around({ timestamp }) {
  const at = Date.parse(timestamp);
  return { since: isoOf(at - AROUND), until: isoOf(at + AROUND) };
}
