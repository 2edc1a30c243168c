/** A region stays as new as it can be, whatever became of its latest request. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answers, json, module, never, passed } from "./browser.mjs";
import "./elements.mjs";

const { get } = await module("api");
const { live } = await module("live");
const { keep } = await module("load");

/** @type {AbortController} */
let over;

afterEach(() => over.abort());

/** Keep a region; what it shows is its answer, and how often it asked is counted. */
function region(options) {
  over = new AbortController();
  const seen = { element: new Element(), asked: 0, shown: "" };
  keep(
    seen.element,
    over.signal,
    (signal) => {
      seen.asked += 1;
      return get("/api/region", {}, signal);
    },
    ({ answer }) => {
      seen.shown = answer;
      return null;
    },
    options,
  );
  return seen;
}

const missed = () => live.dispatchEvent(new CustomEvent("resync", { detail: {} }));

test("a request that is never answered is followed by another", async () => {
  answers["/api/region"] = json({ answer: "one" });
  const seen = region({ every: 30 });
  await passed(1_000);
  answers["/api/region"] = never;
  await passed(31_000);
  answers["/api/region"] = json({ answer: "two" });
  await passed(25_000);

  assert.equal(seen.shown, "two");
});

test("an answer that is a fault of the gateway's is followed by another request", async () => {
  answers["/api/region"] = json({ error: "failed" }, 500);
  const seen = region({ every: 30 });
  await passed(1_000);
  answers["/api/region"] = json({ answer: "two" });
  await passed(31_000);

  assert.equal(seen.shown, "two");
});

test("what may have been missed is fetched at once, and again when it is recorded", async () => {
  answers["/api/region"] = json({ answer: "one" });
  const seen = region();
  await passed(1_000);
  answers["/api/region"] = json({ answer: "two" });
  missed();
  await passed(1_000);
  assert.deepEqual([seen.shown, seen.asked], ["two", 2]);
  answers["/api/region"] = json({ answer: "three" });
  await passed(60_000);

  assert.deepEqual([seen.shown, seen.asked], ["three", 3]);
});

test("what has not come yet is not asked for twice", async () => {
  answers["/api/region"] = never;
  const seen = region();
  missed();
  await passed(15_000);

  assert.equal(seen.asked, 1);
});

test("what is not followed stays as it is", async () => {
  answers["/api/region"] = json({ answer: "one" });
  const seen = region({ follows: () => false });
  await passed(1_000);
  missed();
  await passed(60_000);

  assert.equal(seen.asked, 1);
});
