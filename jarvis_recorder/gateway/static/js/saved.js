/** Views that somebody has given a name: preferences, so that each browser has them. */

import { get, getAll, mayChange, put, remove } from "./api.js";
import { confirmed, h } from "./dom.js";
import { live } from "./live.js";
import { keep, soon } from "./load.js";

const PREFIX = "view.";

/** @param {string} name */
const path = (name) => `/api/memory/preferences/${encodeURIComponent(PREFIX + name)}`;

/** @param {AbortSignal} signal @returns {Promise<{name: string, hash: string}[]>} */
export async function savedViews(signal) {
  const preferences = await getAll(
    "/api/memory/preferences",
    "preferences",
    { prefix: PREFIX },
    signal,
  );
  return preferences
    .map((/** @type {any} */ { key, value }) => ({ name: key.slice(PREFIX.length), hash: value }))
    // Nothing but a place in this page.
    .filter((/** @type {any} */ { hash }) => typeof hash === "string" && hash.startsWith("#/"));
}

/** @param {string} name @param {object} options */
export const removeView = (name, options) => remove(path(name), options);

/**
 * Save a place under a name; what another one saved so is replaced only where the reader says so.
 * @param {string} name @param {string} hash
 */
async function store(name, hash) {
  for (let expectedVersion = 0; ; expectedVersion = await versionOf(name)) {
    try {
      await put(path(name), { value: hash, expectedVersion });
      return;
    } catch (/** @type {any} */ error) {
      if (error.status !== 409) throw error;
    }
    if (!(await confirmed(`There is a view “${name}” already. Replace it?`, "Replace"))) return;
  }
}

/** @param {string} name @returns {Promise<number>} 0 where it is removed meanwhile */
async function versionOf(name) {
  try {
    return (await get(path(name))).preference.version;
  } catch (/** @type {any} */ error) {
    if (error.status !== 404) throw error;
    return 0;
  }
}

/** The saved views as links, and a button to save the one that is shown. @param {AbortSignal} over */
export function savedList(over) {
  const list = h("div");
  const problem = h("span", { class: "failed", role: "alert" });
  const element = h(
    "div",
    { class: "saved" },
    list,
    mayChange() &&
      h("button", { type: "button", class: "quiet", onclick: ask }, "Save this view"),
    problem,
  );

  const shown = keep(
    list,
    over,
    savedViews,
    (views) =>
      views.length > 0 &&
      h(
        "ul",
        { class: "chips", "aria-label": "Saved views", "data-rows": "saved" },
        views.map((/** @type {any} */ { name, hash }) =>
          h(
            "li",
            { "data-row": `view-${name}` },
            h("a", { href: hash, "data-key": `view-${name}` }, h("bdi", {}, name)),
          ),
        ),
      ),
  );

  function ask() {
    const name = h("input", { type: "text", required: true, dir: "auto", maxlength: 100 });
    const dialog = h(
      "dialog",
      { "aria-label": "Save this view", onclose: () => dialog.remove() },
      h(
        "form",
        {
          onsubmit: async (/** @type {Event} */ event) => {
            event.preventDefault();
            dialog.close();
            await save(name.value.trim());
          },
        },
        h("label", {}, "Name of the view", name),
        h(
          "p",
          { class: "row" },
          h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
          h("button", {}, "Save"),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  /** @param {string} name */
  async function save(name) {
    if (!name) return;
    problem.textContent = "";
    try {
      await store(name, location.hash);
      shown.load();
    } catch (/** @type {any} */ error) {
      problem.textContent = error.message;
    }
  }

  live.addEventListener("preference", soon(shown.refresh, over), { signal: over });
  return element;
}
