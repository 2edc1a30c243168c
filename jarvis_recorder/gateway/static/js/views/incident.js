/** One incident: how long, who has seen it, what was measured and what happened in it. */

import { get, mayChange, post } from "../api.js";
import { iso, isoOf, now } from "../clock.js";
import { clusterNames, ownOf, pathOf } from "../clusters.js";
import { factList, h, panel } from "../dom.js";
import { eventRow } from "../event-row.js";
import { ago, count, severity, when } from "../format.js";
import { buttons, incidentLink, isOver, story, titleOf } from "../incidents.js";
import { live } from "../live.js";
import { act, keep, soon } from "../load.js";
import { link } from "../router.js";
import { MEASURES, measured } from "../series.js";
import { conditionOf, isOf, silenceRows, silencesNow } from "../silences.js";
import { undoable } from "../undo.js";

const MOST = 100;
const HOURS = [1, 4, 24];
const POINTS = 96;
/** So long before and after it is shown what was measured. */
const AROUND = 3 * 3_600_000;

/**
 * @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over
 * @param {string[]} path
 */
export function incident(root, _, over, [, key]) {
  const about = panel("Incident");
  const silencing = h("div", { hidden: true });
  const silences = h("div", { hidden: true });
  const charts = h("section", { class: "panel", hidden: true });
  const history = h("section", { "aria-label": "Its history", hidden: true });
  const place = h("div", { class: "series" });
  const draw = measured(place, over);
  root.append(about, charts, history);
  /** @type {Promise<any>|null} */
  let asking = null;
  // All regions show the same answer.
  const answer = () => {
    asking ??= get("/api/incidents/get", { key, limit: MOST }, over).finally(() => {
      asking = null;
    });
    return asking;
  };
  const changed = soon(() => {
    for (const one of regions) one.refresh();
  }, over);
  const note = noteForm(key, changed);
  const shown = keep(
    about,
    over,
    answer,
    (found) => {
      note.show(found.incident);
      silencing.hidden = history.hidden = false;
      return aboutIt(found, changed);
    },
    { every: 30 },
  );
  about.append(note.form, silencing, silences);
  // Not with the silences, which come later: it would move what is read by then.
  const silent = keep(
    silencing,
    over,
    answer,
    (found) => mayChange() && silenceButtons(found.incident, changed),
    { every: 30 },
  );
  const silenced = keep(
    silences,
    over,
    async (signal) => {
      const [{ incident: one }, all] = await Promise.all([answer(), silencesNow(signal)]);
      return all.filter(isOf(one));
    },
    (found) => {
      silences.hidden = found.length === 0;
      return silenceRows(found, changed);
    },
    { every: 30 },
  );
  const happened = keep(history, over, answer, (found) => historyOf(found, changed), { every: 30 });
  const regions = [shown, silent, silenced, happened];
  keep(
    charts,
    over,
    async (signal) => measuresOf(await answer(), signal),
    (found) => {
      charts.hidden = !found;
      if (!found) return null;
      queueMicrotask(() => draw(found, [found.measure]));
      draw.mark(found.events);
      const href = link([found.view, found.cluster, found.name].map(encodeURIComponent).join("/"));
      return [
        h("h2", {}, `${MEASURES[found.measure][0]} of ${found.kind} `, h("bdi", {}, found.name)),
        place,
        h("a", { href, "data-key": "measures" }, "All that was measured of it"),
      ];
    },
    { every: 120 },
  );
  // Another alert of what is open changes no state, so that only the event itself tells of it.
  live.addEventListener("event", ({ detail }) => detail.type === "alert" && changed(), {
    signal: over,
  });
  for (const name of ["incident", "resolved", "reopened"])
    live.addEventListener(name, changed, { signal: over });
}

/** @param {any} answer @param {() => void} changed */
function aboutIt({ incident: one, events }, changed) {
  const moment = events.length ? { event: events.at(-1).id } : { at: one.firstAt };
  return h(
    "div",
    { "data-row": "about" },
    h("p", {}, severity(one.severity), " ", titleOf(one), " ", one.flapping && "flapping"),
    h("p", { class: "muted" }, story(one)),
    // What may come later has its line already, so that it moves nothing.
    factList([
      ["State", one.state],
      ["Alerts", count(one.count)],
      ["First", when(one.firstAt)],
      ["Last", [when(one.lastAt), " (", ago(one.lastAt), ")"]],
      ["Over", when(one.recoveredAt)],
      ["Closed", [when(one.resolvedAt), one.resolvedBy && ` by ${one.resolvedBy}`]],
      ["Seen", [when(one.acknowledgedAt), one.acknowledgedBy && ` by ${one.acknowledgedBy}`]],
      ["Note", one.note || "–"],
      ["Node", one.node],
      ["Object", one.object],
      ["Cluster", one.cluster],
      ["Newest evidence", one.evidenceAt && when(one.evidenceAt)],
      ["Part of", one.causedBy && h("a", { href: incidentLink(one.causedBy) }, one.causedBy)],
      ["Key", `${one.key}${one.guessed ? " (guessed)" : ""}`],
    ]),
    h("p", { class: "row" }, h("a", { href: link("moment", moment) }, "See the moment")),
    buttons(one, changed),
  );
}

/**
 * A form that stays, and what is typed in it, whatever comes meanwhile.
 * @param {string} key @param {() => void} changed
 */
function noteForm(key, changed) {
  const field = h("input", { name: "note", maxlength: 4096 });
  let known = "";
  const button = act(h("button", { class: "quiet" }, "Seen, with this note"), async () => {
    const note = field.value;
    await post("/api/incidents/acknowledge", { key, note });
    // Not before: what could not be saved has to stay.
    known = note;
    changed();
  });
  const form = h(
    "form",
    {
      class: "row",
      hidden: true,
      onsubmit: (/** @type {Event} */ event) => event.preventDefault(),
    },
    h("label", {}, "Note ", field),
    button,
  );
  return {
    form,
    /** @param {any} one */
    show(one) {
      form.hidden = !mayChange();
      button.disabled = isOver(one);
      if (field.value === known && document.activeElement !== field)
        known = field.value = one.note ?? "";
    },
  };
}

/** @param {any} one @param {() => void} changed */
function silenceButtons(one, changed) {
  const condition = conditionOf(one.key);
  return h(
    "p",
    { class: "row" },
    HOURS.map((hours) =>
      undoable({
        key: `silence-${hours}-${condition}`,
        verb: `Silence for ${hours} h`,
        past: "it is silent",
        what: condition,
        work: async (options) => {
          const until = iso(-hours * 3_600_000);
          await post("/api/incidents/silence", { key: condition, until }, options);
          changed();
        },
      }),
    ),
  );
}

/** @param {any} answer @param {() => void} changed */
function historyOf({ transitions, truncated, events, nextCursor }, changed) {
  return [
    h(
      "section",
      { class: "panel", "data-rows": "became" },
      h("h2", {}, "What became of it"),
      h(
        "ol",
        { class: "rail", "data-rows": "changes" },
        transitions.map((/** @type {any} */ one) =>
          h(
            "li",
            { "data-row": `change-${one.at}-${one.state}` },
            when(one.at),
            ` ${one.state}`,
            one.by && ` by ${one.by}`,
            one.reason && h("span", { dir: "auto" }, `: ${one.reason}`),
          ),
        ),
      ),
      truncated && h("p", { class: "muted" }, "There were more before."),
    ),
    h(
      "section",
      { class: "panel", "data-rows": "its-events" },
      h("h2", {}, "Its events"),
      h(
        "ol",
        { class: "events", "data-rows": "of-incident" },
        events.map((/** @type {any} */ event) => eventRow(event, changed)),
      ),
      nextCursor && h("p", { class: "muted" }, `The newest ${count(events.length)} are shown.`),
    ),
  ];
}

/** The measure that an object may be the name of. */
const NAMED = new Map([
  ["cpu", "cpu"],
  ["mem", "mem"],
  ["memory", "mem"],
  ["disk", "disk"],
]);

/** Where it may be measured what an incident is about, the likeliest first. @param {any} incident */
function placesOf({ node, object }) {
  const named = NAMED.get(object?.toLowerCase()) ?? "cpu";
  const storage = { view: "storages", kind: "storage", measure: "used" };
  return [
    /^\d+$/.test(object) && { view: "guests", kind: "guest", measure: "cpu", name: object },
    object && node && { ...storage, name: `${node}/${object}` },
    object && { ...storage, name: object },
    node && { view: "nodes", kind: "node", measure: named, name: node },
  ].filter(Boolean);
}

/** @param {any} answer @param {AbortSignal} signal @returns {Promise<any|null>} null where nothing was */
async function measuresOf({ incident: one, events }, signal) {
  const cluster = ownOf(one.cluster, await clusterNames());
  const path = pathOf("/api/snapshots/series", cluster);
  const first = Date.parse(one.firstAt);
  const end = Date.parse(one.recoveredAt ?? one.resolvedAt ?? iso());
  const times = {
    since: isoOf(first - AROUND),
    until: isoOf(Math.max(first, end, Math.min(now(), end + AROUND))),
  };
  const all = await Promise.all(
    placesOf(one).map(async ({ view, kind, name, measure }) => {
      const measures = kind === "storage" ? [measure] : [measure, "online"];
      const found = await get(path, { kind, name, measures, points: POINTS, ...times }, signal);
      return { ...found, ...times, view, kind, name, measure, cluster, events };
    }),
  );
  return all.find(({ points }) => points.length) ?? null;
}
