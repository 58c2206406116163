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
    const packed = bytesOf(this.text.slice(from, this.ends[block]));
    // Not through a Blob: that is a trip to another process, three times as long as the unpacking.
    const stream = new DecompressionStream("deflate-raw");
    const writer = stream.writable.getWriter();
    const written = writer.write(packed).then(() => writer.close());
    const bytes = new Uint8Array(await new Response(stream.readable).arrayBuffer());
    await written;
    return bytes;
  }
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
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
    const { bytes, rows } = this;
    for (let plane = 0; plane < planes; plane++) {
      const unit = 2 ** (8 * plane);
      const from = this.at + plane * rows;
      for (let row = 0; row < rows; row++) values[row] += bytes[from + row] * unit;
    }
    this.at += planes * this.rows;
    return values;
  }
}
