/** Events over time and one by one; the filters are in the address. */

import { get } from "../api.js";
import { chart, legend } from "../chart.js";
import { empty, h, panel, refill } from "../dom.js";
import { eventRow } from "../event-row.js";
import { asked, bounds, filterForm, iso, read, written } from "../filters.js";
import { count } from "../format.js";
import { live } from "../live.js";
import { look } from "../look.js";
import { keep, soon } from "../load.js";
import { go } from "../router.js";

const PAGE = 50;
const MOST_FOLLOWED = 500;

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function events(root, params, over) {
  let filters = read(params);
  let rows = [];
  /** Where the next page begins, of the question that the others answered. */
  let older = null;
  let following = true;

  const form = filterForm((changed) => go("events", written({ ...filters, ...changed })));
  const place = h("div", { class: "chart", role: "img", "aria-label": "Events over time" });
  const draw = chart(place, over, (since, until) =>
    go("events", written({ ...filters, range: "", since: iso(since), until: iso(until) })),
  );
  const histogram = panel(
    "Over time",
    place,
    h(
      "div",
      { class: "row" },
      legend(),
      h("button", { type: "button", class: "quiet", onclick: () => zoom(0.5) }, "Zoom in"),
      h("button", { type: "button", class: "quiet", onclick: () => zoom(2) }, "Zoom out"),
    ),
  );
  const list = panel("Events");
  const follow = h("input", {
    type: "checkbox",
    onchange: () => {
      following = follow.checked;
      if (following) shown.load();
    },
  });
  follow.checked = true;
  list.append(h("label", { class: "inline" }, follow, " Follow what is recorded"));
  root.append(form.element, histogram, list);
  form.show(filters);

  const bars = keep(
    histogram,
    over,
    (signal) => {
      const [since, until] = bounds(filters);
      return get(
        "/api/events/histogram",
        { ...asked(filters), since, until, by: "severity" },
        signal,
      );
    },
    (answer) => h("p", { class: "muted" }, `${count(draw(answer))} events`),
    { every: 60 },
  );

  const shown = keep(
    list,
    over,
    (signal) => look(question(filters), null, signal),
    (newest) => {
      const known = new Set(rows.map(({ id }) => id));
      // Whole pages may have come between: what is not joined to the rest begins anew.
      const joined = newest.events.some(({ id }) => known.has(id));
      if (joined && rows.length <= MOST_FOLLOWED) {
        const fresh = new Map(newest.events.map((event) => [event.id, event]));
        rows = [
          ...newest.events.filter(({ id }) => !known.has(id)),
          ...rows.map((one) => fresh.get(one.id) ?? one),
        ];
      } else {
        rows = newest.events;
        older = newest.older;
      }
      return table();
    },
  );

  function table() {
    const nothing = older
      ? "None among the newest. There are older ones."
      : "No event fits these filters.";
    return [
      rows.length
        ? h(
            "ol",
            { class: "events", "aria-label": "Events, newest first" },
            rows.map((event) => eventRow(event, changed)),
          )
        : empty(nothing),
      older &&
        h(
          "button",
          { type: "button", class: "quiet", "data-key": "more", onclick: more },
          "Show older ones",
        ),
    ];
  }

  async function more({ currentTarget: button }) {
    button.disabled = true;
    const from = older;
    try {
      const found = await look(from.question, from.cursor, over);
      if (older !== from) return;
      rows = [...rows, ...found.events];
      older = found.older;
      refill(shown.content, table());
    } catch (error) {
      if (!over.aborted) button.after(h("span", { class: "failed", role: "alert" }, error.message));
      button.disabled = false;
    }
  }

  function changed(event) {
    rows = rows.map((one) => (one.id === event.id ? event : one));
    refill(shown.content, table());
  }

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
    if (following) shown.load();
  }, over);
  const redraw = soon(bars.load, over, 400, 5_000);
  for (const name of ["event", "resolved"]) {
    live.addEventListener(
      name,
      () => {
        if (filters.range && following) {
          again();
          redraw();
        }
      },
      { signal: over },
    );
  }

  return (next) => {
    filters = read(next);
    rows = [];
    older = null;
    form.show(filters);
    bars.load();
    shown.load();
  };
}

function question(filters) {
  const [since, until] = bounds(filters);
  return { ...asked(filters), since, until: filters.range ? "" : until, limit: PAGE };
}
