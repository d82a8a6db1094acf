/** Indices -> pixels, in floating point ("From indices to pixels" of docs/format.md). */

import type { Chain, Engine } from "./chain.js";
import { Folding } from "./folding.js";
import {
  add,
  addAt,
  cropped,
  extended,
  first,
  gathered,
  picked,
  type Planes,
  spread,
  stacked,
  zeros,
} from "./planes.js";
import { positions } from "./positions.js";
import type { LevelIndices } from "./prior.js";
import { reach } from "./reach.js";
import { cut, narrowed, type Span, type Tile, within } from "./tiles.js";
import { filter, lift, unlift } from "./transforms.js";
import { coarsestGrid, type Weights } from "./weights.js";

const COLOURS = 3;

/** The network of a weights file at one quality, computed by an engine. */
export class Network {
  private readonly folding: Folding;
  private readonly finest: number;

  constructor(
    private readonly weights: Weights,
    quality: number,
    private readonly engine: Engine,
  ) {
    this.folding = new Folding(weights, quality);
    this.finest = weights.config.strides.length - 1;
  }

  /** Return the means on the finest grid that the levels above it hold, which are taken. */
  async means(
    levels: Iterator<LevelIndices>,
    pixelRows: number,
    pixelColumns: number,
  ): Promise<Planes> {
    const { config } = this.weights;
    const [height, width] = coarsestGrid(config, pixelRows, pixelColumns);
    let t = zeros(COLOURS * config.strides[0] ** 2, height, width);
    let number = 0;
    for (let grid = 0; grid < this.finest; grid++) {
      if (grid) t = await this.entered(grid, await this.synthesis(grid - 1, t));
      for (const phases of config.phases[grid]) {
        await this.addLevel(`levels.${number++}`, phases, t, levels.next().value as LevelIndices);
      }
    }
    return this.synthesis(this.finest - 1, t);
  }

  /**
   * Return the planes R, G, B of a tile of the picture, around 0.
   *
   * From the means on the finest grid and the indices of its levels, both of the whole grid.
   */
  async tile(means: Planes, levels: readonly LevelIndices[], tile: Tile): Promise<Planes> {
    const { phases, pictureAfter, strides, synthesisBlocks } = this.weights.config;
    const numbers = phases.at(-1)!;
    const first = phases.flat().length - numbers.length;
    const sharpened = pictureAfter.filter((level) => level < numbers.length);
    // The way from means into a state looks one position away. Then the margin narrows, as less and
    // less is to come that looks at what is around.
    let wide = narrowed(tile, reach(this.weights, 0) + 1);
    let t = await this.entered(this.finest, cropped(means, wide.wideRows, wide.wideColumns));
    const narrow = (margin: number) => {
      const next = narrowed(wide, margin);
      const rows = within(next.wideRows, wide.wideRows);
      t = cropped(t, rows, within(next.wideColumns, wide.wideColumns));
      wide = next;
    };
    for (const [level, count] of numbers.entries()) {
      narrow(reach(this.weights, level));
      const indices = cut(levels[level], wide, means.height, means.width);
      await this.addLevel(`levels.${first + level}`, count, t, indices);
      const block = sharpened.indexOf(level);
      if (block >= 0) await this.sharpen(`sharpen.${block}`, t);
    }
    narrow(reach(this.weights, numbers.length));
    for (let block = 0; block < synthesisBlocks; block++) {
      await this.addBranch(`decoder.${block}`, t);
    }
    const x = await this.synthesis(this.finest, t);
    add(x, await this.pictureBlock("finish", x, t));
    const stride = strides[this.finest];
    const pixels = ({ start, end }: Span) => ({ start: stride * start, end: stride * end });
    const rows = within(wide.rows, wide.wideRows);
    return cropped(x, pixels(rows), pixels(within(wide.columns, wide.wideColumns)));
  }

  /** Return the state before the first level of a grid but the coarsest. */
  private async entered(grid: number, means: Planes): Promise<Planes> {
    const t = extended(means, COLOURS * this.weights.config.strides[grid] ** 2);
    await this.addBranch(`expand.${grid - 1}`, t);
    return t;
  }

  /** The planes R, G, B that means on the finest grid stand for, a pixel a position. */
  async pictureOfMeans(means: Planes): Promise<Planes> {
    // A block on its own has the colour that the transform makes of its means.
    const side = this.weights.config.strides[this.finest];
    const weight = new Float32Array(COLOURS ** 2);
    for (let mean = 0; mean < COLOURS; mean++) {
      const t = zeros(COLOURS * side ** 2, 1, 1);
      t.data[mean] = 1;
      const { data } = await this.synthesis(this.finest, t);
      for (const [place, value] of data.entries()) {
        weight[COLOURS * Math.floor(place / side ** 2) + mean] += value / side ** 2;
      }
    }
    const bias = new Float32Array(COLOURS);
    const layer = { weight, bias, inputs: COLOURS, outputs: COLOURS, side: 1 } as const;
    return this.engine.run([{ layer }], means);
  }

  // blocks

  private async addBranch(name: string, t: Planes): Promise<void> {
    add(t, await this.branch(name, t));
  }

  private branch(name: string, t: Planes): Promise<Planes> {
    const chain = this.folding.branch(name);
    return this.engine.run(chain, first(t, chain[0].layer.inputs));
  }

  private async sharpen(name: string, t: Planes): Promise<void> {
    const x = await this.synthesis(this.finest, t);
    add(t, await this.analysis(await this.pictureBlock(name, x, t)));
  }

  private async pictureBlock(name: string, x: Planes, t: Planes): Promise<Planes> {
    const { seen, change } = this.folding.pictureBlock(name);
    const side = this.weights.config.strides[this.finest];
    const behind = spread(await this.engine.run(seen, t), side / 2);
    return spread(await this.engine.run(change, stacked(gathered(x, 2), behind)), 2);
  }

  // a level

  private async addLevel(
    name: string,
    phases: number,
    t: Planes,
    indices: LevelIndices,
  ): Promise<void> {
    const { height, width } = t;
    for (let phase = 0; phase < phases; phase++) {
      const coded = positions(phases, phase, height, width);
      if (coded.length) {
        const z = this.codewords(`${name}.quantizer.groups`, indices, coded, height * width);
        await this.divideByGain(name, z, picked(t, coded));
        addAt(t, coded, await this.engine.run(this.folding.map(`${name}.unproject`), z));
      }
      const change = await this.branch(`${name}.refine.${phase}`, t);
      if (phase + 1 < phases) {
        const next = positions(phases, phase + 1, height, width);
        addAt(t, next, picked(change, next));
      } else {
        add(t, change);
      }
    }
  }

  /** What indices select at some positions, in one row. */
  private codewords(
    name: string,
    indices: LevelIndices,
    places: Uint32Array,
    area: number,
  ): Planes {
    const groups = indices.map((index, group) => {
      const { shape, data } = this.folding.array(`${name}.${group}.codewords`);
      const [tables, size, dimensions] = shape;
      return { index, data, tables, size, dimensions, books: index.length / area };
    });
    const channels = groups.reduce((sum, { books, dimensions }) => sum + books * dimensions, 0);
    const z = zeros(channels, 1, places.length);
    let to = 0;
    for (const { index, data, tables, size, dimensions, books } of groups) {
      for (let book = 0; book < books; book++) {
        const table = (book % tables) * size;
        for (let dimension = 0; dimension < dimensions; dimension++) {
          for (const place of places) {
            z.data[to++] = data[(table + index[book * area + place]) * dimensions + dimension];
          }
        }
      }
    }
    return z;
  }

  /** Divide codewords by the gain that follows the state where they belong; both change. */
  private async divideByGain(name: string, z: Planes, t: Planes): Promise<void> {
    const limit = this.weights.config.gainRange;
    const theory = Math.exp(this.folding.table(`${name}.log_step_gain`)[0]);
    const { data } = t;
    for (let place = 0; place < data.length; place++) {
      data[place] = Math.log(1 + Math.abs(theory * data[place]));
    }
    const adapted = await this.engine.run(this.folding.linear(`${name}.adapt`), t);
    const typical = this.folding.table(`${name}.log_gain.table`);
    const area = z.width;
    for (let place = 0; place < z.data.length; place++) {
      const following = limit * Math.tanh(adapted.data[place] / limit);
      z.data[place] /= Math.exp(typical[Math.floor(place / area)] + following);
    }
  }

  // transforms

  private async synthesis(grid: number, t: Planes): Promise<Planes> {
    const { strides, transforms } = this.weights.config;
    const name = `synthesis.${grid}`;
    const x = spread(await this.engine.run(this.basis(name), t), strides[grid]);
    if (transforms[grid] === "lapped") filter(x, this.folding.array(`${name}.boundary`).data);
    if (transforms[grid] === "wavelet") unlift(x);
    return x;
  }

  /** What planes of the picture, which are overwritten, are on the finest grid. */
  private analysis(x: Planes): Promise<Planes> {
    const { strides, transforms } = this.weights.config;
    const name = `analysis.${this.finest}`;
    const transform = transforms[this.finest];
    if (transform === "lapped") filter(x, this.folding.array(`${name}.boundary`).data);
    if (transform === "wavelet") lift(x);
    return this.engine.run(this.basis(name), gathered(x, strides[this.finest]));
  }

  private basis(name: string): Chain {
    return this.folding.map(`${name}.basis`);
  }
}
