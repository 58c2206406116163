// Marks on the chart of requests: control and profiled blocks, and the request that is chosen.

import { cssColour } from "./dom.js";

export function phaseBands(requests) {
  return phaseRuns(requests)
    .filter((run) => run.phase === "profiled")
    .map((run) => ({
      type: "rect",
      layer: "below",
      xref: "x",
      yref: "paper",
      x0: run.first + 0.5,
      x1: run.last + 1.5,
      y0: 0,
      y1: 1,
      line: { width: 0 },
      fillcolor: cssColour("--band"),
    }));
}

export function selectionFrame(selected) {
  return {
    type: "rect",
    xref: "x",
    yref: "paper",
    x0: selected + 0.5,
    x1: selected + 1.5,
    y0: 0,
    y1: 1,
    line: { color: cssColour("--accent"), width: 2 },
  };
}

export function phaseNames(requests) {
  return phaseRuns(requests).map((run) => ({
    text: run.last - run.first + 1 >= requests.length / 24 ? run.phase : "",
    x: (run.first + run.last) / 2 + 1,
    y: 1.02,
    xref: "x",
    yref: "paper",
    yanchor: "bottom",
    showarrow: false,
    font: { size: 11, color: cssColour("--muted") },
  }));
}

function phaseRuns(requests) {
  const runs = [];
  requests.forEach(({ phase }, number) => {
    const run = runs.at(-1);
    if (run?.phase === phase) run.last = number;
    else runs.push({ phase, first: number, last: number });
  });
  return runs;
}
