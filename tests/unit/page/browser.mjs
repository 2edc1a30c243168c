/** What a browser gives the page's modules, steered by a test: answers, time, whether the tab is seen. */

import { mock } from "node:test";

const STEP = 100;
const page = new EventTarget();
const kept = new Map();

globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.document = Object.assign(new EventTarget(), {
  hidden: false,
  baseURI: "http://page.test/",
});
Object.defineProperty(globalThis, "localStorage", {
  value: {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, text) => kept.set(key, text),
    removeItem: (key) => kept.delete(key),
  },
});
mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-27T12:00:00Z") });
localStorage.setItem("jarvis.token", "token");

/** Return a module of the page. */
export const module = (name) =>
  import(new URL(`../../../jarvis_recorder/gateway/static/js/${name}.js`, import.meta.url));

/** An answer of the gateway, or of a proxy before it. */
export const json = (body, status = 200) => new Response(JSON.stringify(body), { status });

/** An answer that never comes: only an abort ends the wait for it. */
export const never = (signal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

/** A body that begins and does not end. */
export const unending = (signal, text) =>
  new Response(
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        signal.addEventListener("abort", () => controller.error(signal.reason));
      },
    }),
  );

export const STATS = {
  holdings: { events: {}, conversations: {}, clusterSnapshots: {} },
  activity: { state: "recording" },
};

/** Answers by path; a function gets the signal of its request. */
export const answers = {};

globalThis.fetch = async (url, { signal }) => {
  const path = `/${url}`.split("?")[0];
  signal?.throwIfAborted();
  const answer = answers[path] ?? never;
  return typeof answer === "function" ? answer(signal) : answer.clone();
};

/** Let the time pass, and what was waiting for it do its work. @param {number} ms */
export async function passed(ms) {
  for (let gone = 0; gone <= ms; gone += STEP) {
    for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
    if (gone < ms) mock.timers.tick(STEP);
  }
}

/** Show another tab, or this one again. @param {boolean} hidden */
export function hide(hidden) {
  document.hidden = hidden;
  document.dispatchEvent(new Event("visibilitychange"));
}
