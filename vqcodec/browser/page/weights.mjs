/** What the page has of a weights file: the arrays that decoding takes, as they are in the file. */

import { createHash } from "node:crypto";

// "Without an encoder" of docs/format.md, but for small ones of `analysis` and `values`.
const ENCODERS = [
  /^network\.(encoder|enhance)\./,
  /^network\.levels\.\d+\.project$/,
  /^network\.levels\.\d+\.quantizer\.groups\.\d+\.logits$/,
];
const HEADER = 8; // bytes of the header's size

/** The id by which `.vqc` files name the whole of a weights file. */
export function modelId(file) {
  return createHash("sha256").update(file).digest("hex").slice(0, 8);
}

/** Return a safetensors file without the arrays that serve the encoder alone. */
export function forDecoding(file) {
  const start = HEADER + Number(file.readBigUInt64LE());
  const { __metadata__, ...entries } = JSON.parse(file.toString("utf8", HEADER, start));
  const header = { __metadata__ };
  const parts = [];
  let offset = 0;
  for (const [name, entry] of Object.entries(entries)) {
    if (ENCODERS.some((pattern) => pattern.test(name))) continue;
    const [first, end] = entry.data_offsets;
    parts.push(file.subarray(start + first, start + end));
    header[name] = { ...entry, data_offsets: [offset, (offset += end - first)] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(HEADER);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, text, ...parts]);
}
