/** Large planes strip by strip: what is held in between stays small. */

import { type Engine, reach } from "./chain.js";
import { type Planes, zeros } from "./planes.js";

/** Return an engine that takes planes of any size, and hands another no more than it may have. */
export function inStrips(engine: Engine): Engine {
  return {
    ...engine,
    run: async (chain, planes) => {
      const { width, height } = planes;
      const margin = reach(chain);
      const count = width * height; // 0 where a phase holds no position
      if (count && count <= engine.positions) return engine.run(chain, planes);
      const result = zeros(chain.at(-1)!.layer.outputs, height, width);
      // A map of each position on its own may take them for rows of one.
      const shaped = ({ data, channels }: Planes): Planes =>
        margin ? { data, channels, height, width } : { data, channels, height: count, width: 1 };
      const rows = Math.max(Math.floor(engine.positions / shaped(planes).width), 1);
      const compute = (from: number, end: number) =>
        engine.run(chain, part(shaped(planes), from, end));
      await fillByRows(shaped(result), rows, margin, 1, compute);
      return result;
    },
  };
}

/**
 * Fill planes by so many rows at a time.
 *
 * `compute` gives rows from one on and before another, of which a margin is left out again. Rows are
 * counted in `unit` rows of the planes.
 */
export async function fillByRows(
  result: Planes,
  rows: number,
  margin: number,
  unit: number,
  compute: (from: number, end: number) => Promise<Planes>,
): Promise<void> {
  const height = result.height / unit;
  for (let row = 0; row < height; row += rows) {
    const end = Math.min(row + rows, height);
    const from = Math.max(row - margin, 0);
    const computed = await compute(from, Math.min(end + margin, height));
    const made = part(computed, unit * (row - from), unit * (end - from));
    const area = made.height * made.width;
    for (let channel = 0; channel < made.channels; channel++) {
      const own = made.data.subarray(channel * area, (channel + 1) * area);
      result.data.set(own, (channel * result.height + unit * row) * result.width);
    }
  }
}

/** Some rows of planes. */
export function part({ data, channels, height, width }: Planes, from: number, end: number): Planes {
  const result = zeros(channels, end - from, width);
  const area = (end - from) * width;
  for (let channel = 0; channel < channels; channel++) {
    const start = (channel * height + from) * width;
    result.data.set(data.subarray(start, start + area), channel * area);
  }
  return result;
}
