/** Events over time, stacked by severity; a stretch that is dragged over is chosen. */

import { h } from "./dom.js";
import { count, SEVERITIES } from "./format.js";
import { axisOf, colourOf, drawing, sizeOf, timeLabels, tzDate } from "./plot.js";
import { theme } from "./theme.js";
import { inZone, zone } from "./zone.js";

const styles = inZone(
  (timeZone) =>
    new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", timeZone }),
);

/**
 * @param {HTMLElement} place @param {AbortSignal} over
 * @param {(since: number, until: number) => void} zoomed seconds since 1970
 */
export function chart(place, over, zoomed) {
  /** @type {any} */
  let plot = null;
  /** @type {any} */
  let shown = null;

  /** The bar under the pointer; the list has the same for those who have none. */
  const tip = h("p", { class: "tip", "aria-hidden": "true", hidden: true });
  place.append(tip);

  /** @param {any} self */
  function point(self) {
    const bucket = shown?.buckets[barAt(self)];
    tip.hidden = !bucket;
    if (bucket) tip.textContent = wordsOf(bucket, shown.bucketSeconds);
  }

  /** @param {any} self @returns {number} of the bar, -1 where the pointer is elsewhere */
  function barAt(self) {
    if (self.cursor.left < 0) return -1;
    const at = self.posToVal(self.cursor.left, "x");
    return shown.buckets.findLastIndex(
      (/** @type {any} */ { start }) => Date.parse(start) / 1000 <= at,
    );
  }

  /** @param {string} name */
  const colour = (name) => colourOf(place, name);

  async function draw() {
    plot?.destroy();
    plot = null;
    const mine = shown;
    if (!mine) return;
    /** @type {any} */
    let uPlot;
    try {
      uPlot = await drawing();
    } catch {
      return; // which the page says
    }
    // Another one may have been drawn meanwhile.
    if (mine !== shown || plot || over.aborted) return;
    const { buckets, bucketSeconds } = shown;
    const starts = buckets.map((/** @type {any} */ { start }) => Date.parse(start) / 1000);
    /** @type {number[]} */
    let below = buckets.map(() => 0);
    // The lowest of the stack is the worst; what is higher is drawn first, the others over it.
    const sums = SEVERITIES.map((name) => {
      below = below.map((sum, index) => sum + (buckets[index].by[name] ?? 0));
      return below;
    }).reverse();
    const names = [...SEVERITIES].reverse();
    const axis = axisOf(place);
    plot = new uPlot(
      {
        ...sizeOf(place),
        tzDate,
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { show: false } },
        scales: {
          x: { range: () => [starts[0], starts.at(-1) + bucketSeconds] },
          y: {
            range: (/** @type {any} */ _, /** @type {any} */ __, /** @type {number} */ most) => [
              0,
              Math.max(most, 4),
            ],
          },
        },
        axes: [
          { ...axis, values: timeLabels, space: 70 },
          {
            ...axis,
            size: 44,
            incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 5e4, 1e5, 1e6],
          },
        ],
        series: [
          {},
          ...names.map((name) => ({
            label: name,
            fill: colour(name),
            stroke: colour(name),
            width: 0,
            paths: uPlot.paths.bars({ align: 1, size: [0.9, 100] }),
            points: { show: false },
          })),
        ],
        hooks: {
          setCursor: [point],
          setSelect: [
            (/** @type {any} */ self) => {
              if (self.select.width < 4) return;
              zoomed(
                self.posToVal(self.select.left, "x"),
                self.posToVal(self.select.left + self.select.width, "x"),
              );
            },
          ],
        },
      },
      [starts, ...sums],
      place,
    );
  }

  const seen = new ResizeObserver(() => plot?.setSize(sizeOf(place)));
  seen.observe(place);
  for (const looks of [theme, zone]) looks.addEventListener("change", draw, { signal: over });
  over.addEventListener("abort", () => {
    seen.disconnect();
    plot?.destroy();
  });

  return (/** @type {any} */ histogram) => {
    shown = histogram.buckets.length ? histogram : null;
    const total = histogram.buckets.reduce(
      (/** @type {number} */ sum, /** @type {any} */ { count }) => sum + count,
      0,
    );
    place.setAttribute("aria-label", `${total} events over time, by severity`);
    draw();
    return total;
  };
}

/**
 * The severities with the count of each, which is a link to those alone.
 * @param {(severity: string) => string} href
 */
export function legend(href) {
  const element = h("ul", { class: "legend" });
  /** @param {any[]} buckets */
  function show(buckets) {
    element.replaceChildren(
      ...SEVERITIES.map((name) => {
        const sum = buckets.reduce((total, { by }) => total + (by[name] ?? 0), 0);
        const sign = h("span", { class: `swatch ${name}`, "aria-hidden": "true" });
        return h("li", {}, sign, sum ? h("a", { href: href(name) }, `${name} ${count(sum)}`) : name);
      }),
    );
  }
  show([]);
  return { element, show };
}

/** The words of a bar. @param {any} bucket @param {number} seconds */
function wordsOf({ start, by }, seconds) {
  const at = Date.parse(start);
  const counts = SEVERITIES.filter((name) => by[name]).map((name) => `${count(by[name])} ${name}`);
  return `${styles().formatRange(at, at + seconds * 1000)}: ${counts.join(", ") || "nothing"}`;
}
