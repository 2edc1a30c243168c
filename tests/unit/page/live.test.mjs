/** The stream begins again after each end, and what it missed is fetched. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answers, module, passed, unending } from "./browser.mjs";

const live = await module("live");
const { afterGaps } = await module("load");

const BEGIN = "retry: 2000\n\nevent: resync\ndata: {}\n\n";
/** @type {AbortController} */
let over;

afterEach(() => {
  over.abort();
  live.stop();
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
