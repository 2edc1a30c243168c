/** Markdown as elements: a lexer's tokens and never HTML, so that what is HTML in it stays text. */

import { h, text } from "./dom.js";
import { part } from "./parts.js";

/** What is longer is shown as it is: laying it out would keep the page busy. */
const LONGEST = 100_000;
const SAFE = /^(https?:|mailto:)/i;
/** @type {Record<string, string>} */
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };

/** Loaded where something is read first. @type {any} */
let Lexer = null;

/**
 * Return what makes elements of Markdown, and shows it as it is where its lexer does not come.
 * @returns {Promise<(source: string) => HTMLElement>}
 */
export async function reader() {
  const marked = () => import("../vendor/marked/marked.esm.js");
  Lexer ??= (await part(marked).catch(() => null))?.Lexer;
  return (source) => {
    const said = h("div", { class: "said", dir: "auto" });
    if (Lexer && source.length <= LONGEST) {
      try {
        const blocks = Lexer.lex(source, { gfm: true, breaks: true }).map(block);
        said.append(...text(blocks));
        said.classList.add("md");
        return said;
      } catch {
        /* nested too deeply to be laid out */
      }
    }
    said.append(...text(source));
    return said;
  };
}

/** @param {string} words */
const plain = (words) => words.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => ENTITIES[name]);

/** @param {any[]} tokens @returns {any[]} */
const inlines = (tokens = []) => tokens.map(inline);

/** @param {any} token @returns {any} */
function inline(token) {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return h(token.type, {}, inlines(token.tokens));
    case "codespan":
      return h("code", { dir: "ltr" }, token.text);
    case "br":
      return h("br");
    case "escape":
      return token.text;
    case "link":
      return SAFE.test(token.href) ? anchor(token) : token.raw;
    case "image":
      // A picture of somewhere else would tell it who reads this.
      return `[picture: ${token.text || token.href}]`;
    case "text":
      return token.tokens ? inlines(token.tokens) : plain(token.text);
    default:
      return token.raw;
  }
}

/** @param {any} token */
function anchor({ href, tokens }) {
  return h(
    "a",
    { href, title: href, rel: "noopener noreferrer nofollow", target: "_blank" },
    inlines(tokens),
  );
}

/** @param {any} token @returns {any} */
function block(token) {
  switch (token.type) {
    case "space":
    case "def":
    case "checkbox":
      return null;
    case "heading":
      // Below the headings of the page.
      return h(
        /** @type {"h3"} */ (`h${Math.min(token.depth + 2, 6)}`),
        { dir: "auto" },
        inlines(token.tokens),
      );
    case "paragraph":
      return h("p", { dir: "auto" }, inlines(token.tokens));
    case "text":
      return token.tokens ? inlines(token.tokens) : plain(token.text);
    case "code":
      return [
        token.lang && h("p", { class: "muted lang" }, token.lang),
        h("pre", { tabindex: "0", dir: "ltr", "aria-label": "Code" }, token.text),
      ];
    case "blockquote":
      return h("blockquote", { dir: "auto" }, token.tokens.map(block));
    case "list":
      return h(
        token.ordered ? "ol" : "ul",
        { start: token.ordered && token.start !== 1 && token.start },
        token.items.map(item),
      );
    case "table":
      return table(token);
    case "hr":
      return h("hr");
    default:
      return h("p", { dir: "auto" }, token.raw);
  }
}

/** @param {any} token */
function item({ task, checked, tokens }) {
  return h(
    "li",
    { dir: "auto", class: task && "task" },
    task && [
      h("span", { role: "img", "aria-label": checked ? "done" : "to do" }, checked ? "☑" : "☐"),
      " ",
    ],
    tokens.map(block),
  );
}

/** @param {any} token */
function table({ header, rows }) {
  /** @param {"th"|"td"} name @param {any} cell */
  const one = (name, cell) =>
    h(
      name,
      { class: cell.align && `to-${cell.align}`, dir: "auto", scope: name === "th" && "col" },
      inlines(cell.tokens),
    );
  return h(
    "div",
    { class: "wide", tabindex: "0", role: "group", "aria-label": "Table" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, header.map((/** @type {any} */ cell) => one("th", cell)))),
      h(
        "tbody",
        {},
        rows.map((/** @type {any[]} */ row) => h("tr", {}, row.map((cell) => one("td", cell)))),
      ),
    ),
  );
}
