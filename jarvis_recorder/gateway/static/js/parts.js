/** Parts of the page that are loaded where they are needed first. */

import { notice } from "./dom.js";

/**
 * Return the part that `load` imports. Where it does not come the page says so, whatever is shown:
 * a browser may keep that an import failed for as long as it has the page.
 * @template T @param {() => T|Promise<T>} load @returns {Promise<T>}
 */
export async function part(load) {
  try {
    return await load();
  } catch (error) {
    const again = () => location.reload();
    notice("A part of this page could not be loaded.", "Load the page again", again);
    throw error;
  }
}
