/** Every request ends: with an answer, or with an error that says there is none. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, json, module, never, passed, unending } from "./browser.mjs";

const { get, post } = await module("api");
const { stats } = await module("stats");
const { titleOf } = await module("titles");

/** @param {Promise<any>} request */
function outcome(request) {
  const seen = { is: "waiting" };
  request.then(
    () => {
      seen.is = "answered";
    },
    (error) => {
      seen.is = error.passes ? error.message : error.name;
    },
  );
  return seen;
}

const SILENT = "The gateway does not answer.";

for (const [what, ask, seconds] of [
  ["a request", () => get("/api/incidents/get", { key: "x" }), 20],
  ["a change", () => post("/api/incidents/resolve", { key: "x" }), 20],
  ["the recorder's own numbers", () => stats(), 6],
  ["a title", () => titleOf("session"), 20],
  ["a look through the dead letters", () => get("/api/dead-letters/1"), 70],
  ["a check of a dead letter", () => post("/api/dead-letters/1/check", { body: "" }), 70],
  ["a replay of dead letters", () => post("/api/dead-letters/replay", { ids: ["1"] }), 600],
]) {
  test(`${what} ends after ${seconds} s without an answer`, async () => {
    const seen = outcome(ask());
    await passed((seconds - 1) * 1000);
    assert.equal(seen.is, "waiting");
    await passed(2_000);
    assert.equal(seen.is, SILENT);
  });
}

test("an answer that begins and does not end is none", async () => {
  answers["/api/events/1"] = (signal) => unending(signal, '{"event"');
  const seen = outcome(get("/api/events/1"));

  await passed(59_000);
  assert.equal(seen.is, "waiting");
  await passed(2_000);
  assert.equal(seen.is, SILENT);
});

test("an answer that takes its time on a slow line is one", async () => {
  const late = (/** @type {AbortSignal} */ signal) =>
    Promise.race([never(signal), new Promise((done) => setTimeout(() => done(json({})), 19_000))]);
  answers["/api/events/2"] = late;
  const seen = outcome(get("/api/events/2"));

  await passed(20_000);

  assert.equal(seen.is, "answered");
});

test("who leaves a view hears nothing of its requests", async () => {
  const left = new AbortController();
  const seen = outcome(get("/api/events/3", {}, left.signal));
  left.abort();
  await passed(0);

  assert.equal(seen.is, "AbortError");
});
