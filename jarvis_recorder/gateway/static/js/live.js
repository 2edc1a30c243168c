/** What goes on, as it goes on: server-sent events by fetch, which can send the token. */

import { loginNeeded, token, under } from "./api.js";

/**
 * @typedef {(type: string, listener: (event: CustomEvent) => void,
 *   options?: AddEventListenerOptions) => void} Listen
 */

/**
 * Dispatches a CustomEvent by the name of each server-sent event, and "state".
 * @type {{addEventListener: Listen} & EventTarget}
 */
export const live = /** @type {any} */ (new EventTarget());

const SILENCE = 40_000; // the gateway says something every 15 s
const LONGEST_WAIT = 15_000;
/** A browser has six connections to a host: one tab among others keeps none for long. */
const HIDDEN = 30_000;

/** @type {AbortController|null} */
let running = null;
let now = "";
/** Ends the wait for the next try. @type {() => void} */
let hurry = () => {};
/** Ends the stream that is open. @type {() => void} */
let hangUp = () => {};
let hiding = 0;

/** @param {string} state */
function say(state) {
  now = state;
  live.dispatchEvent(new CustomEvent("state", { detail: state }));
}

export function start() {
  stop();
  say("connecting");
  running = new AbortController();
  follow(running.signal);
}

export function stop() {
  running?.abort();
  running = null;
}

/** Try again at once: the network or the gateway is back. */
export const again = () => hurry();
addEventListener("online", again);

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => hangUp(), HIDDEN);
  else hurry();
});

/** @param {AbortSignal} over */
async function follow(over) {
  let wait = 500;
  while (!over.aborted) {
    try {
      if (!document.hidden)
        await read(over, () => {
          wait = 500;
        });
    } catch {
      /* said below, tried again */
    }
    if (over.aborted) return;
    // Where it is hidden it begins again when it is seen, and is told then what to fetch.
    say(document.hidden ? "connecting" : "reconnecting");
    await new Promise((done) => {
      hurry = () => done(null);
      if (!document.hidden) setTimeout(done, wait * (0.75 + Math.random() / 2));
    });
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** @param {AbortSignal} over @param {() => void} worked */
async function read(over, worked) {
  const silent = new AbortController();
  const end = () => silent.abort();
  hangUp = end;
  over.addEventListener("abort", end);
  let timer = setTimeout(end, SILENCE);
  try {
    const used = token.get();
    const answer = await fetch(under("/api/live"), {
      headers: { Authorization: `Bearer ${used}` },
      signal: silent.signal,
      // Firefox would have another tab wait 20 s for the end of this answer, to take it from its cache.
      cache: "no-store",
    });
    if (answer.status === 401 && used === token.get()) loginNeeded();
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const reader = /** @type {ReadableStream} */ (answer.body)
      .pipeThrough(new TextDecoderStream())
      .getReader();
    const parse = parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(end, SILENCE);
      if (now !== "live") {
        worked();
        say("live");
      }
      parse(value);
    }
  } finally {
    clearTimeout(timer);
    over.removeEventListener("abort", end);
    silent.abort();
  }
}

/** Return what takes pieces of a stream and dispatches its events (HTML standard, 9.2). */
function parser() {
  let rest = "";
  return (/** @type {string} */ piece) => {
    const blocks = (rest + piece).split("\n\n");
    rest = /** @type {string} */ (blocks.pop());
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) {
        live.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(data.join("\n")) }));
      }
    }
  };
}
