/**
 * Planes of small integers and the layers of the prior network, exact in doubles.
 *
 * Planes are one byte a channel, position by position. Sums stay far below 2^53, so that doubles
 * hold them exactly; most activations are zero, and zeros are skipped.
 */

const ROUNDING = 256;
const DIVISOR = 512;

export interface BytePlanes {
  data: Int8Array; // [height, width, channels]
  channels: number;
  height: number;
  width: number;
}

export interface IntegerLayer {
  weight: Float64Array; // [taps, inputs, outputs]
  bias: Float64Array;
  taps: number;
  inputs: number;
  outputs: number;
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
  const sums = new Float64Array(outputs);
  for (let place = 0; place < count; place++) {
    const position = places ? places[place] : place;
    const row = Math.floor(position / width);
    const column = position - row * width;
    sums.set(constant);
    for (let tap = 0; tap < taps; tap++) {
      const y = taps === 1 ? row : row + Math.floor(tap / 3) - 1;
      const x = taps === 1 ? column : column + (tap % 3) - 1;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const from = (y * width + x) * channels;
      for (let input = 0; input < inputs; input++) {
        const activation = planes.data[from + input];
        if (activation === 0) continue;
        const start = (tap * inputs + input) * outputs;
        for (let output = 0; output < outputs; output++) {
          sums[output] += activation * weight[start + output];
        }
      }
    }
    for (let output = 0; output < outputs; output++) {
      const value = Math.floor(sums[output] / DIVISOR);
      data[place * outputs + output] = Math.min(Math.max(value, 0), 127);
    }
  }
  return places
    ? { data, channels: outputs, height: 1, width: count }
    : { data, channels: outputs, height, width };
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
