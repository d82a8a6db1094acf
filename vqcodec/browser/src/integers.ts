/**
 * Planes of small integers and the layers of the prior network, exact in doubles.
 *
 * Planes are one byte a channel, position by position. Sums stay far below 2^53, so that doubles
 * hold them exactly; most activations are zero, and zeros are skipped.
 */

import type { Span } from "./tiles.js";

const ROUNDING = 256;
const DIVISOR = 512;
const ABREAST = 8; // outputs that are summed at once, each in a register

export interface BytePlanes {
  data: Int8Array; // [height, width, channels]
  channels: number;
  height: number;
  width: number;
}

export interface IntegerLayer {
  weight: Float64Array; // [taps, inputs, outputs and as many zeros as make it a multiple of ABREAST]
  bias: Float64Array; // likewise
  taps: number;
  inputs: number;
  outputs: number;
}

/** A layer of weights `[taps, inputs, outputs]`. */
export function integerLayer(
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  [taps, inputs, outputs]: number[],
): IntegerLayer {
  const width = ABREAST * Math.ceil(outputs / ABREAST);
  const padded = new Float64Array(taps * inputs * width);
  for (let place = 0; place < weight.length; place++) {
    padded[Math.floor(place / outputs) * width + (place % outputs)] = weight[place];
  }
  const paddedBias = new Float64Array(width);
  paddedBias.set(bias);
  return { weight: padded, bias: paddedBias, taps, inputs, outputs };
}

/** Planes from channel `at` on among so many, of which the others are 0. */
export function among(planes: BytePlanes, channels: number, at: number): BytePlanes {
  const { height, width, channels: own } = planes;
  const data = new Int8Array(height * width * channels);
  for (let place = 0; place < height * width; place++) {
    const row = planes.data.subarray(place * own, (place + 1) * own);
    data.set(row, place * channels + at);
  }
  return { data, channels, height, width };
}

/** Some rows and columns of planes. */
export function part(planes: BytePlanes, rows: Span, columns: Span): BytePlanes {
  const { channels, width } = planes;
  const [down, across] = [rows, columns].map(({ start, end }) => end - start);
  const data = new Int8Array(down * across * channels);
  for (let row = 0; row < down; row++) {
    const line = (rows.start + row) * width;
    const from = planes.data.subarray(
      (line + columns.start) * channels,
      (line + columns.end) * channels,
    );
    data.set(from, row * across * channels);
  }
  return { data, channels, height: down, width: across };
}

/** The planes at some positions, in one row. */
export function picked(planes: BytePlanes, places: Uint32Array): BytePlanes {
  const { channels } = planes;
  const data = new Int8Array(places.length * channels);
  for (const [place, from] of places.entries()) {
    data.set(planes.data.subarray(from * channels, (from + 1) * channels), place * channels);
  }
  return { data, channels, height: 1, width: places.length };
}

/** Write what the indices of a group select at some positions into planes, from `channel` on. */
export function lookUp(
  planes: BytePlanes,
  channel: number,
  index: Uint16Array,
  books: number,
  [tables, size, dimensions]: number[],
  values: ArrayLike<number>,
  places: Uint32Array,
): void {
  const area = index.length / books;
  for (let book = 0; book < books; book++) {
    const table = (book % tables) * size;
    for (const place of places) {
      const from = (table + index[book * area + place]) * dimensions;
      const to = place * planes.channels + channel + book * dimensions;
      for (let d = 0; d < dimensions; d++) planes.data[to + d] = values[from + d];
    }
  }
}

/** A layer, at some positions or at all; what comes of some stands in one row. */
export function applied(
  layer: IntegerLayer,
  planes: BytePlanes,
  places?: Uint32Array,
  offset?: Float64Array,
): BytePlanes {
  const { height, width, channels } = planes;
  const { weight, taps, inputs, outputs } = layer;
  const count = places?.length ?? height * width;
  const data = new Int8Array(count * outputs);
  const constant = layer.bias.map((bias, output) => bias + (offset?.[output] ?? 0) + ROUNDING);
  const wide = constant.length;
  // What a position sees that is not 0, and where the weights of each begin.
  const seen = new Float64Array(taps * inputs);
  const starts = new Int32Array(taps * inputs);
  const sums = new Float64Array(ABREAST);
  for (let place = 0; place < count; place++) {
    const position = places ? places[place] : place;
    const row = Math.floor(position / width);
    const column = position - row * width;
    let found = 0;
    for (let tap = 0; tap < taps; tap++) {
      const y = taps === 1 ? row : row + Math.floor(tap / 3) - 1;
      const x = taps === 1 ? column : column + (tap % 3) - 1;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const from = (y * width + x) * channels;
      for (let input = 0; input < inputs; input++) {
        const activation = planes.data[from + input];
        if (activation === 0) continue;
        seen[found] = activation;
        starts[found++] = (tap * inputs + input) * wide;
      }
    }
    for (let output = 0; output < wide; output += ABREAST) {
      sumAbreast(sums, seen, starts, found, weight, output);
      const end = Math.min(ABREAST, outputs - output);
      for (let each = 0; each < end; each++) {
        const value = Math.floor((sums[each] + constant[output + each]) / DIVISOR);
        data[place * outputs + output + each] = Math.min(Math.max(value, 0), 127);
      }
    }
  }
  return places
    ? { data, channels: outputs, height: 1, width: count }
    : { data, channels: outputs, height, width };
}

/** Sum the products of what is seen for as many outputs as go abreast, into `sums`. */
function sumAbreast(
  sums: Float64Array,
  seen: Float64Array,
  starts: Int32Array,
  count: number,
  weight: Float64Array,
  output: number,
): void {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let e = 0;
  let f = 0;
  let g = 0;
  let h = 0;
  for (let each = 0; each < count; each++) {
    const value = seen[each];
    const at = starts[each] + output;
    a += value * weight[at];
    b += value * weight[at + 1];
    c += value * weight[at + 2];
    d += value * weight[at + 3];
    e += value * weight[at + 4];
    f += value * weight[at + 5];
    g += value * weight[at + 6];
    h += value * weight[at + 7];
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
  sums[4] = e;
  sums[5] = f;
  sums[6] = g;
  sums[7] = h;
}

/** Turn channel `side^2 c + side i + j` into channel c at row i, column j of a position. */
export function spread(planes: BytePlanes, side: number): BytePlanes {
  const channels = planes.channels / side ** 2;
  const [height, width] = [planes.height * side, planes.width * side];
  const data = new Int8Array(planes.data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const place = Math.floor(row / side) * planes.width + Math.floor(column / side);
      const cell = side * (row % side) + (column % side);
      for (let channel = 0; channel < channels; channel++) {
        const from = place * planes.channels + side ** 2 * channel + cell;
        data[(row * width + column) * channels + channel] = planes.data[from];
      }
    }
  }
  return { data, channels, height, width };
}
