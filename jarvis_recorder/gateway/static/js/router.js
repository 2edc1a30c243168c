/** Views by the part of the address behind `#/`: its path names the view, its query the rest. */

import { queryOf } from "./query.js";

/** @returns {{name: string, id: string, params: URLSearchParams}} `id`: of one thing in the view */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id = ""] = path.split("/");
  return { name: name || "now", id, params: new URLSearchParams(query ?? "") };
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
