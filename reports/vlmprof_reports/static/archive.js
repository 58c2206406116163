// The page's archive: blocks of integer columns, deflated and in base64, unpacked one by one when they are shown.

export class Archive {
  // `lengths`: characters of each block, one after the other in the element's text.
  constructor(lengths) {
    const element = document.getElementById("archive");
    this.text = element.textContent;
    element.remove();
    this.ends = [];
    lengths.reduce((end, length) => (this.ends.push(end + length), end + length), 0);
  }

  async unpack(block) {
    const from = block ? this.ends[block - 1] : 0;
    const packed = Uint8Array.from(atob(this.text.slice(from, this.ends[block])), (char) =>
      char.charCodeAt(0),
    );
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
}

// Reads the columns of a block in their order: the number of its byte planes, then the planes, lowest first.
export class ColumnReader {
  constructor(bytes, rows) {
    this.bytes = bytes;
    this.rows = rows;
    this.at = 0;
  }

  next() {
    const planes = this.bytes[this.at++];
    const values = planes <= 4 ? new Uint32Array(this.rows) : new Float64Array(this.rows);
    for (let plane = 0; plane < planes; plane++) {
      const unit = 2 ** (8 * plane);
      const from = this.at + plane * this.rows;
      for (let row = 0; row < this.rows; row++) values[row] += this.bytes[from + row] * unit;
    }
    this.at += planes * this.rows;
    return values;
  }
}

// Zigzag: 0, 1, 2, 3 stand for 0, -1, 1, -2.
export function signed(value) {
  return value % 2 ? -(value + 1) / 2 : value / 2;
}
