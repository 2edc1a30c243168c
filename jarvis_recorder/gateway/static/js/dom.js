/** Elements made from text only: nothing recorded is ever read as HTML. */

/**
 * Make an element. Properties starting with "on" are listeners, the rest attributes;
 * `false`, `null` and `undefined` leave an attribute or a child out.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string|number|null|undefined|false|any[])} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/** Like `h`, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

// What would reorder or hide text is shown as such; joiners shape emoji and letters.
const HIDDEN = /(?![\n\r\t\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu;

function whole(children) {
  return children
    .flat(Infinity)
    .filter((child) => child || child === 0)
    .map((child) => (child instanceof Node ? child : String(child).replace(HIDDEN, "\ufffd")));
}

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
 * Put new children into a region; the focus and what was unfolded stay where they were
 * (elements are known again by `data-key`).
 */
export function refill(region, ...children) {
  const focused = region.contains(document.activeElement) && document.activeElement.dataset.key;
  const open = new Set(
    [...region.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key),
  );
  region.replaceChildren(...whole(children));
  for (const one of region.querySelectorAll("[data-key]")) {
    if (one.localName === "details" && open.has(one.dataset.key)) one.open = true;
    if (focused && one.dataset.key === focused) one.focus();
  }
}

/** A region with a heading. */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

/** Names and values, one below the other; those without a value are left out. */
export function factList(facts) {
  return h(
    "dl",
    {},
    facts
      .filter(([, value]) => value)
      .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

export function empty(text) {
  return h("p", { class: "empty" }, text);
}

/**
 * Ask before something that cannot be undone.
 * @returns {Promise<boolean>}
 */
export function confirmed(question, verb) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {
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
