/** Charts of measures, one below the other, with one time axis and one cursor; downtime is shaded. */

import { h } from "./dom.js";
import { bytes, tenths } from "./format.js";
import { axisOf, colourOf, drawing, sizeOf, timeLabels, tzDate } from "./plot.js";
import { theme } from "./theme.js";
import { zone } from "./zone.js";

/** @type {Record<string, [string, (value: number) => string]>} */
export const MEASURES = {
  cpu: ["CPU", (value) => `${tenths(value * 100)} %`],
  mem: ["Memory", bytes],
  disk: ["Disk", bytes],
  used: ["Used", bytes],
  total: ["Size", bytes],
  online: ["Online", (value) => `${tenths(value * 100)} %`],
};

let last = 0;

/**
 * Return what draws an answer of `snapshots.series` into a place, and `mark`, which marks events.
 * @param {HTMLElement} place @param {AbortSignal} over
 */
export function measured(place, over) {
  const key = `series-${++last}`;
  /** @type {any[]} */
  let plots = [];
  /** @type {any} */
  let shown = null;
  /** @type {any[]} */
  let marks = [];

  async function redraw() {
    const mine = shown;
    const uPlot = await drawing().catch(() => null); // the page says it
    if (!uPlot || mine !== shown || over.aborted) return;
    for (const plot of plots) plot.destroy();
    const { answer, measures } = mine;
    const figures = measures.map((/** @type {string} */ one) =>
      h(
        "figure",
        {},
        h("figcaption", {}, MEASURES[one][0], " ", h("output", { class: "muted" })),
        h("div", {
          class: "chart",
          role: "img",
          "aria-label": `${MEASURES[one][0]} over time`,
        }),
      ),
    );
    place.replaceChildren(...figures);
    plots = measures.map((/** @type {string} */ one, /** @type {number} */ index) =>
      plotOf(uPlot, figures[index], { answer, one, shown: MEASURES[one][1] }),
    );
  }

  /** @param {any} uPlot @param {HTMLElement} figure @param {any} what */
  function plotOf(uPlot, figure, { answer, one, shown }) {
    const chart = /** @type {HTMLElement} */ (figure.querySelector(".chart"));
    const said = /** @type {HTMLElement} */ (figure.querySelector("output"));
    const axis = axisOf(chart);
    const [least, mean, most] = ["min", "mean", "max"].map((part) =>
      answer.points.map((/** @type {any} */ point) => point[one]?.[part] ?? null),
    );
    const accent = colourOf(chart, "accent");
    const line = { stroke: accent, points: { show: false }, spanGaps: false };
    return new uPlot(
      {
        ...sizeOf(chart),
        tzDate,
        legend: { show: false },
        cursor: { y: false, sync: { key, setSeries: false }, drag: { x: false, y: false } },
        scales: {
          x: { range: () => [Date.parse(answer.since) / 1000, Date.parse(answer.until) / 1000] },
          y: {
            range: (/** @type {any} */ _, /** @type {any} */ __, /** @type {number} */ high) => [
              0,
              one === "cpu" ? Math.max(high, 0.1) : high * 1.05 || 1,
            ],
          },
        },
        axes: [
          { ...axis, values: timeLabels, space: 70 },
          {
            ...axis,
            size: 70,
            values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map(shown),
          },
        ],
        series: [
          {},
          { ...line, width: 0 },
          { ...line, width: 1.5 },
          { ...line, width: 0 },
        ],
        bands: [{ series: [3, 1], fill: withAlpha(accent, 0.2) }],
        hooks: {
          drawClear: [(/** @type {any} */ plot) => shade(plot, answer, chart)],
          draw: [(/** @type {any} */ plot) => markOn(plot, chart)],
          setCursor: [
            (/** @type {any} */ { cursor }) => {
              const value = mean[cursor.idx ?? -1];
              said.textContent = value === null || value === undefined ? "" : shown(value);
            },
          ],
        },
      },
      [answer.points.map((/** @type {any} */ { at }) => Date.parse(at) / 1000), least, mean, most],
      chart,
    );
  }

  /** @param {any} plot @param {HTMLElement} chart */
  function markOn(plot, chart) {
    const { ctx, bbox } = plot;
    for (const { timestamp, severity } of marks) {
      const x = Math.round(plot.valToPos(Date.parse(timestamp) / 1000, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.fillStyle = colourOf(chart, severity);
      ctx.fillRect(x - 1, bbox.top, 2, bbox.height / 6);
    }
  }

  const seen = new ResizeObserver(() => {
    for (const plot of plots) plot.setSize(sizeOf(plot.root.parentElement));
  });
  seen.observe(place);
  for (const looks of [theme, zone])
    looks.addEventListener("change", () => shown && redraw(), { signal: over });
  over.addEventListener("abort", () => {
    seen.disconnect();
    for (const plot of plots) plot.destroy();
  });

  /** @param {any} answer @param {string[]} measures */
  function draw(answer, measures) {
    shown = { answer: withGaps(answer), measures };
    redraw();
  }
  /** @param {any[]} events */
  draw.mark = (events) => {
    marks = events;
    for (const plot of plots) plot.redraw(false);
  };
  return draw;
}

/** Stretches without values are left out of an answer; a line must not run over them. @param {any} answer */
function withGaps(answer) {
  const width = answer.bucketSeconds * 1000;
  const points = answer.points.flatMap((/** @type {any} */ point, /** @type {number} */ index) => {
    const before = answer.points[index - 1];
    const from = before && Date.parse(before.at) + width;
    return from < Date.parse(point.at) ? [{ at: new Date(from).toISOString() }, point] : [point];
  });
  return { ...answer, points };
}

/** Shade the time in which it was not online. @param {any} plot @param {any} answer @param {HTMLElement} chart */
function shade(plot, { points, bucketSeconds }, chart) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = colourOf(chart, "error");
  for (const { at, online } of points) {
    if (!online || online.mean >= 1) continue;
    const from = Date.parse(at) / 1000;
    const [left, right] = [from, from + bucketSeconds].map((one) =>
      Math.min(Math.max(plot.valToPos(one, "x", true), bbox.left), bbox.left + bbox.width),
    );
    ctx.globalAlpha = 0.08 + 0.22 * (1 - online.mean);
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/** @param {string} colour as the browser computes it @param {number} alpha */
function withAlpha(colour, alpha) {
  const [, parts] = /** @type {any} */ (/\(([^)]*)\)/.exec(colour) ?? ["", "128, 128, 128"]);
  return `rgba(${parts.split(/[ ,/]+/).slice(0, 3).join(", ")}, ${alpha})`;
}
