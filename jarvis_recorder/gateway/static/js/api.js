/** The REST methods; what fails is an ApiError with a sentence for people. */

import { learn } from "./clock.js";
import { queryOf } from "./query.js";

const DIRECTORY = new URL(".", document.baseURI).pathname;
/** Of this recorder: another one may be below another path of the same host. */
const KEY = DIRECTORY === "/" ? "jarvis.token" : `jarvis.token ${DIRECTORY}`;
/** The gateway waits for 5 s, a login for 10; a browser may have a request wait for a connection. */
const LONGEST = 20_000;
/** So long the gateway waits for an answer to be taken. */
const TAKEN = 60_000;

/** Says "login" (the token is gone, changed, or not good) and "doubt" (something does not answer). */
export const state = new EventTarget();

/** A path below the one where a proxy has the page. @param {string} path */
export const under = (path) => path.slice(1);

export class ApiError extends Error {
  /** @param {number} status 0 where there was no answer @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the same request may work in a moment. */
  get passes() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

export const token = {
  /** @returns {string|null} */
  get: () => localStorage.getItem(KEY),
  set: (/** @type {string} */ text) => localStorage.setItem(KEY, text),
  forget: () => localStorage.removeItem(KEY),
};

/** What the token says of its bearer; the gateway decides, this only hides buttons. */
export function caller() {
  try {
    const part = /** @type {string} */ (token.get())
      .split(".")[1]
      .replaceAll("-", "+")
      .replaceAll("_", "/");
    return JSON.parse(atob(part));
  } catch {
    return {};
  }
}

export function mayChange() {
  return caller().role === "operator";
}

// Who logs out, or in as somebody else, does so in all tabs.
addEventListener("storage", ({ key }) => {
  if (key === null || key === KEY) state.dispatchEvent(new Event("login"));
});

export function loginNeeded() {
  token.forget();
  state.dispatchEvent(new Event("login"));
}

/** The gateway looks through the dead letters for 60 s, and replays for as long as it takes. @param {string} path */
function longestOf(path) {
  if (!path.startsWith("/api/dead-letters")) return LONGEST;
  return path.endsWith("/replay") ? 600_000 : 70_000;
}

/**
 * A connection may be gone without a word: no request waits longer than for `longest` ms.
 * @param {string} method
 * @param {string} path
 * @param {{query?: object, body?: any, signal?: AbortSignal, keepalive?: boolean, longest?: number}} [options]
 * @returns {Promise<any>}
 */
async function call(
  method,
  path,
  { query = {}, body, signal, keepalive, longest = longestOf(path) } = {},
) {
  const asked = queryOf(query);
  const search = asked && `${path.includes("?") ? "&" : "?"}${asked}`;
  const used = token.get();
  /** @type {Record<string, string>} */
  const headers = {};
  if (used) headers.Authorization = `Bearer ${used}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const late = new AbortController();
  const end = () => late.abort();
  let timer = setTimeout(end, longest);
  const begun = Date.now();
  let answer;
  let text;
  try {
    answer = await fetch(under(path) + search, {
      method,
      headers,
      signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
      keepalive,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    learn(answer.headers.get("Date"), begun);
    clearTimeout(timer);
    timer = setTimeout(end, TAKEN);
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    state.dispatchEvent(new Event("doubt"));
    throw new ApiError(0, "The gateway does not answer.");
  } finally {
    clearTimeout(timer);
  }
  /** @type {any} */
  let read = null;
  try {
    read = JSON.parse(text);
  } catch {
    /* an answer of a proxy's, perhaps: its login page comes with 200 */
  }
  if (answer.ok && read) return read;
  const failed = answer.ok
    ? new ApiError(0, "What answers is not the gateway.")
    : new ApiError(answer.status, read?.error || `The gateway answered ${answer.status}.`);
  // A late answer to an old token must not end the login that came after it.
  if (answer.status === 401 && used && used === token.get()) loginNeeded();
  if (failed.passes) state.dispatchEvent(new Event("doubt"));
  throw failed;
}

/** @param {string} path @param {object} [query] @param {AbortSignal} [signal] @param {number} [longest] */
export const get = (path, query, signal, longest) => call("GET", path, { query, signal, longest });

/**
 * Return all of a list, page for page: a page ends at its limit of rows or of bytes.
 * @param {string} path @param {string} name of the list in the answer
 * @param {object} query @param {AbortSignal} [signal] @returns {Promise<any[]>}
 */
export async function getAll(path, name, query, signal) {
  const found = [];
  let cursor = null;
  do {
    /** @type {any} */
    const page = await get(path, { ...query, cursor }, signal);
    found.push(...page[name]);
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

/** @param {string} path @param {any} [body] @param {object} [options] */
export const post = (path, body, options) => call("POST", path, { body, ...options });
/** @param {string} path @param {any} body */
export const put = (path, body) => call("PUT", path, { body });
/** @param {string} path @param {object} [options] */
export const remove = (path, options) => call("DELETE", path, options);
