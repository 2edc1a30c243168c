/** Elements made from text only: nothing recorded is ever read as HTML. */

/**
 * Make an element. Properties starting with "on" are listeners, the rest attributes;
 * `false`, `null` and `undefined` leave an attribute or a child out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string|number|null|undefined|false|any[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/**
 * Like `h`, for SVG.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

// What would reorder or hide text is shown as such; joiners shape emoji and letters.
const HIDDEN = /(?![\n\r\t\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Return what an element may have for children, of what `h` takes. @param {...any} children */
export function text(...children) {
  return whole(children);
}

/** @param {any[]} children @returns {(Node|string)[]} */
function whole(children) {
  return children
    .flat(Infinity)
    .filter((child) => child || child === 0)
    .map((child) => (child instanceof Node ? child : String(child).replace(HIDDEN, "\ufffd")));
}

/** @param {any} element @param {Record<string, any>} attributes @param {any[]} children */
function fill(element, attributes, children) {
  element.append(...whole(children));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * What an element showed when it was made; ages go on by themselves and tell nothing new, nor does
 * a time in another zone.
 * @type {WeakMap<Element, string>}
 */
const prints = new WeakMap();

/** @param {Element} element */
function print(element) {
  if (!prints.has(element)) {
    const copy = /** @type {Element} */ (element.cloneNode(true));
    // A row stays the same while something in it can be undone, and with the words why it failed;
    // or is edited.
    for (const one of copy.querySelectorAll(".undoable, .editor")) one.replaceChildren();
    prints.set(element, copy.outerHTML.replace(/(<time [^>]*data-(?:ago|as)[^>]*>)[^<]*/g, "$1"));
  }
  return prints.get(element);
}

/** Note what rows show before anybody changes them. @template {Element} E @param {E} fresh */
function noted(fresh) {
  rowsOf(fresh).forEach(print);
  return fresh;
}

/** @param {Element} region @returns {HTMLElement[]} */
const rowsOf = (region) => [
  .../** @type {NodeListOf<any>} */ (region.querySelectorAll("[data-row]")),
];

/**
 * What would come and go by a `refill`, and whether a row would stand elsewhere. Rows that only
 * come after the last one move no other.
 * @param {Element} region @param {Element} fresh
 */
export function difference(region, fresh) {
  const [old, next] = [region, fresh].map((of) => rowsOf(of).map((row) => row.dataset.row));
  const [known, left] = [new Set(old), new Set(next)];
  return {
    come: next.filter((key) => !known.has(key)).length,
    gone: old.filter((key) => !left.has(key)).length,
    moves: next.length > 0 && old.some((key, index) => key !== next[index]),
  };
}

/**
 * Show what changed in rows that stay where they are, and which are gone.
 * @param {Element} region @param {Element} fresh
 */
export function renew(region, fresh) {
  noted(fresh);
  const next = new Map(rowsOf(fresh).map((row) => [row.dataset.row, row]));
  keepingPlace(region, () => {
    for (const row of rowsOf(region)) {
      const now = next.get(row.dataset.row);
      row.classList.toggle("gone", !now);
      if (now && print(now) !== print(row)) row.replaceWith(now);
    }
  });
}

/**
 * Put new children into a region. A row (`data-row`) that shows the same stays the same element,
 * so that neither a click, a selection nor what a row is about to do is lost; of all others the
 * focus and what was unfolded stay (elements are known again by `data-key`).
 * @param {Element} region @param {...any} children
 */
export function refill(region, ...children) {
  const fresh = noted(h("div", {}, children));
  keepingPlace(region, () => patch(region, fresh));
}

/** @param {Element} region @param {Element} fresh */
function patch(region, fresh) {
  const old = new Map(
    [...region.children].filter((one) => keyOf(one)).map((one) => [keyOf(one), one]),
  );
  const next = [...fresh.childNodes].map((one) => {
    const known = one instanceof Element && keyOf(one) && old.get(keyOf(one));
    if (!known) return one;
    if (known.matches("[data-rows]")) patch(known, one);
    else if (print(known) !== print(one) || known.matches(".gone")) return one;
    return known;
  });
  const stays = new Set(next);
  for (const one of [...region.childNodes]) if (!stays.has(one)) one.remove();
  // Those that stay are passed by, not put in again: that would end a selection.
  let at = region.firstChild;
  for (const one of next) {
    if (one === at) at = at.nextSibling;
    else region.insertBefore(one, at);
  }
}

/** @param {any} element @returns {string|undefined} */
const keyOf = (element) => element.dataset.row ?? element.dataset.rows;

/** @param {any} region @param {() => void} change */
function keepingPlace(region, change) {
  const within = region.contains(document.activeElement);
  const focused = within && /** @type {any} */ (document.activeElement).dataset.key;
  const place = within && rowsOf(region).findIndex((row) => row.contains(document.activeElement));
  const open = new Set(
    [.../** @type {NodeListOf<any>} */ (region.querySelectorAll("details[open][data-key]"))].map(
      (one) => one.dataset.key,
    ),
  );
  change();
  for (const one of /** @type {NodeListOf<any>} */ (region.querySelectorAll("[data-key]"))) {
    if (one.localName === "details" && open.has(one.dataset.key)) one.open = true;
    if (focused && one.dataset.key === focused && one !== document.activeElement)
      one.focus({ preventScroll: true });
  }
  if (within && !region.contains(document.activeElement)) focusRow(region, place);
}

/**
 * Focus what can be done with a row, or the region where there is none: never nothing at all.
 * @param {HTMLElement} region @param {number} [place]
 */
export function focusRow(region, place = 0) {
  const rows = rowsOf(region);
  const row = rows[Math.min(Math.max(place, 0), rows.length - 1)];
  /** @type {any} */
  const target = row
    ? [...row.querySelectorAll(".undoable > button"), ...row.querySelectorAll("summary, a, button")]
        // What is folded takes no focus.
        .find((one) => one.checkVisibility())
    : null;
  if (!target) region.tabIndex = -1;
  (target ?? region).focus({ preventScroll: true });
}

const status = () => /** @type {HTMLElement} */ (document.getElementById("said"));

/** Say something to those who hear the page. @param {string} text */
export function announce(text) {
  status().textContent = text;
}

/**
 * Say something in a line that stays, whatever view is shown, until the reader is done with it.
 * @param {string} words @param {string} [verb] @param {() => void} [work] what a click does then
 */
export function notice(words, verb = "Hide", work = () => {}) {
  const lines = /** @type {HTMLElement} */ (document.getElementById("notices"));
  const said = h("span", { dir: "auto" }, words);
  if ([...lines.children].some((one) => one.firstChild?.textContent === said.textContent)) return;
  const done = () => {
    line.remove();
    work();
  };
  const button = h("button", { type: "button", class: "quiet", onclick: done }, verb);
  const line = h("p", { class: "away" }, said, " ", button);
  lines.append(line);
}

/** A region with a heading. @param {string|any[]} title @param {...any} children */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

/**
 * Names and values, one below the other; those without a value are left out.
 * @param {[string, any][]} facts
 */
export function factList(facts) {
  return h(
    "dl",
    {},
    facts
      .filter(([, value]) => value)
      .map(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, value)]),
  );
}

/** @param {string} text */
export function empty(text) {
  return h("p", { class: "empty" }, text);
}

/**
 * Ask before something that cannot be undone.
 * @param {string} question @param {string} verb
 * @returns {Promise<boolean>}
 */
export function confirmed(question, verb) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {
        class: "question",
        "aria-label": question,
        onclose: () => {
          resolve(dialog.returnValue === "yes");
          dialog.remove();
        },
      },
      h(
        "form",
        { method: "dialog" },
        h("p", {}, question),
        h(
          "p",
          { class: "row" },
          h("button", { value: "no", class: "quiet" }, "Cancel"),
          h("button", { value: "yes" }, verb),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Close what lies over a view; nothing is confirmed by that.
 * @param {string} [which] a selector, empty for all
 */
export function closeDialogs(which = "") {
  for (const one of /** @type {NodeListOf<HTMLDialogElement>} */ (
    document.querySelectorAll(`dialog[open]${which}`)
  ))
    one.close();
}
