/** One incident: how long, who has seen it, what happened in it. */

import { get, mayChange, post } from "../api.js";
import { factList, h, panel } from "../dom.js";
import { eventRow } from "../event-row.js";
import { ago, count, severity, when } from "../format.js";
import { buttons, story, titleOf } from "../incidents.js";
import { live } from "../live.js";
import { act, keep, soon } from "../load.js";
import { link } from "../router.js";

const MOST = 100;
const HOURS = [1, 4, 24];

/**
 * @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over
 * @param {string[]} path
 */
export function incident(root, _, over, [, key]) {
  const about = panel("Incident");
  const changes = panel("What became of it");
  const events = panel("Its events");
  root.append(about, changes, events);
  const asked = soon(() => shown.refresh(), over);
  const shown = keep(
    about,
    over,
    (signal) => get("/api/incidents/get", { key, limit: MOST }, signal),
    (answer) => {
      changes.replaceChildren(...changesOf(answer));
      events.replaceChildren(...eventsOf(answer, asked));
      return aboutIt(answer, asked);
    },
    { every: 30 },
  );
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, asked, { signal: over });
}

/** @param {any} answer @param {() => void} changed */
function aboutIt({ incident: one, events }, changed) {
  const moment = events.length ? { event: events.at(-1).id } : { at: one.firstAt };
  return [
    h("p", {}, severity(one.severity), " ", titleOf(one), " ", one.flapping && "flapping"),
    h("p", { class: "muted" }, story(one)),
    factList([
      ["State", one.state],
      ["Alerts", count(one.count)],
      ["First", when(one.firstAt)],
      ["Last", [when(one.lastAt), " (", ago(one.lastAt), ")"]],
      ["Over", one.recoveredAt && when(one.recoveredAt)],
      ["Closed", one.resolvedAt && [when(one.resolvedAt), one.resolvedBy && ` by ${one.resolvedBy}`]],
      ["Seen", one.acknowledgedBy && [when(one.acknowledgedAt), ` by ${one.acknowledgedBy}`]],
      ["Note", one.note],
      ["Node", one.node],
      ["Object", one.object],
      ["Cluster", one.cluster],
      ["Newest evidence", one.evidenceAt && when(one.evidenceAt)],
      [
        "Part of",
        one.causedBy &&
          h("a", { href: link(`incidents/${encodeURIComponent(one.causedBy)}`) }, one.causedBy),
      ],
      ["Key", `${one.key}${one.guessed ? " (guessed)" : ""}`],
    ]),
    h("p", { class: "row" }, h("a", { href: link("moment", moment) }, "See the moment")),
    buttons(one, changed),
    mayChange() && note(one, changed),
    mayChange() && silence(one, changed),
  ];
}

/** @param {any} one @param {() => void} changed */
function note(one, changed) {
  if (!["open", "unknown", "acknowledged"].includes(one.state)) return null;
  const field = h("input", { name: "note", maxlength: 4096, value: one.note ?? "", "data-key": "note" });
  const button = h("button", { class: "quiet", "data-key": "note-save" }, "Seen, with this note");
  const form = h("form", { class: "row" }, h("label", {}, "Note ", field), button);
  act(
    button,
    async () => {
      await post("/api/incidents/acknowledge", { key: one.key, note: field.value });
      changed();
    },
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

/** @param {any} one @param {() => void} changed */
function silence(one, changed) {
  const condition = one.key.replace(/@[^@]*$/, "");
  return h(
    "p",
    { class: "row" },
    "Tell nobody for",
    HOURS.map((hours) =>
      act(
        h("button", { type: "button", class: "quiet", "data-key": `silence-${hours}` }, `${hours} h`),
        async () => {
          const until = new Date(Date.now() + hours * 3_600_000).toISOString();
          await post("/api/incidents/silence", { key: condition, until });
          changed();
        },
      ),
    ),
  );
}

/** @param {any} answer */
function changesOf({ transitions, truncated }) {
  return [
    h("h2", {}, "What became of it"),
    h(
      "ol",
      { class: "rail" },
      transitions.map((/** @type {any} */ one) =>
        h(
          "li",
          {},
          when(one.at),
          ` ${one.state}`,
          one.by && ` by ${one.by}`,
          one.reason && h("span", { dir: "auto" }, `: ${one.reason}`),
        ),
      ),
    ),
    truncated && h("p", { class: "muted" }, "There were more before."),
  ].filter(Boolean);
}

/** @param {any} answer @param {() => void} changed */
function eventsOf({ events, nextCursor }, changed) {
  return [
    h("h2", {}, "Its events"),
    h(
      "ol",
      { class: "events", "data-rows": "of-incident" },
      events.map((/** @type {any} */ event) => eventRow(event, changed)),
    ),
    nextCursor && h("p", { class: "muted" }, `The newest ${count(events.length)} are shown.`),
  ].filter(Boolean);
}
