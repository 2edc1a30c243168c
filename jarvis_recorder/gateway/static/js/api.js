/** The REST methods; what fails is an ApiError with a sentence for people. */

const KEY = "jarvis.token";

/** Says "away" (detail: sentence), "back" and "login" (the token is gone or not good). */
export const state = new EventTarget();

let isAway = false;

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
  get: () => localStorage.getItem(KEY),
  set: (text) => localStorage.setItem(KEY, text),
  forget: () => localStorage.removeItem(KEY),
};

/** What the token says of its bearer; the gateway decides, this only hides buttons. */
function caller() {
  try {
    const part = token.get().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(part));
  } catch {
    return {};
  }
}

export function mayChange() {
  return caller().role === "operator";
}

export function loginNeeded() {
  token.forget();
  state.dispatchEvent(new Event("login"));
}

/** Say whether the recorder answers; the page shows it once, for all views. */
function heard(error) {
  if ([0, 503, 504].includes(error?.status)) {
    isAway = true;
    state.dispatchEvent(new CustomEvent("away", { detail: error.message }));
  } else if (isAway) {
    isAway = false;
    state.dispatchEvent(new Event("back"));
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{query?: object, body?: any, signal?: AbortSignal}} [options]
 */
async function call(method, path, { query = {}, body, signal } = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const search = known.length ? `?${new URLSearchParams(known)}` : "";
  const used = token.get();
  const headers = {};
  if (used) headers.Authorization = `Bearer ${used}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  let text;
  try {
    answer = await fetch(path + search, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    const failed = new ApiError(0, "The gateway does not answer.");
    heard(failed);
    throw failed;
  }
  let read = {};
  try {
    read = JSON.parse(text);
  } catch {
    /* an answer of a proxy's, perhaps */
  }
  if (answer.ok) {
    heard(null);
    return read;
  }
  const failed = new ApiError(
    answer.status,
    read.error || `The gateway answered ${answer.status}.`,
  );
  // A late answer to an old token must not end the login that came after it.
  if (answer.status === 401 && used && used === token.get()) loginNeeded();
  if (answer.status !== 401) heard(failed);
  throw failed;
}

export const get = (path, query, signal) => call("GET", path, { query, signal });
export const post = (path, body) => call("POST", path, { body });
export const put = (path, body) => call("PUT", path, { body });
export const remove = (path) => call("DELETE", path);
