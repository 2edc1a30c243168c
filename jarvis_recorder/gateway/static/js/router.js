/** Views by the part of the address behind `#/`: its path names the view, its query the rest. */

import { queryOf } from "./query.js";

/** @returns {{path: string[], params: URLSearchParams}} the view's name, and of what it is */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    path: (path || "now").split("/").map(decoded),
    params: new URLSearchParams(query ?? ""),
  };
}

/** @param {string} part an address may have been typed in */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string} name may be followed by a slash and an id @param {Record<string, any>} [params] */
export function link(name, params = {}) {
  const query = queryOf(params);
  return `#/${name}${query && `?${query}`}`;
}

/** @param {string} name @param {Record<string, any>} [params] */
export function go(name, params) {
  location.hash = link(name, params);
}
