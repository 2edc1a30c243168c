/** A list of events is as the newest page says, and goes on as far as it was read. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { module } from "./browser.mjs";
import "./elements.mjs";

const { joined } = await module("look");

const at = (minute) => `2026-01-20T10:${String(minute).padStart(2, "0")}:00.000000Z`;
/** An event of each minute, whose number it is. */
const events = (...minutes) => minutes.map((id) => ({ id, timestamp: at(id) }));
const page = (minutes, older = null) => ({ events: events(...minutes), older });
const further = (cursor, lookedTo = null) => ({ cursor, lookedTo });
const numbers = ({ events: of }) => of.map(({ id }) => id);

test("what the newest page has no more is gone, and what comes late stands in its place", () => {
  const shown = page([50, 40, 30, 20, 10], further("below 10"));
  const newest = page([60, 50, 45, 30], further("below 30"));

  const all = joined(shown, newest);

  assert.deepEqual(numbers(all), [60, 50, 45, 30, 20, 10]);
  assert.equal(all.older.cursor, "below 10");
});

test("where the newest page is all there is, it is all that is shown", () => {
  const newest = page([50]);

  assert.deepEqual(joined(page([50, 40, 30], further("below 30")), newest), newest);
});

test("events of one time are in the order of their numbers", () => {
  const same = (...ids) => ids.map((id) => ({ id, timestamp: at(1) }));
  const shown = { events: same(5, 4, 3, 2, 1), older: null };
  const newest = { events: same(6, 5, 3), older: further("below 3") };

  assert.deepEqual(numbers(joined(shown, newest)), [6, 5, 3, 2, 1]);
});

test("a page that goes further than what is shown says where it goes on", () => {
  const all = joined(page([50, 40, 30], further("below 30")), page([50, 40, 20], further("below 20")));

  assert.deepEqual(numbers(all), [50, 40, 20]);
  assert.equal(all.older.cursor, "below 20");
});

test("the same page again leaves the way on as it is", () => {
  const shown = page([50, 40], further("below 40"));

  assert.equal(joined(shown, page([50, 40], further("below 40"))).older, shown.older);
});

test("a list begins again where others may have come between", () => {
  assert.equal(joined(page([30, 20], null), page([60, 50, 40], further("below 40"))), null);
  assert.equal(joined(page([], null), page([60, 50, 40], further("below 40"))), null);
  assert.equal(joined(page([], null), page([], further("below 40", at(40)))), null);
});

for (const [what, minutes] of [["", [50]], [", and nothing is found", []]]) {
  test(`how far was looked stays known where newer ones come${what}`, () => {
    const shown = page(minutes, further("below 5", at(5)));
    const newest = page(minutes, further("below 20", at(20)));

    const all = joined(shown, newest);

    assert.deepEqual(numbers(all), minutes);
    assert.equal(all.older.lookedTo, at(5));
  });
}

test("what was found behind the newest that are looked through stays", () => {
  const shown = page([50, 10], further("below 5", at(5)));

  assert.deepEqual(numbers(joined(shown, page([60], further("below 20", at(20))))), [60, 10]);
  assert.deepEqual(numbers(joined(shown, page([], further("below 20", at(20))))), [10]);
});
