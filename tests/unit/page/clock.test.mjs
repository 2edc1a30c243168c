/** A device whose clock is wrong asks for the right times and shows the right ages. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answers, json, module, passed } from "./browser.mjs";
import "./elements.mjs";

const { get } = await module("api");
const { ago } = await module("format");
const { bounds, goOn } = await module("filters");
const { iso, now } = await module("clock");

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Have the gateway answer, by a clock that is so far ahead of this one, after so long. */
async function heard(ahead, after = 0) {
  const date = new Date(Date.now() + after + ahead).toUTCString();
  answers["/api/health"] = async () => {
    await new Promise((done) => setTimeout(done, after));
    const answer = json({ status: "ok" });
    answer.headers.set("Date", date);
    return answer;
  };
  const answer = get("/api/health");
  await passed(after + 100);
  await answer;
}

afterEach(() => heard(0));

for (const ahead of [20 * MINUTE, -20 * MINUTE]) {
  test(`a clock that is ${-ahead / MINUTE} min ahead of the gateway's is corrected`, async () => {
    await heard(ahead);
    const right = Date.now() + ahead;

    assert.ok(Math.abs(now() - right) < 4_000);
    assert.ok(Math.abs(Date.parse(iso(-HOUR)) - right - HOUR) < 4_000);
    const [since, until] = bounds({ range: "1", since: "", until: "" }).map(Date.parse);
    assert.ok(Math.abs(until - right) < 4_000);
    assert.ok(Math.abs(since - right + HOUR) < 4_000);
    assert.equal(goOn({ until: new Date(right + 10 * MINUTE).toISOString() }), true);
    assert.equal(goOn({ until: new Date(right - 10 * MINUTE).toISOString() }), false);
    assert.equal(ago(new Date(right - 5.5 * MINUTE).toISOString()).childNodes[0].textContent, "5 min ago");
  });
}

test("an answer that takes long says nothing of a clock that is right", async () => {
  await heard(-10_000, 15_000);
  assert.equal(now(), Date.now());
  await heard(0, 15_000);
  assert.equal(now(), Date.now());
});

test("an answer without a time leaves what is known", async () => {
  await heard(HOUR);
  const before = now() - Date.now();
  answers["/api/health"] = json({ status: "ok" });
  await get("/api/health");

  assert.equal(now() - Date.now(), before);
});
