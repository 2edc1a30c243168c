/** What a reader chooses, and what is known of the recorder and cannot be changed here. */

import { caller, get, mayChange } from "../api.js";
import { empty, factList, h, panel } from "../dom.js";
import { bytes, when } from "../format.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { link } from "../router.js";
import { removeView, savedViews } from "../saved.js";
import { stats } from "../stats.js";
import { setTheme, THEMES, theme, themeNow } from "../theme.js";
import { undoable } from "../undo.js";
import { isUtc, setUtc, zone } from "../zone.js";

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function settings(root, _, over) {
  const own = panel("In this browser");
  const views = panel("Saved views");
  const recorder = panel("Recorder");
  root.append(own, views, recorder);

  const colours = choice("Colours", THEMES, (name) => (name === "system" ? "as the system" : name), setTheme);
  colours.show(themeNow());
  theme.addEventListener("change", () => colours.show(themeNow()), { signal: over });
  const times = choice("Times", ["local", "UTC"], (name) => name === "UTC" ? name : localZone(), (name) => setUtc(name === "UTC"));
  const showZone = () => times.show(isUtc() ? "UTC" : "local");
  showZone();
  zone.addEventListener("change", showZone, { signal: over });
  own.append(colours.element, times.element, factList([["Logged in", login()]]));

  const saved = keep(views, over, savedViews, (found) => [
    h(
      "p",
      { class: "muted" },
      "What the ",
      h("a", { href: link("events") }, "events"),
      " are filtered by, under a name, for every browser.",
    ),
    found.length ? rows(found, () => saved.refresh()) : empty("No view is saved."),
  ]);
  live.addEventListener("preference", soon(saved.refresh, over), { signal: over });
  keep(
    recorder,
    over,
    async (signal) => ({ ...(await stats()), gateway: await get("/api/health", {}, signal) }),
    facts,
  );
}

/**
 * One of a few, which takes effect at once.
 * @param {string} title @param {string[]} names @param {(name: string) => string} wordsOf
 * @param {(name: string) => void} choose
 */
function choice(title, names, wordsOf, choose) {
  const fields = names.map((value) =>
    h("input", { type: "radio", name: title, value, onchange: () => choose(value) }),
  );
  return {
    element: h(
      "fieldset",
      { class: "choice" },
      h("legend", {}, title),
      fields.map((field) => h("label", {}, field, wordsOf(field.value))),
    ),
    /** @param {string} name */
    show(name) {
      for (const field of fields) field.checked = field.value === name;
    },
  };
}

const localZone = () => `local (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;

function login() {
  const { exp } = caller();
  return [
    mayChange() ? "to look and to change" : "to look only",
    exp && [", until ", when(new Date(exp * 1000).toISOString())],
  ];
}

/** @param {{name: string, hash: string}[]} views @param {() => void} changed */
function rows(views, changed) {
  return h(
    "ol",
    { class: "events", "data-rows": "views" },
    views.map(({ name, hash }) =>
      h(
        "li",
        { class: "event", "data-row": `view-${name}` },
        h("a", { href: hash, "data-key": `view-${name}` }, h("bdi", {}, name)),
        mayChange() &&
          undoable({
            key: `remove-view-${name}`,
            verb: "Remove",
            past: "removed",
            what: name,
            work: async (options) => {
              await removeView(name, options);
              changed();
            },
          }),
      ),
    ),
  );
}

/** @param {any} found */
function facts({ holdings, activity, gateway }) {
  return [
    factList([
      ["Version", [activity.version, activity.instance && ` on ${activity.instance}`]],
      ["Of the gateway", gateway.version],
      ["Runs since", when(activity.startedAt)],
      [
        "Database",
        `${bytes(holdings.databaseBytes + holdings.walBytes)}, revision ${holdings.schemaVersion}`,
      ],
      ["Events since", when(holdings.events.oldest)],
      ["Turns since", when(holdings.conversations.oldest)],
      ["Snapshots since", when(holdings.clusterSnapshots.oldest)],
    ]),
    h(
      "p",
      { class: "muted" },
      "How long it keeps what, and all else, is in its own settings: ",
      h("code", {}, "jarvis-recorder config show"),
      " prints them where it runs.",
    ),
  ];
}
