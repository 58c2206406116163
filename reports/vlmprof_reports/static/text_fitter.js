const ELLIPSIS_PIXELS = 11;

// Cuts text to a width; the widths of whole texts are kept, for measuring is what costs.
export class TextFitter {
  constructor(context) {
    this.context = context;
    this.widths = new Map();
  }

  fit(text, room) {
    let width = this.widths.get(text);
    if (width === undefined) {
      if (this.widths.size > 20000) this.widths.clear();
      width = this.context.measureText(text.slice(0, 400)).width;
      this.widths.set(text, width);
    }
    if (width <= room) return text.slice(0, 400);
    const length = Math.floor((Math.min(text.length, 400) * (room - ELLIPSIS_PIXELS)) / width);
    return length > 0 ? `${text.slice(0, length)}…` : "";
  }
}
