/** A list by pages is the same list, whether it is loaded again before, while or after more is asked for. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { module, passed } from "./browser.mjs";
import "./elements.mjs";

const { paged } = await module("paged");

/** A list of ten, two at a time; each page comes when the test lets it. */
function list() {
  const seen = { asked: [], shown: [], kept: null };
  const region = new Element();
  const fetch = (cursor) =>
    new Promise((answered) => {
      const from = Number(cursor ?? 0);
      const page = { rows: [from, from + 1], nextCursor: from < 8 ? String(from + 2) : null };
      seen.asked.push(() => answered(page));
    });
  const render = (all) => {
    seen.shown = [...all];
    return null;
  };
  seen.kept = paged(region, new AbortController().signal, fetch, "rows", render);
  seen.more = () => seen.kept.content.children.at(-1).dispatchEvent(new Event("click"));
  return seen;
}

/** Let the oldest request be answered. */
async function answer(seen) {
  seen.asked.shift()();
  await passed(100);
}

/** Let the newest request be answered. */
async function answerLast(seen) {
  seen.asked.pop()();
  await passed(100);
}

test("more is asked for while the list is loaded again, and comes first", async () => {
  const seen = list();
  await answer(seen);
  seen.kept.refresh();
  seen.more();
  await answerLast(seen);
  assert.deepEqual(seen.shown, [0, 1, 2, 3]);
  while (seen.asked.length) await answer(seen);

  assert.deepEqual(seen.shown, [0, 1, 2, 3]);
  seen.more();
  await answer(seen);
  assert.deepEqual(seen.shown, [0, 1, 2, 3, 4, 5]);
});

test("more is asked for while the list is loaded again, and comes last", async () => {
  const seen = list();
  await answer(seen);
  seen.kept.refresh();
  seen.more();
  while (seen.asked.length) await answer(seen);

  assert.deepEqual(seen.shown, [0, 1, 2, 3]);
});
