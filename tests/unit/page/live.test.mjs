/** The stream begins again after each end, and what it missed is fetched. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answers, hide, json, module, passed, STATS, unending } from "./browser.mjs";

const live = await module("live");
const { afterGaps } = await module("load");
const pulse = await module("pulse");

const BEGIN = "retry: 2000\n\nevent: resync\ndata: {}\n\n";
/** @type {AbortController} */
let over;

afterEach(() => {
  over.abort();
  live.stop();
  pulse.stop();
  hide(false);
});

/** Return how often what is shown was fetched. @param {() => boolean} [applies] */
function fetched(applies = () => true) {
  const seen = { times: 0 };
  over = new AbortController();
  afterGaps(
    () => {
      seen.times += 1;
    },
    over.signal,
    applies,
  );
  return seen;
}

test("what is shown is fetched when the stream is there again, and once what was late is recorded", async () => {
  /** @type {(() => void)[]} */
  const ends = [];
  answers["/api/live"] = (signal) => {
    const end = new AbortController();
    ends.push(() => end.abort());
    return unending(AbortSignal.any([signal, end.signal]), BEGIN);
  };
  let there = false;
  const seen = fetched(() => there);
  live.start();
  await passed(10_000);
  assert.equal(seen.times, 0, "what has not come yet is asked for already");

  there = true;
  ends[0]();
  await passed(2_000);
  assert.equal(seen.times, 1);
  await passed(20_000);
  assert.equal(seen.times, 2);
});

test("what the gateway itself may have missed is fetched, too", async () => {
  /** @type {ReadableStreamDefaultController} */
  let stream;
  const sent = (text) => stream.enqueue(new TextEncoder().encode(text));
  answers["/api/live"] = () =>
    new Response(
      new ReadableStream({
        start(controller) {
          stream = controller;
        },
      }),
    );
  const seen = fetched();
  live.start();
  await passed(1_000);
  sent("event: resync\n");
  sent("data: {}\n\nevent: resync\ndata: {}\n\n");
  await passed(2_000);

  assert.equal(seen.times, 1);
});

/** A stream that says something every 15 s, as the gateway's does. @param {AbortSignal} signal */
function spoken(signal) {
  return new Response(
    new ReadableStream({
      start(stream) {
        let timer = 0;
        const say = (text) => {
          stream.enqueue(new TextEncoder().encode(text));
          timer = setTimeout(say, 15_000, ":\n\n");
        };
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          stream.error(signal.reason);
        });
        say(BEGIN);
      },
    }),
  );
}

/** Return the streams that are open, and how many there were. */
function streams() {
  const seen = { open: 0, all: 0 };
  answers["/api/live"] = (signal) => {
    seen.open += 1;
    seen.all += 1;
    signal.addEventListener("abort", () => {
      seen.open -= 1;
    });
    return spoken(signal);
  };
  return seen;
}

test("a tab that is hidden for long holds no connection, and fetches what it missed when it is seen", async () => {
  const seen = streams();
  const shown = fetched();
  live.start();
  await passed(10_000);
  const before = shown.times;

  hide(true);
  await passed(29_000);
  assert.equal(seen.open, 1);
  await passed(100_000);
  assert.deepEqual(seen, { open: 0, all: 1 });

  hide(false);
  await passed(1_000);
  assert.deepEqual(seen, { open: 1, all: 2 });
  assert.equal(shown.times, before + 1);
});

test("a tab that is hidden for a moment keeps its stream", async () => {
  const seen = streams();
  fetched();
  live.start();
  await passed(1_000);

  hide(true);
  await passed(20_000);
  hide(false);
  await passed(100_000);

  assert.deepEqual(seen, { open: 1, all: 1 });
});

test("a tab that is opened behind others has no stream before it is seen", async () => {
  const seen = streams();
  fetched();
  hide(true);
  live.start();
  await passed(60_000);
  assert.equal(seen.all, 0);

  // The network and the gateway coming back change nothing of that.
  live.again();
  await passed(1_000);
  assert.equal(seen.all, 0);

  hide(false);
  await passed(1_000);
  assert.equal(seen.open, 1);
});

test("a hidden tab knows by its questions whether the recorder records, and how much is open", async () => {
  const seen = streams();
  fetched();
  answers["/api/health"] = json({ status: "ok" });
  answers["/api/stats"] = json(STATS);
  answers["/api/incidents"] = json({ incidents: [], total: 3 });
  const { watchAlerts } = await module("alerts");
  const told = [];
  watchAlerts(over.signal, (total) => told.push(total));
  live.start();
  pulse.start();
  await passed(1_000);
  hide(true);
  await passed(60_000);

  answers["/api/incidents"] = json({ incidents: [], total: 4 });
  await passed(31_000);
  assert.equal(told.at(-1), 4);
  answers["/api/health"] = answers["/api/stats"] = json({ error: "gone" }, 503);
  await passed(4_000);
  assert.equal(pulse.condition().name, "away");
  assert.equal(seen.open, 0);
});
