/** A region of a view with its data: loading, there, grey while the recorder is away. */

import { h, refill } from "./dom.js";

const SLOWEST_RETRY = 15_000;

/**
 * Keep a region filled until the view is left.
 * @template T
 * @param {HTMLElement} region
 * @param {AbortSignal} over the view is left
 * @param {(signal: AbortSignal) => Promise<T>} fetch
 * @param {(data: T) => any} render returns the region's children
 * @param {{every?: number}} [options] seconds between refreshments
 */
export function keep(region, over, fetch, render, { every = 0 } = {}) {
  let timer = 0;
  let latest = 0;
  let wait = 1_000;
  let filled = false;
  const problem = h("p", { class: "problem", role: "status", hidden: true });
  const content = h("div", { class: "content" }, h("p", { class: "loading" }, "Loading …"));
  region.append(problem, content);
  over.addEventListener("abort", () => clearTimeout(timer));

  async function load() {
    clearTimeout(timer);
    const mine = ++latest;
    region.setAttribute("aria-busy", "true");
    try {
      const data = await fetch(over);
      if (mine !== latest || over.aborted) return;
      problem.hidden = true;
      region.classList.remove("stale");
      filled = true;
      wait = 1_000;
      refill(content, render(data));
      if (every) timer = setTimeout(load, every * 1000);
    } catch (error) {
      if (mine !== latest || over.aborted) return;
      failed(error);
    } finally {
      if (mine === latest) region.removeAttribute("aria-busy");
    }
  }

  function failed(error) {
    const passes = error.passes === true;
    if (error.status === undefined) console.error(error);
    problem.hidden = false;
    if (!filled || !passes) content.replaceChildren();
    region.classList.toggle("stale", filled && passes);
    problem.textContent = passes
      ? `${error.message} ${filled ? "What is grey is from before. " : ""}Trying again …`
      : error.message;
    if (passes) {
      timer = setTimeout(load, wait);
      wait = Math.min(wait * 2, SLOWEST_RETRY);
    }
  }

  load();
  return { load, content };
}

/**
 * Return what has `work` done soon after a call, and once more `gap` ms later: what is published
 * may be seen a moment before it is recorded. However many calls, once in a gap.
 */
export function soon(work, over, delay = 120, gap = 1_000) {
  let timer = 0;
  let left = 0;
  const run = () => {
    left -= 1;
    timer = left > 0 ? setTimeout(run, gap) : 0;
    work();
  };
  over.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    left = 2;
    if (!timer && !over.aborted) timer = setTimeout(run, delay);
  };
}

/** A button's work: disabled meanwhile, what fails is said beside it. */
export function act(button, work) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.parentElement.querySelector(".failed")?.remove();
    try {
      await work();
    } catch (error) {
      button.after(h("span", { class: "failed", role: "alert" }, error.message));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}
