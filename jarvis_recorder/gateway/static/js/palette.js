/** One field to go anywhere: views, saved views, machines, incidents, conversations, searches. */

import { get } from "./api.js";
import { guestsOf, linkTo, machines, storagesOf } from "./cluster.js";
import { clusterNames, latestSnapshot, nameOf } from "./clusters.js";
import { h } from "./dom.js";
import { aboutOf, activeIncidents, incidentLink, stateWords } from "./incidents.js";
import { link } from "./router.js";
import { savedViews } from "./saved.js";
import { isLearnt, learn, titleOf } from "./titles.js";

const MOST = 12;
const SESSIONS = 100;
const INCIDENTS = 100;

/** @typedef {{kind: string, title: string, href: string}} Target */

/** @param {[string, string][]} views names and titles */
export function openPalette(views) {
  if (document.querySelector("dialog.palette")) return;
  const over = new AbortController();
  /** @type {Target[]} */
  let all = views.map(([name, title]) => ({ kind: "View", title, href: link(name) }));
  /** @type {Target[]} */
  let found = [];
  let chosen = 0;
  /** Whether the reader is about to take one of those that are found. */
  let aimed = false;
  const field = h("input", {
    type: "text",
    role: "combobox",
    dir: "auto",
    "aria-label": "Search or go to",
    "aria-expanded": "true",
    "aria-controls": "targets",
    "aria-autocomplete": "list",
    autocomplete: "off",
    placeholder: "Search or go to …",
    oninput: () => {
      chosen = 0;
      aimed = false;
      show();
    },
    onkeydown: keys,
  });
  const aim = () => {
    aimed = true;
  };
  const list = h("ul", {
    id: "targets",
    role: "listbox",
    "aria-label": "Places",
    onpointermove: aim,
    onpointerdown: aim,
  });
  const dialog = h(
    "dialog",
    {
      class: "palette",
      "aria-label": "Search or go to",
      onclose: () => {
        over.abort();
        dialog.remove();
      },
      onclick: (/** @type {Event} */ { target }) => target === dialog && dialog.close(),
    },
    field,
    list,
  );
  document.body.append(dialog);
  dialog.showModal();
  show();
  for (const source of [saved, things, incidents, conversations]) {
    source(over.signal).then(
      (more) => {
        if (over.signal.aborted) return;
        all = [...all, ...more];
        if (aimed) append();
        else show();
      },
      () => {}, // what cannot be asked for now is not offered
    );
  }

  function show() {
    const words = field.value.trim();
    found = [...matching(all, words), ...(words ? searches(words) : [])];
    list.replaceChildren(...found.map(option));
    point();
  }

  /** Add what came late below the others, which stay where they are. */
  function append() {
    const late = matching(all, field.value.trim()).filter((one) => !found.includes(one));
    list.append(...late.map((one, index) => option(one, found.length + index)));
    found = [...found, ...late];
  }

  /** @param {Target} one @param {number} index */
  function option({ kind, title }, index) {
    return h(
      "li",
      {
        id: `target-${index}`,
        role: "option",
        "aria-selected": String(index === chosen),
        onclick: () => take(index),
      },
      h("span", { class: "muted" }, kind),
      " ",
      h("bdi", {}, title),
    );
  }

  function point() {
    for (const [index, one] of [...list.children].entries())
      one.setAttribute("aria-selected", String(index === chosen));
    field.setAttribute("aria-activedescendant", found.length ? `target-${chosen}` : "");
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
  }

  /** @param {any} event */
  function keys(event) {
    // These keys are the input method's then.
    if (event.isComposing) return;
    if (event.key === "Enter") take(chosen);
    else if (event.key === "ArrowDown") chosen = Math.min(chosen + 1, found.length - 1);
    else if (event.key === "ArrowUp") chosen = Math.max(chosen - 1, 0);
    else return;
    event.preventDefault();
    aim();
    point();
  }

  /** @param {number} index */
  function take(index) {
    const target = found[index];
    if (!target) return;
    dialog.close();
    location.hash = target.href;
  }
}

/**
 * Those that have all words, and first those that begin with them.
 * @param {Target[]} all @param {string} words
 */
function matching(all, words) {
  const wanted = words.toLowerCase().split(/\s+/);
  return all
    .map((one) => ({ one, text: `${one.title} ${one.kind}`.toLowerCase() }))
    .filter(({ text }) => wanted.every((word) => text.includes(word)))
    .sort((a, b) => Number(b.text.startsWith(wanted[0])) - Number(a.text.startsWith(wanted[0])))
    .slice(0, MOST)
    .map(({ one }) => one);
}

/** @param {string} words @returns {Target[]} */
const searches = (words) => [
  { kind: "Events with", title: words, href: link("events", { text: words, range: "168" }) },
  { kind: "Said", title: words, href: link("conversations", { q: words }) },
];

/** @param {AbortSignal} signal @returns {Promise<Target[]>} */
async function saved(signal) {
  return (await savedViews(signal)).map(({ name, hash }) => ({
    kind: "Saved view",
    title: name,
    href: hash,
  }));
}

/** @param {AbortSignal} signal @returns {Promise<Target[]>} */
async function things(signal) {
  const found = await Promise.allSettled(
    (await clusterNames()).map(async (cluster) => {
      const snapshot = await latestSnapshot(cluster, signal);
      const of = nameOf(cluster);
      /** @type {[string, string, any[]][]} */
      const lists = [
        ["Node", "nodes", machines(snapshot).nodes],
        ["Guest", "guests", guestsOf(snapshot)],
        ["Storage", "storages", storagesOf(snapshot)],
      ];
      return lists.flatMap(([kind, view, those]) =>
        those.map(({ name, one }) => ({
          kind,
          title: `${name} · ${of}`,
          href: linkTo(view, cluster, one),
        })),
      );
    }),
  );
  return found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
}

/** @param {AbortSignal} signal @returns {Promise<Target[]>} */
async function incidents(signal) {
  const [{ active }, newest] = await Promise.all([
    activeIncidents("/api/incidents", {}, signal),
    get("/api/incidents", { limit: INCIDENTS }, signal),
  ]);
  const found = new Map([...active, ...newest.incidents].map((one) => [one.key, one]));
  return [...found.values()].map((one) => ({
    kind: "Incident",
    title: `${one.kind} ${aboutOf(one)} · ${stateWords(one)}`,
    href: incidentLink(one.key),
  }));
}

/** @param {AbortSignal} signal @returns {Promise<Target[]>} */
async function conversations(signal) {
  const { sessions } = await get("/api/conversations", { limit: SESSIONS }, signal);
  for (const { sessionId, title } of sessions) learn(sessionId, title);
  return Promise.all(
    sessions.map(async (/** @type {any} */ { sessionId }) => ({
      kind: "Conversation",
      title: (isLearnt(sessionId) && (await titleOf(sessionId))) || sessionId,
      href: link("conversations", { session: sessionId }),
    })),
  );
}
