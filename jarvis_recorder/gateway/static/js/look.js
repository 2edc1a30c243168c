/** Pages of events that are full, though one call looks through so many and no more. */

import { get } from "./api.js";

const MOST_CALLS = 20;

/** @typedef {{type: string, cursor: string|null, events: any[], over: boolean}} Stream */

/**
 * Return events that a question asks for, newest first, and where older ones begin, if there may
 * be any. `types` are asked for one by one: an empty one is all of them.
 * @param {{limit: number, types: string[], [filter: string]: any}} question
 * @param {any} from @param {AbortSignal} signal
 */
export async function look({ types, ...question }, from, signal) {
  // What was given back before stays as it was, so that the same page can be tried again.
  /** @type {Stream[]} */
  const streams = (from?.streams ?? types.map(beginning)).map((/** @type {Stream} */ one) => ({
    ...one,
  }));
  /** @type {any[]} */
  const events = [];
  let calls = 0;
  while (events.length < question.limit) {
    const dry = streams.filter((one) => !one.events.length && !one.over);
    if (dry.length && calls >= MOST_CALLS) break;
    calls += dry.length;
    await Promise.all(dry.map((one) => fill(one, question, signal)));
    if (streams.some((one) => !one.events.length && !one.over)) continue;
    const next = newest(streams);
    if (!next) break;
    events.push(next.events[0]);
    next.events = next.events.slice(1);
  }
  const more = streams.some((one) => one.events.length || !one.over);
  return { events, older: more ? { question: { types, ...question }, streams } : null };
}

/** @param {string} type @returns {Stream} */
function beginning(type) {
  return { type, cursor: null, events: [], over: false };
}

/** @param {Stream} stream @param {object} question @param {AbortSignal} signal */
async function fill(stream, question, signal) {
  const { type, cursor } = stream;
  const page = await get("/api/memory/events", { ...question, type, cursor }, signal);
  stream.events = page.events;
  stream.cursor = page.nextCursor;
  stream.over = !page.nextCursor;
}

/**
 * Times have all the same length, and so compare as texts.
 * @param {Stream[]} streams @returns {Stream|null}
 */
function newest(streams) {
  const rank = (/** @type {Stream} */ { events: [{ timestamp, id }] }) => [timestamp, id];
  return streams
    .filter((one) => one.events.length)
    .reduce((/** @type {Stream|null} */ best, one) => {
      if (!best) return one;
      const [[time, id], [otherTime, otherId]] = [rank(one), rank(best)];
      return time > otherTime || (time === otherTime && id > otherId) ? one : best;
    }, null);
}
