/** Preferences; a change that another one overtook is shown next to it, not lost. */

import { get, mayChange, put, remove } from "../api.js";
import { confirmed, empty, h, panel } from "../dom.js";
import { count, when } from "../format.js";
import { live } from "../live.js";
import { act, keep, soon } from "../load.js";

/** So many are listed, of which there may be any number. */
const MOST = 5_000;

/** @param {string} key */
const path = (key) => `/api/memory/preferences/${encodeURIComponent(key)}`;

/** @param {HTMLElement} root @param {URLSearchParams} _ @param {AbortSignal} over */
export function preferences(root, _, over) {
  const list = panel("All");
  /** Editors stay over a refreshment, so that nothing typed is lost. @type {Map<string, HTMLElement>} */
  const editors = new Map();
  /** @type {any[]} */
  let held = [];
  /** Whether there are more than are listed: then those that begin with what is typed are asked for. */
  let areMore = false;
  /** Whether `held` ends before the last of those asked for. */
  let isCut = false;
  const filter = h("input", {
    type: "search",
    oninput: () => (areMore ? shown.load() : shown.show(lines, true)),
  });
  const name = h("input", { type: "text", required: true });
  root.append(
    h(
      "div",
      { class: "filters panel" },
      h("label", {}, "Find", filter),
      mayChange() &&
        h(
          "form",
          {
            class: "row",
            onsubmit: (/** @type {Event} */ event) => {
              event.preventDefault();
              const key = name.value.trim();
              if (!key) return;
              edit({ key, value: "", version: 0 });
              name.value = "";
            },
          },
          h("label", {}, "New preference", name),
          h("button", {}, "Add"),
        ),
    ),
    list,
  );
  const shown = keep(list, over, all, ({ begin, found, cursor }) => {
    held = found;
    isCut = cursor !== null;
    if (!begin) areMore = isCut;
    return lines();
  });
  live.addEventListener(
    "preference",
    soon(() => shown.refresh(), over),
    { signal: over },
  );

  /** @param {AbortSignal} signal */
  async function all(signal) {
    const begin = areMore ? filter.value.trim() : "";
    const found = [];
    let cursor = null;
    do {
      const page = await get("/api/memory/preferences", { prefix: begin, cursor }, signal);
      found.push(...page.preferences);
      cursor = page.nextCursor;
    } while (cursor && found.length < MOST);
    return { begin, found, cursor };
  }

  function lines() {
    const wanted = held.filter(({ key }) => key.includes(filter.value.trim()));
    const known = new Set(held.map(({ key }) => key));
    const fresh = [...editors.keys()].filter((key) => !known.has(key));
    if (!wanted.length && !fresh.length) return empty(noneSo());
    return [
      isCut &&
        h(
          "p",
          { class: "muted" },
          `These are the first ${count(held.length)}. Find looks for how another one begins.`,
        ),
      h(
        "ul",
        { class: "plain preferences", "data-rows": "preferences" },
        fresh.map(edited),
        wanted.map((one) => (editors.has(one.key) ? edited(one.key) : line(one))),
      ),
    ];
  }

  function noneSo() {
    if (areMore) return "None begins so.";
    return held.length ? "None is called so." : "There are no preferences.";
  }

  /**
   * A row with its editor. One that is shown stays where it is, by which it keeps the focus: a row
   * that is made meanwhile has an empty place for it.
   * @param {string} key
   */
  function edited(key) {
    const editor = /** @type {HTMLElement} */ (editors.get(key));
    const isShown = list.contains(editor);
    return row(key, null, isShown ? h("div", { class: "editor" }) : editor);
  }

  /** @param {string} key @param {any} facts next to the key @param {...any} children */
  function row(key, facts, ...children) {
    return h(
      "li",
      { "data-row": `preference-${key}` },
      h("p", { class: "row" }, h("strong", { dir: "auto" }, key), facts),
      children,
    );
  }

  /** @param {any} preference */
  function line(preference) {
    return row(
      preference.key,
      h(
        "span",
        { class: "muted" },
        `version ${preference.version}, `,
        when(preference.updatedAt),
        preference.updatedBy && ` by ${preference.updatedBy}`,
      ),
      h(
        "pre",
        { tabindex: "0", dir: "auto", "aria-label": `Value of ${preference.key}` },
        preference.value,
      ),
      mayChange() &&
        h(
          "p",
          { class: "row" },
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "data-key": `edit-${preference.key}`,
              "aria-label": `Edit ${preference.key}`,
              onclick: () => edit(preference),
            },
            "Edit",
          ),
          act(
            h(
              "button",
              {
                type: "button",
                class: "quiet",
                "data-key": `delete-${preference.key}`,
                "aria-label": `Delete ${preference.key}`,
              },
              "Delete",
            ),
            async () => {
              if (!(await confirmed(`Delete ${preference.key}?`, "Delete"))) return;
              await remove(path(preference.key));
              shown.load();
            },
          ),
        ),
    );
  }

  /** Show the editor, with what is typed in it where it is open already. @param {any} preference */
  function edit(preference) {
    const { key } = preference;
    const form =
      editors.get(key) ??
      editorOf(preference, () => {
        editors.delete(key);
        shown.load();
      });
    editors.set(key, form);
    shown.show(lines, true);
    /** @type {HTMLElement} */ (form.querySelector("textarea")).focus();
  }
}

/** @param {any} preference @param {() => void} done */
function editorOf(preference, done) {
  let version = preference.version;
  const field = h("textarea", {
    rows: 4,
    dir: "auto",
    value: preference.value,
    "aria-label": `Value of ${preference.key}`,
    "data-key": `value-${preference.key}`,
  });
  const conflict = h("div", { class: "conflict", role: "alert", hidden: true });
  const save = act(h("button", { type: "button" }, "Save"), async () => {
    try {
      await put(path(preference.key), { value: field.value, expectedVersion: version });
      done();
    } catch (/** @type {any} */ error) {
      if (error.status !== 409) throw error;
      await showConflict();
    }
  });

  async function showConflict() {
    let theirs = null;
    try {
      theirs = (await get(path(preference.key))).preference;
    } catch (/** @type {any} */ error) {
      if (error.status !== 404) throw error;
    }
    version = theirs?.version ?? 0;
    conflict.hidden = false;
    conflict.replaceChildren(
      h(
        "p",
        {},
        theirs
          ? `Changed meanwhile${theirs.updatedBy ? ` by ${theirs.updatedBy}` : ""}. Theirs, version ${theirs.version}:`
          : "Deleted meanwhile.",
      ),
      theirs ? h("pre", { tabindex: "0", dir: "auto", "aria-label": "Their value" }, theirs.value) : "",
      h("p", {}, "Yours is in the field above."),
      h(
        "p",
        { class: "row" },
        h("button", { type: "button", class: "quiet", onclick: done }, "Keep theirs"),
        h("button", { type: "button", onclick: () => save.click() }, "Save mine over it"),
      ),
    );
  }

  return h(
    "div",
    { class: "editor" },
    field,
    h(
      "p",
      { class: "row" },
      save,
      h("button", { type: "button", class: "quiet", onclick: done }, "Cancel"),
    ),
    conflict,
  );
}
