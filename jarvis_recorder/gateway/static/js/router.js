/** Views by the part of the address behind `#/`: its path names the view, its query the rest. */

/** @returns {{name: string, id: string, params: URLSearchParams}} `id`: of one thing in the view */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id = ""] = path.split("/");
  return { name: name || "now", id, params: new URLSearchParams(query ?? "") };
}

/** @param {string} name may be followed by a slash and an id @param {Record<string, any>} [params] */
export function link(name, params = {}) {
  const known = Object.entries(params).filter(([, value]) => value !== "" && value != null);
  return `#/${name}${known.length ? `?${new URLSearchParams(known)}` : ""}`;
}

/** @param {string} name @param {Record<string, any>} [params] */
export function go(name, params) {
  location.hash = link(name, params);
}
