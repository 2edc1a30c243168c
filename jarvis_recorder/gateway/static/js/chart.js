/** Events over time, stacked by severity; a stretch that is dragged over is chosen. */

import { h } from "./dom.js";
import { SEVERITIES } from "./format.js";
import { axisOf, colourOf, drawing, sizeOf, timeLabels, tzDate } from "./plot.js";
import { theme } from "./theme.js";

/**
 * @param {HTMLElement} place @param {AbortSignal} over
 * @param {(since: number, until: number) => void} zoomed seconds since 1970
 */
export function chart(place, over, zoomed) {
  /** @type {any} */
  let plot = null;
  /** @type {any} */
  let shown = null;

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
      return; // the gateway is away, which the page says
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
  theme.addEventListener("change", draw, { signal: over });
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

export function legend() {
  return h(
    "ul",
    { class: "legend" },
    SEVERITIES.map((name) =>
      h("li", {}, h("span", { class: `swatch ${name}`, "aria-hidden": "true" }), name),
    ),
  );
}
