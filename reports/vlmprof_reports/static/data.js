// What the page was given: `page` at once, the details and plotly once they are unpacked.

export const page = JSON.parse(document.getElementById("data").textContent);

export const stageById = new Map(page.stages.map((stage) => [stage.id, stage]));

export function groupColour(group) {
  return `var(--group-${Math.max(0, page.groups.indexOf(group))})`;
}

// The script runs while the rest of the file, which is nearly all of it, is still being read.
const whole = new Promise((resolve) => {
  if (document.readyState !== "loading") resolve();
  else document.addEventListener("DOMContentLoaded", resolve, { once: true });
});

async function unpack(id) {
  await whole;
  const element = document.getElementById(id);
  const packed = Uint8Array.from(atob(element.textContent), (char) => char.charCodeAt(0));
  element.remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

export async function loadDetails() {
  return JSON.parse(await unpack("details"));
}

// The page's policy lists the hash of this very text, so that it may run and nothing else may.
export async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = await unpack("plotly");
  document.head.append(script);
  script.remove();
  return window.Plotly;
}
