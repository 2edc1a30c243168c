/** Pages of events that are full, though one call looks through so many and no more. */

import { get } from "./api.js";

const MOST_CALLS = 20;

/**
 * Return events that a question asks for, newest first, and where older ones begin, if there may
 * be any: then `lookedTo` is the time of the last one looked at, where not all looked at fit.
 * @param {{limit: number, [filter: string]: any}} question
 * @param {any} from where the page before ended @param {AbortSignal} signal
 */
export async function look(question, from, signal) {
  /** @type {any[]} */
  const events = [];
  let cursor = from?.cursor;
  for (let calls = 0; calls < MOST_CALLS; calls += 1) {
    const limit = question.limit - events.length;
    const page = await get("/api/memory/events", { ...question, limit, cursor }, signal);
    events.push(...page.events);
    cursor = page.nextCursor;
    if (!cursor) return { events, older: null };
    if (events.length >= question.limit || calls === MOST_CALLS - 1)
      return { events, older: { question, cursor, lookedTo: page.lookedTo } };
  }
  return { events, older: null };
}
