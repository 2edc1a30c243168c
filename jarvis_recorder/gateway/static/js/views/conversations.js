/** What was said, with which tools, and what it cost. */

import { get } from "../api.js";
import { empty, h, panel } from "../dom.js";
import { count, laidOut, when } from "../format.js";
import { live } from "../live.js";
import { act, keep, soon } from "../load.js";
import { paged } from "../paged.js";
import { go, link } from "../router.js";

const DAYS = 30;

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function conversations(root, params, over) {
  let session = params.get("session") ?? "";
  let words = params.get("q") ?? "";
  const field = h("input", { type: "search", value: words });
  const search = h(
    "form",
    {
      class: "filters panel",
      role: "search",
      onsubmit: (event) => {
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
        ? h("ol", { class: "plain" }, all.map(sessionLine))
        : empty("No conversation has been recorded."),
  );
  let shown = new AbortController();
  let right = open();
  keep(usage, over, spent, usageTable, { every: 120 });
  live.addEventListener(
    "turn",
    soon(
      () => {
        sessions.load();
        if (session) right.load();
      },
      over,
      400,
      2_000,
    ),
    { signal: over },
  );

  function sessionLine(one) {
    return h(
      "li",
      {},
      h(
        "a",
        {
          href: link("conversations", { session: one.sessionId }),
          "data-key": `session-${one.sessionId}`,
          "aria-current": one.sessionId === session && "true",
        },
        one.sessionId,
      ),
      h("span", { class: "muted" }, ` ${count(one.turns)} turns, `, when(one.lastAt)),
    );
  }

  function open() {
    // What was shown before must not go on trying.
    shown.abort();
    shown = new AbortController();
    const inside = AbortSignal.any([over, shown.signal]);
    said.replaceChildren();
    if (words) {
      said.append(h("h2", {}, `Found for “${words}”`));
      return keep(
        said,
        inside,
        (signal) => get("/api/conversations/search", { q: words, limit: 50 }, signal),
        foundList,
      );
    }
    if (!session) {
      said.append(h("h2", {}, "What was said"), empty("Choose a conversation, or search."));
      return { load() {} };
    }
    said.append(h("h2", {}, session));
    return paged(
      said,
      inside,
      (cursor, signal) =>
        get(
          `/api/conversations/${encodeURIComponent(session)}/turns`,
          { limit: 100, cursor },
          signal,
        ),
      "turns",
      (all) => h("ol", { class: "turns" }, all.map(turnItem)),
    );
  }

  return (next) => {
    session = next.get("session") ?? "";
    words = next.get("q") ?? "";
    field.value = words;
    right = open();
    sessions.load();
  };
}

function turnItem(turn) {
  const calls = Array.isArray(turn.toolCalls)
    ? turn.toolCalls
    : turn.toolCalls
      ? [turn.toolCalls]
      : [];
  const cost = [
    turn.model,
    turn.tokensUsed !== null && `${count(turn.tokensUsed)} tokens`,
    turn.costUsd !== null && `$${turn.costUsd}`,
  ];
  const whole =
    turn.omitted.length > 0 &&
    act(
      h("button", { type: "button", class: "quiet", "data-key": `whole-${turn.id}` }, "Show all"),
      async () => {
        item.replaceWith(turnItem((await get(`/api/turns/${turn.id}`)).turn));
      },
    );
  const item = h(
    "li",
    { class: `turn ${turn.role === "user" ? "user" : ""}` },
    h(
      "p",
      { class: "row" },
      h("strong", {}, turn.role),
      when(turn.timestamp),
      h("span", { class: "muted" }, cost.filter(Boolean).join(" · ")),
      h("a", { href: link("moment", { at: turn.timestamp }) }, "Moment"),
    ),
    h("p", { class: "said" }, turn.content),
    calls.map((tool, index) =>
      h(
        "details",
        { "data-key": `tool-${turn.id}-${index}` },
        h("summary", {}, `Tool: ${tool?.name ?? tool?.tool ?? tool?.function?.name ?? "call"}`),
        h("pre", { tabindex: "0", "aria-label": "Tool call" }, laidOut(tool)),
      ),
    ),
    whole && h("p", { class: "row" }, h("span", { class: "muted" }, "Not shown whole."), whole),
  );
  return item;
}

function foundList({ turns }) {
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
          h("a", { href: link("conversations", { session: turn.sessionId }) }, turn.sessionId),
        ),
        h("p", { class: "said" }, marked(snippet, highlights)),
      ),
    ),
  );
}

/** Places are counted in characters, not in the halves that JavaScript makes of some. */
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

async function spent(signal) {
  const since = new Date(Date.now() - DAYS * 86_400_000).toISOString();
  return get("/api/conversations/usage", { since, by: "model" }, signal);
}

function usageTable({ usage, total }) {
  if (!total.turns) return empty("Nothing was said.");
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
      usage.map((one) => line(one, one.key ?? "not said")),
      line(total, "All"),
    ),
  );
}
