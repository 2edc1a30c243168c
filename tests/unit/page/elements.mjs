/** As much of a document as a region takes to be filled, which shows nothing. */

globalThis.Node = class extends EventTarget {};

globalThis.Element = class extends Node {
  childNodes = [];
  parent = null;
  dataset = {};
  classList = new Set();

  constructor() {
    super();
    this.classList.remove = this.classList.delete;
  }

  get children() {
    return this.childNodes.filter((one) => one instanceof Element);
  }

  get firstChild() {
    return this.childNodes[0] ?? null;
  }

  append(...nodes) {
    for (const one of nodes) this.insertBefore(one, null);
  }

  prepend(...nodes) {
    for (const one of nodes.reverse()) this.insertBefore(one, this.firstChild);
  }

  insertBefore(what, before) {
    const node = what instanceof Node ? what : Object.assign(new Element(), { textContent: what });
    node.remove();
    node.parent = this;
    const at = before ? this.childNodes.indexOf(before) : this.childNodes.length;
    this.childNodes.splice(at, 0, node);
  }

  remove() {
    if (this.parent) this.parent.childNodes = this.parent.childNodes.filter((one) => one !== this);
    this.parent = null;
  }

  replaceChildren(...nodes) {
    this.childNodes = [];
    this.append(...nodes);
  }

  querySelectorAll() {
    return [];
  }

  contains() {
    return false;
  }

  setAttribute() {}
  removeAttribute() {}
};

document.createElement = () => new Element();
