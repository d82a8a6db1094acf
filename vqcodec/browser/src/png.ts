/** Reads what an ALPHA chunk holds: an 8-bit grayscale PNG of a size that is known. */

import { crc32 } from "./checksums.js";
import { VqcError } from "./errors.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const HEADER_SIZE = 13;
// Where each pass of an interlaced image begins, and its steps: x, y, across, down.
const WHOLE = [[0, 0, 1, 1]];
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/**
 * Return the pixels, `[height, width]`.
 *
 * Throws a VqcError (CorruptError), before anything is unpacked if size or kind are not as they must be.
 */
export async function readGrayPng(
  data: Uint8Array,
  width: number,
  height: number,
): Promise<Uint8Array> {
  const { header, packed } = readChunks(data);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [depth, colour, compression, filtering, interlaced] = header.subarray(8);
  if (view.getUint32(0) !== width || view.getUint32(4) !== height || depth !== 8 || colour) {
    throw corrupt(`not ${width}x${height} pixels of 8-bit gray`);
  }
  if (compression || filtering || interlaced > 1) throw corrupt("unknown methods");
  const passes = (interlaced ? PASSES : WHOLE).map(([x, y, across, down]) => {
    const columns = Math.ceil((width - x) / across);
    const rows = columns > 0 ? Math.ceil((height - y) / down) : 0;
    return { x, y, across, down, columns, rows: Math.max(rows, 0) };
  });
  const size = passes.reduce((sum, { columns, rows }) => sum + rows * (columns + 1), 0);
  const unpacked = await inflated(packed, size);
  const pixels = new Uint8Array(width * height);
  let from = 0;
  for (const { x, y, across, down, columns, rows } of passes) {
    let above: Uint8Array = new Uint8Array(Math.max(columns, 0));
    for (let row = 0; row < rows; row++) {
      const line = unpacked.subarray(from + 1, from + 1 + columns);
      unfilter(unpacked[from], line, above);
      const start = (y + row * down) * width + x;
      for (let column = 0; column < columns; column++) {
        pixels[start + column * across] = line[column];
      }
      from += columns + 1;
      above = line;
    }
  }
  return pixels;
}

function corrupt(reason: string): VqcError {
  return new VqcError("CorruptError", `the alpha chunk cannot be read: ${reason}`);
}

/** The data of IHDR, and those of all IDAT. */
function readChunks(data: Uint8Array): { header: Uint8Array; packed: Uint8Array[] } {
  if (SIGNATURE.some((byte, place) => data[place] !== byte)) throw corrupt("not a PNG");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const packed = [];
  let header: Uint8Array | undefined;
  for (let offset = SIGNATURE.length; offset + 12 <= data.length;) {
    const end = offset + 8 + view.getUint32(offset);
    if (end + 4 > data.length) break;
    const name = String.fromCharCode(...data.subarray(offset + 4, offset + 8));
    if (crc32(data.subarray(offset + 4, end)) !== view.getUint32(end)) {
      throw corrupt(`the checksum of ${name} does not fit`);
    }
    const content = data.subarray(offset + 8, end);
    if (!header !== (name === "IHDR")) throw corrupt("IHDR is not the first chunk");
    if (name === "IHDR") header = content;
    if (name === "IDAT") packed.push(content);
    if (name === "IEND") break;
    offset = end + 4;
  }
  if (header?.length !== HEADER_SIZE) throw corrupt("no IHDR");
  return { header, packed };
}

/** Unpack so many bytes and no more. */
async function inflated(parts: Uint8Array[], size: number): Promise<Uint8Array> {
  const result = new Uint8Array(size);
  const packed = new Blob(parts as Uint8Array<ArrayBuffer>[]).stream();
  const reader = packed.pipeThrough(new DecompressionStream("deflate")).getReader();
  let filled = 0;
  try {
    while (filled < size) {
      const { done, value } = await reader.read();
      if (done) throw new RangeError("pixels are missing");
      result.set(value.subarray(0, size - filled), filled);
      filled += value.length;
    }
  } catch (error) {
    throw corrupt((error as Error).message);
  } finally {
    await reader.cancel().catch(() => {});
  }
  return result;
}

/** Undo the filter of a row in place. */
function unfilter(kind: number, line: Uint8Array, above: Uint8Array): void {
  let left = 0;
  let corner = 0;
  for (let x = 0; x < line.length; x++) {
    const up = above[x];
    if (kind === 1) line[x] += left;
    else if (kind === 2) line[x] += up;
    else if (kind === 3) line[x] += (left + up) >> 1;
    else if (kind === 4) line[x] += nearest(left, up, corner);
    else if (kind) throw corrupt(`an unknown filter (${kind})`);
    left = line[x];
    corner = up;
  }
}

/** Paeth's predictor. */
function nearest(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const [a, b, c] = [left, up, corner].map((each) => Math.abs(guess - each));
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
