// A canvas as sharp as the screen: its size in CSS pixels, its drawing in the same. An opaque one has to be covered
// wholly by what is drawn.

export function sizeCanvas(canvas, width, height, opaque = false) {
  const scale = devicePixelRatio || 1;
  const [wide, high] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const context = canvas.getContext("2d", { alpha: !opaque });
  // Setting a size clears a canvas and its state, even if the size is the same.
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  if (!opaque) context.clearRect(0, 0, width, height);
  return context;
}
