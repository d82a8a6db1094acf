/** Planes of floats, channel by channel, and how they move between grids. */

import type { Span } from "./tiles.js";

export interface Planes {
  data: Float32Array; // [channels, height, width]
  channels: number;
  height: number;
  width: number;
}

export function zeros(channels: number, height: number, width: number): Planes {
  return { data: new Float32Array(channels * height * width), channels, height, width };
}

/** The first so many channels; they share memory with all. */
export function first(planes: Planes, channels: number): Planes {
  const { height, width } = planes;
  return { ...planes, channels, data: planes.data.subarray(0, channels * height * width) };
}

/** Planes with others after them that are 0, so many in all. */
export function extended(planes: Planes, channels: number): Planes {
  const result = zeros(channels, planes.height, planes.width);
  result.data.set(planes.data);
  return result;
}

/** Some rows and columns of planes; all of them are the planes themselves. */
export function cropped(planes: Planes, rows: Span, columns: Span): Planes {
  const { data, channels, height, width } = planes;
  const [down, across] = [rows, columns].map(({ start, end }) => end - start);
  if (down === height && across === width) return planes;
  const result = zeros(channels, down, across);
  let to = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let row = rows.start; row < rows.end; row++, to += across) {
      const line = (channel * height + row) * width;
      result.data.set(data.subarray(line + columns.start, line + columns.end), to);
    }
  }
  return result;
}

/** Some planes, then others of the same grid. */
export function stacked(upper: Planes, lower: Planes): Planes {
  const result = extended(upper, upper.channels + lower.channels);
  result.data.set(lower.data, upper.data.length);
  return result;
}

/** Add to planes in place. */
export function add(planes: Planes, change: Planes): void {
  const { data } = planes;
  for (let place = 0; place < data.length; place++) data[place] += change.data[place];
}

/** The planes at some positions, in one row. */
export function picked(planes: Planes, places: Uint32Array): Planes {
  const result = zeros(planes.channels, 1, places.length);
  const area = planes.height * planes.width;
  for (let channel = 0, to = 0; channel < planes.channels; channel++) {
    const start = channel * area;
    for (const place of places) result.data[to++] = planes.data[start + place];
  }
  return result;
}

/** Add to planes in place, at some positions; `change` has these in one row. */
export function addAt(planes: Planes, places: Uint32Array, change: Planes): void {
  const area = planes.height * planes.width;
  for (let channel = 0, from = 0; channel < planes.channels; channel++) {
    const start = channel * area;
    for (const place of places) planes.data[start + place] += change.data[from++];
  }
}

/** Turn channel `side^2 c + side i + j` into channel c at row i, column j of a position. */
export function spread(planes: Planes, side: number): Planes {
  const { height, width, channels } = planes;
  const result = zeros(channels / side ** 2, height * side, width * side);
  let from = 0;
  eachCell(result, side, (to) => {
    for (let column = 0; column < width; column++) {
      result.data[to + column * side] = planes.data[from++];
    }
  });
  return result;
}

/** Undo `spread`. */
export function gathered(planes: Planes, side: number): Planes {
  const [height, width] = [planes.height / side, planes.width / side];
  const result = zeros(planes.channels * side ** 2, height, width);
  let to = 0;
  eachCell(planes, side, (from) => {
    for (let column = 0; column < width; column++) {
      result.data[to++] = planes.data[from + column * side];
    }
  });
  return result;
}

/** Visit where each row of each place in cells of `side` x `side` begins, place by place. */
function eachCell(fine: Planes, side: number, visit: (start: number) => void): void {
  for (let channel = 0; channel < fine.channels; channel++) {
    for (let cell = 0; cell < side ** 2; cell++) {
      for (let row = Math.floor(cell / side); row < fine.height; row += side) {
        visit((channel * fine.height + row) * fine.width + (cell % side));
      }
    }
  }
}
