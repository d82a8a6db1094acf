/** Indices -> pixels, in floating point ("From indices to pixels" of docs/format.md). */

import { type Chain, type Engine, reach } from "./chain.js";
import { Folding } from "./folding.js";
import {
  add,
  addAt,
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
import { fillByRows, part } from "./strips.js";
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

  /**
   * Return the picture's planes R, G, B, around 0, on whole squares of the coarsest grid.
   *
   * `preview` is shown such planes of a small picture, a pixel a position of the finest grid, as
   * soon as the levels above that grid are read.
   */
  async picture(
    levels: Iterator<LevelIndices>,
    pixelRows: number,
    pixelColumns: number,
    preview?: (planes: Planes) => void,
  ): Promise<Planes> {
    const { config } = this.weights;
    const sharpened = config.pictureAfter.filter((level) => level < config.phases.at(-1)!.length);
    const [height, width] = coarsestGrid(config, pixelRows, pixelColumns);
    let t = zeros(COLOURS * config.strides[0] ** 2, height, width);
    let number = 0;
    for (const [grid, numbers] of config.phases.entries()) {
      if (grid) {
        const means = await this.synthesis(grid - 1, t);
        if (grid === this.finest) preview?.(await this.pictureOfMeans(means));
        t = extended(means, COLOURS * config.strides[grid] ** 2);
        await this.addBranch(`expand.${grid - 1}`, t);
      }
      for (const [level, phases] of numbers.entries()) {
        await this.addLevel(`levels.${number++}`, phases, t, levels.next().value as LevelIndices);
        const block = sharpened.indexOf(level);
        if (grid === this.finest && block >= 0) await this.sharpen(`sharpen.${block}`, t);
      }
    }
    for (let block = 0; block < config.synthesisBlocks; block++) {
      await this.addBranch(`decoder.${block}`, t);
    }
    const x = await this.synthesis(this.finest, t);
    add(x, await this.pictureBlock("finish", x, t));
    return x;
  }

  /** The colours that means on the finest grid stand for, a pixel a position. */
  private async pictureOfMeans(means: Planes): Promise<Planes> {
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
    const halved = side / 2;
    const result = zeros(COLOURS, x.height, x.width);
    const rows = Math.max(Math.floor(this.engine.positions / (t.width * halved ** 2)), 1);
    const margin = Math.ceil(reach(change) / halved);
    await fillByRows(result, rows, margin, side, async (from, end) => {
      const behind = spread(await this.engine.run(seen, part(t, from, end)), halved);
      const before = gathered(part(x, side * from, side * end), 2);
      return spread(await this.engine.run(change, stacked(before, behind)), 2);
    });
    return result;
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
      const z = this.codewords(`${name}.quantizer.groups`, indices, coded, height * width);
      await this.divideByGain(name, z, picked(t, coded));
      addAt(t, coded, await this.engine.run(this.folding.map(`${name}.unproject`), z));
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

  /** Divide codewords in place by the gain that follows the state where they belong. */
  private async divideByGain(name: string, z: Planes, t: Planes): Promise<void> {
    const limit = this.weights.config.gainRange;
    const theory = Math.exp(this.folding.table(`${name}.log_step_gain`)[0]);
    const activity = { ...t, data: t.data.map((value) => Math.log1p(Math.abs(theory * value))) };
    const adapted = await this.engine.run(this.folding.linear(`${name}.adapt`), activity);
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
