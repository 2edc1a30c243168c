/** The page says "recording" only while the recorder is heard to record. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { answers, json, module, passed, STATS, unending } from "./browser.mjs";

const live = await module("live");
const pulse = await module("pulse");

afterEach(() => {
  pulse.stop();
  live.stop();
});

async function recording() {
  answers["/api/live"] = (signal) => unending(signal, ":\n\n");
  answers["/api/health"] = json({ status: "ok" });
  answers["/api/stats"] = json(STATS);
  live.start();
  pulse.start();
  await passed(1_000);
  assert.equal(pulse.condition().name, "recording");
}

for (const status of [403, 404, 429, 500, 502, 503, 504]) {
  test(`it is away while each request is answered ${status}`, async () => {
    await recording();

    answers["/api/health"] = answers["/api/stats"] = json({ error: "refused" }, status);
    await passed(4_000);
    const { name, why } = pulse.condition();
    assert.deepEqual([name, why], ["away", "refused"]);

    answers["/api/health"] = json({ status: "ok" });
    answers["/api/stats"] = json(STATS);
    await passed(4_000);
    assert.equal(pulse.condition().name, "recording");
  });
}

test("it is away where a proxy answers in the gateway's place", async () => {
  await recording();
  answers["/api/health"] = answers["/api/stats"] = new Response("<p>Welcome!</p>");

  await passed(4_000);

  assert.equal(pulse.condition().name, "away");
});

test("a token that is not good any more leads to the login, and says nothing of the recorder", async () => {
  const { state } = await module("api");
  const said = [];
  await recording();
  state.addEventListener("login", () => pulse.stop(), { once: true });
  pulse.pulse.addEventListener("away", () => said.push("away"), { once: true });
  answers["/api/health"] = answers["/api/stats"] = json({ error: "Invalid token" }, 401);

  await passed(20_000);

  assert.deepEqual(said, []);
});
