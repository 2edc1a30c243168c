/** Conversations by the first words of their user; the recorder knows them by ids only. */

import { get } from "./api.js";

const AT_ONCE = 3;
const LOOKED_THROUGH = 5;
const LONGEST = 120;

/** The first words do not change. @type {Map<string, Promise<string>>} */
const known = new Map();
/** @type {(() => void)[]} */
const waiting = [];
let running = 0;

/**
 * @param {string} session
 * @returns {Promise<string>} the first words, empty where the user said nothing at the beginning
 */
export function titleOf(session) {
  if (!known.has(session)) {
    if (known.size > 1_000) known.clear();
    known.set(session, inTurn(() => firstWords(session)));
    /** @type {Promise<string>} */ (known.get(session)).then(
      (title) => title || known.delete(session),
      () => known.delete(session),
    );
  }
  return /** @type {Promise<string>} */ (known.get(session));
}

/** Note a title that came with a list. @param {string} session @param {string|null} [title] */
export function learn(session, title) {
  if (title) known.set(session, Promise.resolve(shortened(title)));
}

/** Whether a title costs no request. @param {string} session */
export const isLearnt = (session) => known.has(session);

/** @param {string} session */
async function firstWords(session) {
  const path = `/api/conversations/${encodeURIComponent(session)}/turns`;
  return titleIn((await get(path, { limit: LOOKED_THROUGH })).turns);
}

/** @param {any[]} turns @returns {string} the title by a conversation's first turns */
export function titleIn(turns) {
  return shortened(turns.find(({ role }) => role === "user")?.content ?? "");
}

/** @param {string} text */
function shortened(text) {
  const words = text.replace(/\s+/g, " ").trim();
  const letters = Array.from(words);
  return letters.length > LONGEST ? `${letters.slice(0, LONGEST).join("")}…` : words;
}

/**
 * Few at once: the stream and what the reader asks for need connections, too.
 * @param {() => Promise<string>} work @returns {Promise<string>}
 */
function inTurn(work) {
  return new Promise((resolve, reject) => {
    waiting.push(async () => {
      running += 1;
      try {
        resolve(await work());
      } catch (error) {
        reject(error);
      } finally {
        running -= 1;
        waiting.shift()?.();
      }
    });
    if (running < AT_ONCE) /** @type {() => void} */ (waiting.shift())();
  });
}
