/** Pages of events that are full, though one call looks through so many and no more. */

import { get } from "./api.js";

const MOST_CALLS = 20;

/**
 * Return events that a question asks for, and where older ones begin, if there may be any.
 * @param {{limit: number}} question @param {string|null} from @param {AbortSignal} signal
 */
export async function look(question, from, signal) {
  const events = [];
  let cursor = from;
  for (let calls = 0; calls < MOST_CALLS && events.length < question.limit; calls += 1) {
    const page = await get("/api/memory/events", { ...question, cursor }, signal);
    events.push(...page.events);
    cursor = page.nextCursor;
    if (!cursor) break;
  }
  return { events, older: cursor && { question, cursor } };
}
