/** What could not be recorded, why, and another try. */

import { get, getAll, mayChange, post } from "../api.js";
import { confirmed, empty, factList, h, panel } from "../dom.js";
import { bytes, count, when } from "../format.js";
import { act, keep } from "../load.js";
import { paged } from "../paged.js";
import { link } from "../router.js";

const PAGE = 50;
const AT_ONCE = 500;

/** @typedef {{fault: string, reason: string, queue: string}} Of */

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function deadLetters(root, params, over) {
  let of = read(params);
  let told = "";
  let shown = new AbortController();
  let region = open();

  function open() {
    shown.abort();
    shown = new AbortController();
    const inside = AbortSignal.any([over, shown.signal]);
    const place = panel(of.fault ? [h("bdi", {}, of.fault)] : "Not recorded, by fault");
    root.querySelector(":scope > .panel")?.remove();
    root.append(place);
    if (!of.fault)
      return keep(place, inside, (signal) => get("/api/dead/faults", {}, signal), faults, {
        every: 30,
      });
    return paged(
      place,
      inside,
      (cursor, signal) => get("/api/dead/list", { ...of, limit: PAGE, cursor }, signal),
      "letters",
      (all) => letters(all, inside),
    );
  }

  /** @param {any} answer */
  function faults({ faults: found, waiting, indexed, complete, truncated }) {
    if (!found.length && !waiting) return empty("Everything could be recorded.");
    return [
      h(
        "p",
        { class: complete ? "muted" : "problem" },
        complete
          ? `${count(waiting)} wait to be replayed.`
          : `${count(waiting)} wait to be replayed; ${count(indexed)} of them are known here.`,
      ),
      !complete &&
        act(
          h("button", { type: "button", class: "quiet", "data-key": "look" }, "Look through the queue"),
          async () => {
            await get("/api/dead-letters", { limit: 1 });
            region.load();
          },
        ),
      h(
        "table",
        { class: "inventory", "data-rows": "faults" },
        h("caption", { class: "unseen" }, "Faults"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Fault"),
            h("th", { scope: "col" }, "Letters"),
            h("th", { scope: "col", class: "minor" }, "Queue"),
            h("th", { scope: "col", class: "minor" }, "First"),
            h("th", { scope: "col", class: "minor" }, "Last"),
          ),
        ),
        h("tbody", { "data-rows": "each" }, found.map(fault)),
      ),
      truncated && h("p", { class: "muted" }, "There are more: these have the most letters."),
    ];
  }

  /** @param {any[]} all @param {AbortSignal} inside another fault is shown */
  function letters(all, inside) {
    return [
      told && h("p", { role: "status" }, told),
      h(
        "p",
        { class: "row" },
        h("a", { href: link("dead-letters") }, "All faults"),
        mayChange() && all.length > 0 && replayAll(of, inside),
      ),
      all.length
        ? h("ol", { class: "plain letters", "data-rows": "letters" }, all.map((one) => line(one, inside)))
        : empty("None has this fault any more."),
    ];
  }

  /** @param {Of} mine the fault that is shown now, another may be by the answer @param {AbortSignal} inside */
  function replayAll(mine, inside) {
    const button = h("button", { type: "button", "data-key": "replay-fault" }, "Replay all of them");
    return act(button, async () => {
      const question = "Publish all dead letters of this fault again? What fails again comes back.";
      if (!(await confirmed(question, "Replay"))) return;
      const ids = await idsOf(mine, inside);
      const sums = { replayed: 0, left: 0 };
      for (let from = 0; from < ids.length; from += AT_ONCE) {
        const done = await post("/api/dead-letters/replay", { ids: ids.slice(from, from + AT_ONCE) });
        sums.replayed += done.replayed;
        sums.left += done.left;
      }
      tell(sums);
    });
  }

  /** @param {string[]} ids */
  const replay = async (ids) => tell(await post("/api/dead-letters/replay", { ids }));

  /** @param {{replayed: number, left: number}} sums */
  function tell({ replayed, left }) {
    told = `${count(replayed)} published again${left ? `, ${count(left)} could not be and stay` : ""}.`;
    region.load();
  }

  /** @param {any} letter @param {AbortSignal} inside */
  function line(letter, inside) {
    const body = h("div", {});
    const editing = h("div", {});
    let asked = false;
    const path = `/api/dead-letters/${encodeURIComponent(letter.id)}`;
    /** @param {any} found */
    const editButton = (found) =>
      found.bodyIsText && found.bodyIsWhole
        ? h(
            "button",
            {
              type: "button",
              class: "quiet",
              "data-key": `edit-${letter.id}`,
              onclick: () => {
                editing.replaceChildren(...editor(path, found, tell));
                editing.querySelector("textarea")?.focus();
              },
            },
            "Edit",
          )
        : "";
    const details = h(
      "details",
      {
        "data-key": `letter-${letter.id}`,
        ontoggle: () => {
          if (!details.open || asked) return;
          asked = true;
          keep(
            body,
            inside,
            (signal) => get(path, {}, signal),
            (found) => {
              if (!editing.firstChild && mayChange()) editing.append(editButton(found.letter));
              return whole(found);
            },
            // It does not change, and the look for it may take a minute.
            { once: true },
          );
        },
      },
      h(
        "summary",
        { "data-key": `letter-summary-${letter.id}` },
        when(letter.receivedAt),
        h("strong", {}, letter.reason),
        h("span", { class: "text", dir: "auto" }, letter.error),
      ),
      body,
      editing,
      mayChange() &&
        h(
          "p",
          { class: "row" },
          act(h("button", { type: "button", "data-key": `replay-${letter.id}` }, "Replay"), () =>
            replay([letter.id]),
          ),
        ),
    );
    return h("li", { "data-row": `letter-${letter.id}` }, details);
  }

  return (/** @type {URLSearchParams} */ next) => {
    of = read(next);
    told = "";
    region = open();
  };
}

/** @param {URLSearchParams} params @returns {Of} */
function read(params) {
  const [fault, reason, queue] = ["fault", "reason", "queue"].map((name) => params.get(name) ?? "");
  return { fault, reason, queue };
}

/** @param {Of} of @param {AbortSignal} signal @returns {Promise<string[]>} */
async function idsOf(of, signal) {
  const letters = await getAll("/api/dead/list", "letters", { ...of, limit: AT_ONCE }, signal);
  return letters.map(({ id }) => id);
}

/** @param {any} one */
function fault({ fault: words, reason, queue, count: number, firstAt, lastAt }) {
  return h(
    "tr",
    { "data-row": `fault-${reason}-${queue}-${words}` },
    h(
      "th",
      { scope: "row", dir: "auto" },
      h(
        "a",
        {
          href: link("dead-letters", { fault: words, reason, queue }),
          "data-key": `fault-link-${reason}-${queue}-${words}`,
        },
        words,
      ),
      h("span", { class: "muted" }, ` ${reason}`),
    ),
    h("td", {}, count(number)),
    h("td", { class: "minor" }, queue),
    h("td", { class: "minor" }, when(firstAt)),
    h("td", { class: "minor" }, when(lastAt)),
  );
}

/**
 * A field with the body; it is replayed only where the recorder would take it.
 * @param {string} path @param {any} letter
 * @param {(sums: {replayed: number, left: number}) => void} done
 */
function editor(path, letter, done) {
  const field = h("textarea", {
    "aria-label": "Body",
    "data-key": `body-${letter.id}`,
    dir: "auto",
    spellcheck: "false",
    rows: Math.min(30, letter.body.split("\n").length + 2),
    oninput: () => verdict.replaceChildren(),
  });
  field.value = letter.body;
  const verdict = h("p", { role: "status" });
  const check = act(
    h("button", { type: "button", class: "quiet", "data-key": `check-${letter.id}` }, "Check"),
    async () => {
      const { error } = await post(`${path}/check`, { body: field.value });
      verdict.className = error ? "problem" : "muted";
      verdict.replaceChildren(error ?? "It would be recorded.");
    },
  );
  const replay = act(
    h("button", { type: "button", "data-key": `replay-edited-${letter.id}` }, "Replay as edited"),
    async () => done(await post(`${path}/replay`, { body: field.value })),
  );
  return [field, verdict, h("p", { class: "row" }, check, replay)];
}

/** @param {any} answer */
function whole({ letter }) {
  return [
    factList([
      ["Routing key", letter.routingKey],
      ["Queue", letter.queue],
      ["Exchange", letter.exchange],
      ["Message", letter.messageId],
      ["Size", bytes(letter.sizeBytes)],
      ["Replayed", letter.replays && `${count(letter.replays)} times`],
    ]),
    h(
      "details",
      { "data-key": `headers-${letter.id}` },
      h("summary", {}, "Properties and headers"),
      factList([...Object.entries(letter.properties), ...Object.entries(letter.headers)]),
    ),
    // As it came: laid out, a key that occurs twice would occur once.
    h("pre", { tabindex: "0", dir: "auto", "aria-label": "Body" }, letter.body),
    !letter.bodyIsText && h("p", { class: "muted" }, "The body is no text; these are its bytes."),
    !letter.bodyIsWhole &&
      h(
        "p",
        { class: "muted" },
        letter.body ? "The body is longer; this is its beginning." : "The body is too large to be shown.",
      ),
  ];
}
