/** Views by the part of the address behind `#/`: its path names the view, its query the rest. */

/** @returns {{name: string, params: URLSearchParams}} */
export function place() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: name || "now", params: new URLSearchParams(query ?? "") };
}

/** @param {string} name @param {Record<string, any>} [params] */
export function link(name, params = {}) {
  const known = Object.entries(params).filter(([, value]) => value !== "" && value != null);
  return `#/${name}${known.length ? `?${new URLSearchParams(known)}` : ""}`;
}

export function go(name, params) {
  location.hash = link(name, params);
}
