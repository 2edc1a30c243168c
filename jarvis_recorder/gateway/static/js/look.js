/** Pages of events that are full, though one call looks through so many and no more. */

import { get } from "./api.js";
import { h } from "./dom.js";
import { when } from "./format.js";

const MOST_CALLS = 20;

/**
 * `older`: where older ones begin, null where there are none; its `lookedTo` is the time of the
 * last one looked at, where those that fit fill no page.
 * @typedef {{events: any[], older: any}} Looked
 */

/**
 * Return events that a question asks for, newest first.
 * @param {{limit: number, [filter: string]: any}} question
 * @param {any} from where the page before ended @param {AbortSignal} signal
 * @param {string} [path] @returns {Promise<Looked>}
 */
export async function look(question, from, signal, path = "/api/memory/events") {
  /** @type {any[]} */
  const events = [];
  let cursor = from?.cursor;
  for (let calls = 0; calls < MOST_CALLS; calls += 1) {
    const limit = question.limit - events.length;
    const page = await get(path, { ...question, limit, cursor }, signal);
    events.push(...page.events);
    cursor = page.nextCursor;
    if (!cursor) return { events, older: null };
    if (events.length >= question.limit || calls === MOST_CALLS - 1)
      return { events, older: { question, cursor, lookedTo: page.lookedTo } };
  }
  return { events, older: null };
}

/**
 * Return the events that are shown with the newest page in its place: what that has no more is
 * gone, what came late stands where it belongs. Null where between the two others may be missing.
 * @param {Looked} shown @param {Looked} newest of the same question @returns {Looked|null}
 */
export function joined(shown, newest) {
  if (!newest.older) return newest;
  const end = endOf(newest);
  const [first] = shown.events;
  const isJoined = first ? !isBehind(first, end) : shown.older && !newest.events.length;
  if (!isJoined) return null;
  const known = new Set(newest.events.map(({ id }) => id));
  const rest = shown.events.filter((one) => isBehind(one, end) && !known.has(one.id));
  const goesFurther = rest.length > 0 || (shown.older && !isBehind(end, endOf(shown)));
  return { events: [...newest.events, ...rest], older: goesFurther ? shown.older : newest.older };
}

/** The place at which a page ends that is not the last one. @param {Looked} page */
const endOf = ({ events, older }) =>
  older.lookedTo ? { timestamp: older.lookedTo, id: Infinity } : (events.at(-1) ?? BEFORE_ALL);
const BEFORE_ALL = { timestamp: "~", id: Infinity };

/** Whether an event is listed behind a place. @param {any} one @param {any} place */
const isBehind = (one, place) =>
  one.timestamp === place.timestamp ? one.id < place.id : one.timestamp < place.timestamp;

/** How far was looked, where that is not through all: the rest may hold others. @param {Looked} page */
export const lookedBack = ({ events, older }) =>
  older?.lookedTo &&
  h(
    "p",
    { class: "muted" },
    events.length ? "Looked through back to " : "None fits back to ",
    when(older.lookedTo),
    ". There may be older ones.",
  );
