/** The password, or a token of another issuer where the gateway gives none out. */

import { post, token } from "../api.js";
import { h } from "../dom.js";

/** @param {HTMLElement} root @param {() => void} entered */
export function login(root, entered) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const label = h("label", { for: "password" }, "Password");
  const field = h("input", {
    id: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const button = h("button", { type: "submit" }, "Log in");
  // There are no names; what keeps passwords wants one.
  const name = h("input", {
    type: "text",
    value: "jarvis",
    autocomplete: "username",
    hidden: true,
  });
  let pasted = false;

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      if (pasted) token.set(field.value.trim());
      else token.set((await post("/api/auth/login", { password: field.value })).token);
      entered();
    } catch (/** @type {any} */ error) {
      if (error.status === 404) {
        pasted = true;
        label.textContent = "Token";
        field.value = "";
      }
      problem.textContent = error.message;
      problem.hidden = false;
      field.select();
    } finally {
      button.disabled = false;
    }
  }

  root.append(
    h(
      "form",
      { class: "login panel", onsubmit: submit },
      h("h1", {}, "jarvis recorder"),
      name,
      label,
      field,
      button,
      problem,
    ),
  );
  field.focus();
}
