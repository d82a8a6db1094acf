/** What follows, and goes before, the linear maps between grids ("Transforms"). */

import type { Planes } from "./planes.js";

const BLOCK = 8;
const OVERLAP = 4; // samples of a block that the filter across a boundary replaces
const LIFTING: [parity: number, share: number][] = [
  [1, -1.586134342],
  [0, -0.05298011854],
  [1, 0.8829110762],
  [0, 0.4435068522],
];
const UNLIFTING: [parity: number, share: number][] = [...LIFTING]
  .reverse()
  .map(([parity, share]) => [parity, -share]);

/** Filter across the boundaries of blocks in place, along rows, then along columns. */
export function filter(planes: Planes, boundary: ArrayLike<number>): void {
  const { height, width } = planes;
  eachPlane(planes, (data) => {
    filterLines(data, boundary, { count: height, step: width }, { count: width, step: 1 });
    filterLines(data, boundary, { count: width, step: 1 }, { count: height, step: width });
  });
}

/** The 9/7 wavelet in place, along rows, then along columns. */
export function lift(planes: Planes): void {
  const { height, width } = planes;
  eachPlane(planes, (data) => {
    liftLines(data, LIFTING, { count: height, step: width }, { count: width, step: 1 });
    liftLines(data, LIFTING, { count: width, step: 1 }, { count: height, step: width });
  });
}

/** Undo `lift`. */
export function unlift(planes: Planes): void {
  const { height, width } = planes;
  eachPlane(planes, (data) => {
    liftLines(data, UNLIFTING, { count: width, step: 1 }, { count: height, step: width });
    liftLines(data, UNLIFTING, { count: height, step: width }, { count: width, step: 1 });
  });
}

/** How many lines, or samples of a line, there are, and how far apart they are in memory. */
interface Axis {
  count: number;
  step: number;
}

function eachPlane(planes: Planes, work: (data: Float32Array) => void): void {
  const area = planes.height * planes.width;
  for (let start = 0; start < planes.data.length; start += area) {
    work(planes.data.subarray(start, start + area));
  }
}

function filterLines(
  data: Float32Array,
  boundary: ArrayLike<number>,
  lines: Axis,
  samples: Axis,
): void {
  const m = Float64Array.from(boundary);
  const { step } = samples;
  for (let start = OVERLAP; start < samples.count - BLOCK; start += BLOCK) {
    for (let line = 0; line < lines.count; line++) {
      const from = line * lines.step + start * step;
      const a = data[from];
      const b = data[from + step];
      const c = data[from + 2 * step];
      const d = data[from + 3 * step];
      const e = data[from + 4 * step];
      const f = data[from + 5 * step];
      const g = data[from + 6 * step];
      const h = data[from + 7 * step];
      for (let k = 0, to = from; k < BLOCK ** 2; k += BLOCK, to += step) {
        const near = m[k] * a + m[k + 1] * b + m[k + 2] * c + m[k + 3] * d;
        data[to] = near + m[k + 4] * e + m[k + 5] * f + m[k + 6] * g + m[k + 7] * h;
      }
    }
  }
}

function liftLines(
  data: Float32Array,
  steps: [parity: number, share: number][],
  lines: Axis,
  samples: Axis,
): void {
  const last = samples.count - 1;
  for (const [parity, share] of steps) {
    for (let sample = parity; sample <= last; sample += 2) {
      const left = Math.abs(sample - 1) * samples.step; // mirrored about the outermost samples
      const right = (sample < last ? sample + 1 : last - 1) * samples.step;
      for (let line = 0; line < lines.count; line++) {
        const start = line * lines.step;
        data[start + sample * samples.step] += share * (data[start + left] + data[start + right]);
      }
    }
  }
}
