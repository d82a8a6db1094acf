/** Reads the arrays of a safetensors file. */

import { VqcError } from "./errors.js";

export type Numbers = Float32Array | Int8Array | Uint8Array | Int16Array | Int32Array | Uint32Array;

/** An array in row-major order. */
export interface NumberArray {
  shape: number[];
  data: Numbers;
}

const READERS: Record<string, [bytes: number, read: (data: ArrayBuffer) => Numbers]> = {
  F16: [2, halfFloats],
  I8: [1, (data) => new Int8Array(data)],
  U8: [1, (data) => new Uint8Array(data)],
  I16: [2, (data) => new Int16Array(data)],
  I32: [4, (data) => new Int32Array(data)],
  U32: [4, (data) => new Uint32Array(data)],
};

/** Return metadata and arrays by name. Throws a VqcError (ModelError) for what is no such file. */
export function readSafetensors(data: Uint8Array): {
  metadata: Record<string, string>;
  arrays: Map<string, NumberArray>;
} {
  try {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const start = 8 + Number(view.getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(data.subarray(8, start)));
    const { __metadata__: metadata = {}, ...entries } = header;
    const arrays = new Map<string, NumberArray>();
    for (const [name, entry] of Object.entries<any>(entries)) {
      const [bytes, read] = READERS[entry.dtype];
      const [first, end] = entry.data_offsets;
      const count = entry.shape.reduce((a: number, b: number) => a * b, 1);
      const stored = data.slice(start + first, start + end).buffer as ArrayBuffer;
      if (stored.byteLength !== count * bytes) throw new RangeError(`the size of ${name}`);
      arrays.set(name, { shape: entry.shape, data: read(stored) });
    }
    return { metadata, arrays };
  } catch (error) {
    throw new VqcError("ModelError", `no weights file: ${(error as Error).message}`);
  }
}

function halfFloats(data: ArrayBuffer): Float32Array {
  const powers = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 15));
  return Float32Array.from(new Uint16Array(data), (half) => {
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    let value: number;
    if (exponent === 31) value = fraction ? NaN : Infinity;
    else if (exponent) value = (1 + fraction / 1024) * powers[exponent];
    else value = fraction * 2 ** -24;
    return half & 0x8000 ? -value : value;
  });
}
