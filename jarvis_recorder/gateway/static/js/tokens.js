/**
 * A line such as `sev:warning+ node:pve3 -type:metric degraded`, and the filters that it stands for.
 *
 * A token is `name:value`, or `-name:value` for what is left out. All other words are searched for,
 * with one space between two. What is in quotation marks is one word and no token; in it, and in
 * the value of a token, `\"` and `\\` are the two characters themselves. Times have no token.
 */

import { SEVERITIES, SOURCES, TYPES } from "./format.js";

/** The value of `type` that all types have. */
export const ANY_TYPE = "any";

/** @typedef {import("./filters.js").Filters} Filters */

/**
 * `filter`: where its values stand; `values`: the only ones, where there are few; `isList`: whether it
 * has several; `canExclude`: whether those with one value can be left out.
 * @type {Record<string, {filter: string, values?: string[], isList?: boolean, canExclude?: boolean}>}
 */
const TOKENS = {
  sev: { filter: "severity", values: SEVERITIES, isList: true, canExclude: true },
  node: { filter: "node", isList: true, canExclude: true },
  cluster: { filter: "cluster", canExclude: true },
  type: { filter: "type", values: [...TYPES, ANY_TYPE], canExclude: true },
  source: { filter: "source", values: SOURCES, canExclude: true },
  resolved: { filter: "resolved", values: ["yes", "no"] },
};
const ALSO = new Map([["severity", "sev"]]);
const RESOLVED = new Map([["true", "yes"], ["false", "no"]]);

/** Its group is empty where a quotation mark is not closed. */
const PART = /(?:[^\s"]|"(?:[^"\\]|\\.?)*("|$))+/gs;
const QUOTED = /"((?:[^"\\]|\\.)*)"/gs;
const TOKEN = /^(-?)([\p{L}_][\p{L}\p{N}_-]*):(.*)$/su;
const WITHOUT = /^-[\p{L}_"]/u;

/**
 * Return the filters of a line besides times. Parts that are not understood are `rest`, as they
 * were typed, and filter nothing; `problems` has a sentence for each.
 * @param {string} line
 * @returns {{filters: Filters, rest: string, problems: string[]}}
 */
export function parse(line) {
  /** @type {Filters} */
  const filters = {
    severity: [], minSeverity: "", node: [], cluster: "", type: "", source: "", resolved: "",
    exclude: [], text: "",
  };
  const words = [];
  const rest = [];
  const problems = [];
  for (const [part, end] of line.matchAll(PART)) {
    const problem = end === "" ? "the quotation mark is not closed." : take(filters, part);
    if (problem === null) words.push(plain(part));
    else if (problem) {
      rest.push(part);
      problems.push(`“${part}”: ${problem}`);
    }
  }
  return { filters: { ...filters, text: words.join(" ") }, rest: rest.join(" "), problems };
}

/**
 * Return the line of filters: `parse` gives the same filters for it.
 * @param {Filters} filters @returns {string}
 */
export function format({ severity, minSeverity, node, cluster, type, source, resolved, exclude, text }) {
  return [
    ...severity.map((/** @type {string} */ one) => written("sev", one)),
    minSeverity && written("sev", `${minSeverity}+`),
    ...node.map((/** @type {string} */ one) => written("node", one)),
    cluster && written("cluster", cluster),
    type && written("type", type),
    source && written("source", source),
    resolved && written("resolved", RESOLVED.get(resolved) ?? resolved),
    ...exclude.map(without),
    text && (isPlain(text) ? text : quoted(text)),
  ]
    .filter(Boolean)
    .join(" ");
}

/**
 * Take a part into the filters, if it is a token.
 * @param {Filters} filters @param {string} part
 * @returns {string|null} why it is not understood, empty where it is; null where it is a word
 */
function take(filters, part) {
  const [, minus, given = "", value = ""] = TOKEN.exec(part) ?? [];
  const name = ALSO.get(given.toLowerCase()) ?? given.toLowerCase();
  if (Object.hasOwn(TOKENS, name)) return (minus ? leaveOut : choose)(filters, name, plain(value));
  if (given && value)
    return `there is no token ${given}, only ${Object.keys(TOKENS).join(", ")}. In quotation marks it is searched for.`;
  return WITHOUT.test(part)
    ? "only tokens can be left out. In quotation marks it is searched for."
    : null;
}

/** @param {Filters} filters @param {string} name @param {string} value @returns {string} a problem */
function choose(filters, name, value) {
  const { filter, values, isList } = TOKENS[name];
  if (name === "sev" && value.endsWith("+"))
    return only(filters, "minSeverity", name, values, value.slice(0, -1));
  if (!isList) return only(filters, filter, name, values, value);
  const [one, problem] = known(name, values, value);
  if (!problem && !filters[filter].includes(one)) filters[filter].push(one);
  return problem;
}

/**
 * @param {Filters} filters @param {string} filter that has one value @param {string} name
 * @param {string[]|undefined} values @param {string} value
 */
function only(filters, filter, name, values, value) {
  const [one, problem] = known(name, values, value);
  if (problem) return problem;
  const kept = filter === "resolved" ? String(one === "yes") : one;
  if (filters[filter] && filters[filter] !== kept) return `${name} has one value only.`;
  filters[filter] = kept;
  return "";
}

/** @param {Filters} filters @param {string} name @param {string} value @returns {string} a problem */
function leaveOut(filters, name, value) {
  const { filter, values, canExclude } = TOKENS[name];
  if (!canExclude) return `${name} cannot be left out.`;
  const some = values?.filter((one) => one !== ANY_TYPE);
  // Those that name no node, or no cluster, can be left out, too.
  const [one, problem] = value || values ? known(name, some, value) : ["", ""];
  const kept = `${filter}:${one}`;
  if (!problem && !filters.exclude.includes(kept)) filters.exclude.push(kept);
  return problem;
}

/**
 * @param {string} name @param {string[]|undefined} values @param {string} value
 * @returns {[string, string]} the value as it is spelt, and a problem
 */
function known(name, values, value) {
  if (!values) return [value, value ? "" : `${name} needs a value.`];
  const one = value.toLowerCase();
  return [one, values.includes(one) ? "" : `${name} is one of ${values.join(", ")}.`];
}

/** @param {string} name @param {string} value */
const written = (name, value) => `${name}:${!value || /[\s"]/.test(value) ? quoted(value) : value}`;

/** @param {string} excluded as `type:metric`; what is not so stays what is not understood */
function without(excluded) {
  if (!TOKEN.test(`-${excluded}`)) return `-${quoted(excluded)}`;
  const [name] = excluded.split(":", 1);
  return `-${written(name === "severity" ? "sev" : name, excluded.slice(name.length + 1))}`;
}

/** @param {string} text */
const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** What a part means, without its quotation marks. @param {string} part */
const plain = (part) =>
  part.replace(QUOTED, (_, text) => text.replace(/\\(["\\])/g, "$1"));

/** Whether words can stand in a line as they are. @param {string} text */
function isPlain(text) {
  const { filters, rest } = parse(text);
  return !rest && filters.text === text && format({ ...filters, text: "" }) === "";
}
