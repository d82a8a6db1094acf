/** Chains on large planes, strip by strip: what layers hold in between stays small. */

import { type Chain, type Engine, reach } from "./chain.js";
import { type Planes, zeros } from "./planes.js";

const POSITIONS = 2 ** 18;

/** Return an engine whose chains are computed for so many positions at a time, or one row. */
export function inStrips(engine: Engine, positions = POSITIONS): Engine {
  return {
    run: async (chain, planes) => {
      const margin = reach(chain);
      const { width, height } = planes;
      // A phase may hold no position.
      if (!(width * height)) return zeros(chain.at(-1)!.layer.outputs, height, width);
      if (width * height <= positions) return engine.run(chain, planes);
      // A map of each position on its own may take them for rows of one.
      const shaped = margin ? planes : { ...planes, height: width * height, width: 1 };
      const result = await byRows(engine, chain, shaped, margin, positions);
      return { ...result, width, height };
    },
    release: () => engine.release(),
  };
}

async function byRows(
  engine: Engine,
  chain: Chain,
  planes: Planes,
  margin: number,
  positions: number,
): Promise<Planes> {
  const { height, width } = planes;
  const rows = Math.max(Math.floor(positions / width), 1);
  const result = zeros(chain.at(-1)!.layer.outputs, height, width);
  for (let row = 0; row < height; row += rows) {
    const end = Math.min(row + rows, height);
    const from = Math.max(row - margin, 0);
    const seen = part(planes, from, Math.min(end + margin, height));
    const made = part(await engine.run(chain, seen), row - from, end - from);
    const area = (end - row) * width;
    for (let channel = 0; channel < made.channels; channel++) {
      const own = made.data.subarray(channel * area, (channel + 1) * area);
      result.data.set(own, (channel * height + row) * width);
    }
  }
  return result;
}

/** Some rows of planes. */
function part({ data, channels, height, width }: Planes, from: number, end: number): Planes {
  const result = zeros(channels, end - from, width);
  const area = (end - from) * width;
  for (let channel = 0; channel < channels; channel++) {
    const start = (channel * height + from) * width;
    result.data.set(data.subarray(start, start + area), channel * area);
  }
  return result;
}
