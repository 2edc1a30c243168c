/** What could not be recorded, why, and another try. */

import { get, mayChange, post } from "../api.js";
import { confirmed, empty, factList, h, panel } from "../dom.js";
import { bytes, count, when } from "../format.js";
import { act, keep } from "../load.js";
import { link } from "../router.js";

const MOST = 100;

/** @param {HTMLElement} root @param {URLSearchParams} params @param {AbortSignal} over */
export function deadLetters(root, params, over) {
  let reason = params.get("reason") ?? "";
  let told = "";
  const region = panel("Not recorded");
  root.append(region);
  const shown = keep(
    region,
    over,
    (signal) => get("/api/dead-letters", { reason, limit: MOST }, signal),
    render,
  );
  // By hand, not by the clock: each look fetches all of them from the broker and gives them back.
  region.prepend(
    h(
      "div",
      { class: "heading" },
      region.querySelector("h2"),
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          onclick: () => {
            told = "";
            shown.load();
          },
        },
        "Look again",
      ),
    ),
  );

  /** @param {any} page */
  function render(page) {
    /** @type {[string, number][]} */
    const all = Object.entries(page.counts).sort(([, one], [, other]) => other - one);
    return [
      told && h("p", { role: "status" }, told),
      all.length > 0 &&
        h(
          "nav",
          { class: "chips", "aria-label": "Reasons" },
          chip("", `All ${count(page.total)}`),
          all.map(([name, many]) => chip(name, `${name} ${count(many)}`)),
        ),
      reason &&
        mayChange() &&
        page.letters.length > 0 &&
        act(
          h("button", { type: "button", "data-key": "replay-reason" }, `Replay all of ${reason}`),
          async () => {
            if (
              !(await confirmed(
                `Publish all dead letters of ${reason} again? What fails again comes back.`,
                "Replay",
              ))
            )
              return;
            await replay({ reason });
          },
        ),
      page.letters.length
        ? h("ol", { class: "plain letters", "data-rows": "letters" }, page.letters.map(line))
        : empty(reason ? "None of this reason." : "Everything could be recorded."),
      page.letters.length === MOST && h("p", { class: "muted" }, `The newest ${MOST} are shown.`),
    ];
  }

  /** @param {string} name @param {string} text */
  function chip(name, text) {
    return h(
      "a",
      {
        href: link("dead-letters", { reason: name }),
        "data-key": `reason-${name}`,
        "aria-current": name === reason && "true",
      },
      text,
    );
  }

  /** @param {{reason: string}|{ids: string[]}} what */
  async function replay(what) {
    const { replayed, left } = await post("/api/dead-letters/replay", what);
    told = `${count(replayed)} published again${left ? `, ${count(left)} could not be and stay` : ""}.`;
    shown.load();
  }

  /** @param {any} letter */
  function line(letter) {
    const body = h("div", {});
    let asked = false;
    const details = h(
      "details",
      {
        "data-key": `letter-${letter.id}`,
        ontoggle: () => {
          if (!details.open || asked) return;
          asked = true;
          keep(
            body,
            over,
            (signal) => get(`/api/dead-letters/${encodeURIComponent(letter.id)}`, {}, signal),
            whole,
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
      mayChange() &&
        h(
          "p",
          { class: "row" },
          act(h("button", { type: "button", "data-key": `replay-${letter.id}` }, "Replay"), () =>
            replay({ ids: [letter.id] }),
          ),
        ),
    );
    return h("li", { "data-row": `letter-${letter.id}` }, details);
  }

  return (/** @type {URLSearchParams} */ next) => {
    reason = next.get("reason") ?? "";
    told = "";
    shown.load();
  };
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
    !letter.bodyIsWhole && h("p", { class: "muted" }, "The body is longer; this is its beginning."),
  ];
}
