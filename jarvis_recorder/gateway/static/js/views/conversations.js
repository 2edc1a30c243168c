/** What was said, with which tools, and what it cost. */

import { get } from "../api.js";
import { iso } from "../clock.js";
import { announce, empty, h, panel, text } from "../dom.js";
import { count, when } from "../format.js";
import { live } from "../live.js";
import { keep, soon } from "../load.js";
import { paged } from "../paged.js";
import { go, link } from "../router.js";
import { learn, titleOf } from "../titles.js";
import { transcript } from "../transcript.js";

const DAYS = 30;

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function conversations(root, params, over) {
  let session = params.get("session") ?? "";
  let words = params.get("q") ?? "";
  let turn = params.get("turn") ?? "";
  const field = h("input", { type: "search", dir: "auto", value: words });
  const search = h(
    "form",
    {
      class: "filters panel",
      role: "search",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        go("conversations", { q: field.value.trim() });
      },
    },
    h("label", {}, "Search what was said", field),
    h("button", {}, "Search"),
  );
  const list = panel("Conversations");
  const said = h("section", { class: "panel", "aria-label": "What was said" });
  const usage = panel(`Tokens and cost, ${DAYS} days`);
  root.append(search, h("div", { class: "talk" }, h("div", {}, list, usage), said));

  const sessions = paged(
    list,
    over,
    (cursor, signal) => get("/api/conversations", { limit: 30, cursor }, signal),
    "sessions",
    (all) =>
      all.length
        ? h("ol", { class: "plain", "data-rows": "sessions" }, all.map(sessionLine))
        : empty("No conversation has been recorded."),
  );
  let shown = new AbortController();
  let right = open();
  keep(usage, over, spent, usageTable, { every: 120 });
  const listed = soon(sessions.refresh, over, 400, 2_000);
  const goesOn = soon(() => right.refresh(), over, 400, 2_000);
  live.addEventListener(
    "turn",
    ({ detail }) => {
      listed();
      if (detail.sessionId === session) goesOn();
    },
    { signal: over },
  );

  /** @param {any} one */
  function sessionLine(one) {
    learn(one.sessionId, one.title);
    const anchor = h(
      "a",
      {
        class: "title",
        dir: "auto",
        href: link("conversations", { session: one.sessionId }),
        "data-key": `session-${one.sessionId}`,
        "aria-current": one.sessionId === session && "true",
      },
      one.sessionId,
    );
    entitle(anchor, one.sessionId);
    return h(
      "li",
      { "data-row": `session-${one.sessionId}` },
      anchor,
      h("span", { class: "muted" }, `${count(one.turns)} turns, `, when(one.lastAt)),
    );
  }

  function open() {
    // What was shown before must not go on trying.
    shown.abort();
    shown = new AbortController();
    const inside = AbortSignal.any([over, shown.signal]);
    said.replaceChildren();
    if (words) {
      said.append(h("h2", {}, "Found for “", h("bdi", {}, words), "”"));
      const question = { q: words, limit: 50 };
      return paged(
        said,
        inside,
        (cursor, signal) => get("/api/conversations/search", { ...question, cursor }, signal),
        "turns",
        foundList,
      );
    }
    if (!session) {
      said.append(h("h2", {}, "What was said"), empty("Choose a conversation, or search."));
      return { refresh() {} };
    }
    const title = h("h2", { dir: "auto" }, "What was said");
    entitle(title, session);
    said.append(h("div", { class: "heading" }, title, copyButton(session)));
    return transcript(said, inside, session, turn);
  }

  return (/** @type {URLSearchParams} */ next) => {
    session = next.get("session") ?? "";
    words = next.get("q") ?? "";
    turn = next.get("turn") ?? "";
    field.value = words;
    right = open();
    sessions.load();
  };
}

/**
 * Show a conversation's title in an element, as soon as it is known.
 * @param {HTMLElement} element @param {string} session
 */
function entitle(element, session) {
  titleOf(session).then(
    (title) => {
      if (title) element.replaceChildren(...text(title));
    },
    () => {}, // without it what is there stays
  );
}

/**
 * The id is for other programs; where the browser does not copy it is shown.
 * @param {string} session
 */
function copyButton(session) {
  const button = h("button", { type: "button", class: "quiet" }, "Copy id");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(session);
      announce("Copied");
    } catch {
      button.replaceWith(h("code", {}, session));
    }
  });
  return button;
}

/** @param {any[]} turns */
function foundList(turns) {
  if (!turns.length) return empty("Nothing was said with all of these words.");
  return h(
    "ol",
    { class: "turns" },
    turns.map(({ turn, snippet, highlights }) =>
      h(
        "li",
        { class: "turn" },
        h(
          "p",
          { class: "row" },
          h("strong", {}, turn.role),
          when(turn.timestamp),
          hitLink(turn),
        ),
        h("p", { class: "said", dir: "auto" }, marked(snippet, highlights)),
      ),
    ),
  );
}

/** @param {any} turn */
function hitLink(turn) {
  const to = link("conversations", { session: turn.sessionId, turn: turn.id });
  const anchor = h("a", { class: "title", dir: "auto", href: to }, turn.sessionId);
  entitle(anchor, turn.sessionId);
  return anchor;
}

/**
 * Places are counted in characters, not in the halves that JavaScript makes of some.
 * @param {string} snippet @param {[number, number][]} highlights
 */
function marked(snippet, highlights) {
  const characters = Array.from(snippet);
  const parts = [];
  let done = 0;
  for (const [from, to] of highlights) {
    parts.push(
      characters.slice(done, from).join(""),
      h("mark", {}, characters.slice(from, to).join("")),
    );
    done = to;
  }
  return [...parts, characters.slice(done).join("")];
}

/** @param {AbortSignal} signal */
async function spent(signal) {
  const since = iso(DAYS * 86_400_000);
  return get("/api/conversations/usage", { since, by: "model" }, signal);
}

/** @param {any} report */
function usageTable({ usage, total }) {
  if (!total.turns) return empty("Nothing was said.");
  /** @param {any} one @param {string} name */
  const line = (one, name) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      h("td", {}, count(one.turns)),
      h("td", {}, count(one.tokensUsed)),
      h("td", {}, `$${one.costUsd}`),
    );
  return h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["Model", "Turns", "Tokens", "Cost"].map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h(
      "tbody",
      {},
      usage.map((/** @type {any} */ one) => line(one, one.key ?? "not said")),
      line(total, "All"),
    ),
  );
}
