/** Stream -> indices, in integers ("From the stream to indices" of docs/format.md). */

import {
  among,
  applied,
  type BytePlanes,
  type IntegerLayer,
  integerLayer,
  lookUp,
  part,
  picked,
  spread,
} from "./integers.js";
import { positions } from "./positions.js";
import { Segments } from "./segments.js";
import { type Frequencies, frequenciesOf, type Symbols } from "./stream.js";
import { codedTiles, type Part, paste } from "./tiles.js";
import { coarsestGrid, type Weights } from "./weights.js";

const CLASSES = 64;
const BLOCK = 2048; // symbols of a codebook that may share a flag
const FEWEST = 256; // of quiet classes, for which there is one
const ALL = 2 ** 24; // of the counts of a class
const QUIET = 2 ** 13;
const FLAGS = frequenciesOf([ALL - 2 ** 19, 2 ** 19]);

/** The indices of a level, a group of codebooks each: `[codebooks, rows, columns]`. */
export type LevelIndices = Uint16Array[];

/** Reads indices with the integers of a weights file. */
export class Prior {
  private readonly layers = new Map<string, IntegerLayer>();
  private readonly rows = new Map<string, Frequencies>();

  constructor(private readonly weights: Weights) {}

  /**
   * Yield the indices of level after level of a picture of so many pixels.
   *
   * Throws a VqcError (CorruptError) for a stream that no encoder makes.
   */
  *levels(
    stream: Uint8Array,
    cut: boolean,
    quality: number,
    pixelRows: number,
    pixelColumns: number,
  ): Generator<LevelIndices, void> {
    const { config } = this.weights;
    const [height, width] = coarsestGrid(config, pixelRows, pixelColumns);
    const times = config.strides.slice(0, -1).reduce((product, stride) => product * stride, 1);
    const tiles = codedTiles(times * height, times * width);
    const segments = new Segments(stream, cut, tiles.length > 1);
    const symbols = segments.next();
    const nothing = { data: new Int8Array(), channels: 0, height, width };
    let features = withQuality(quality, nothing);
    let number = 0;
    for (const [grid, levels] of config.phases.entries()) {
      if (grid === config.phases.length - 1 && tiles.length > 1) {
        yield* this.inTiles(number, levels, features, quality, segments, tiles);
        return;
      }
      const read: LevelIndices[] = [];
      for (const phases of levels) {
        const level = this.level(number++, phases, features, quality, symbols);
        features = level.features;
        read.push(level.indices);
        yield level.indices;
      }
      if (grid < config.phases.length - 1) {
        features = withQuality(quality, this.upsampled(grid, features, read, number));
      }
    }
  }

  /** Yield the levels of a finest grid that is coded in tiles; the first of them is `number`. */
  private *inTiles(
    number: number,
    levels: number[],
    whole: BytePlanes,
    quality: number,
    segments: Segments,
    tiles: Part[],
  ): Generator<LevelIndices, void> {
    const { height, width } = whole;
    const features = tiles.map(({ rows, columns }) => part(whole, rows, columns));
    for (const phases of levels) {
      const books = this.codebooks(number);
      const indices = books.map((count) => new Uint16Array(count * height * width));
      for (const [place, tile] of tiles.entries()) {
        const level = this.level(number, phases, features[place], quality, segments.next());
        features[place] = level.features;
        paste(level.indices, tile, indices, height, width);
      }
      number++;
      yield indices;
    }
    segments.end();
  }

  private level(
    number: number,
    phases: number,
    before: BytePlanes,
    quality: number,
    symbols: Symbols,
  ): { indices: LevelIndices; features: BytePlanes } {
    const { height, width } = before;
    const books = this.codebooks(number);
    const indices = books.map((count) => new Uint16Array(count * height * width));
    const state = applied(this.layer(`prior.${number}.0.update`), before);
    const features = among(state, state.channels + this.dimensions(number), 0);
    for (let phase = 0; phase < phases; phase++) {
      const name = `prior.${number}.${phase}`;
      const coded = positions(phases, phase, height, width);
      // Of later phases nothing but classes is needed, and these at their own positions alone.
      const updated = phase
        ? applied(this.layer(`${name}.update`), features, coded)
        : picked(state, coded);
      const hidden = applied(this.layer(`${name}.hidden`), updated);
      const slope = this.weights.numbers(`${name}.slope`);
      const offset = Float64Array.from(slope, (each) => each * quality);
      const outputs = applied(this.layer(`${name}.head`), hidden, undefined, offset);
      let first = 0;
      for (const [group, index] of indices.entries()) {
        const classes = (book: number, place: number) =>
          outputs.data[place * outputs.channels + first + book] >> 1;
        this.readGroup(`tables.${number}.${group}`, symbols, index, books[group], classes, coded);
        first += books[group];
      }
      this.lookUp(features, state.channels, number, "magnitudes", indices, coded);
    }
    return { indices, features };
  }

  /** Read a group's indices at the positions of a phase, which have `classes`. */
  private readGroup(
    name: string,
    symbols: Symbols,
    index: Uint16Array,
    books: number,
    classes: (book: number, place: number) => number,
    coded: Uint32Array,
  ): void {
    const area = index.length / books;
    const [tables, , size] = this.weights.array(name).shape;
    const sharing = books / tables; // codebooks of a table
    for (let table = 0; table < tables; table++) {
      const first = table * sharing;
      const own = new Uint8Array(sharing * coded.length);
      for (let book = 0, symbol = 0; book < sharing; book++) {
        for (let place = 0; place < coded.length; place++) {
          own[symbol++] = classes(first + book, place);
        }
      }
      hush(own, coded.length, this.quiet(name, table, size), symbols);
      const counts = new Uint32Array(CLASSES + 1);
      for (const class_ of own) counts[class_]++;
      const places = Array.from(counts.subarray(0, CLASSES), (count) => new Uint32Array(count));
      counts.fill(0);
      for (let book = 0, symbol = 0; book < sharing; book++) {
        for (let place = 0; place < coded.length; place++) {
          const class_ = own[symbol++];
          if (class_ === CLASSES) continue;
          places[class_][counts[class_]++] = (first + book) * area + coded[place];
        }
      }
      for (const [class_, here] of places.entries()) {
        if (!here.length) continue;
        const read = symbols.read(this.row(name, table * CLASSES + class_, size), here.length);
        for (let place = 0; place < here.length; place++) index[here[place]] = read[place];
      }
    }
  }

  /** Return the planes on grid `grid + 1` that all of the one before gives; levels end at `end`. */
  private upsampled(
    grid: number,
    features: BytePlanes,
    levels: LevelIndices[],
    end: number,
  ): BytePlanes {
    const { height, width } = features;
    const numbers = levels.map((_, level) => end - levels.length + level);
    const sizes = numbers.map((number) => this.dimensions(number));
    const earlier = numbers.slice(0, -1);
    const added = [...sizes.slice(0, -1), ...sizes].reduce((sum, size) => sum + size, 0);
    const known = among(features, features.channels + added, 0);
    const all = positions(1, 0, height, width);
    let channel = features.channels;
    for (const [level, number] of earlier.entries()) {
      this.lookUp(known, channel, number, "magnitudes", levels[level], all);
      channel += sizes[level];
    }
    for (const [level, number] of numbers.entries()) {
      this.lookUp(known, channel, number, "values", levels[level], all);
      channel += sizes[level];
    }
    const fine = applied(this.layer(`prior.upsample.${grid}`), known);
    return spread(fine, this.weights.config.strides[grid]);
  }

  /** Write what a level's indices select at some positions into planes, from a channel on. */
  private lookUp(
    planes: BytePlanes,
    channel: number,
    number: number,
    kind: "magnitudes" | "values",
    indices: LevelIndices,
    places: Uint32Array,
  ): void {
    const books = this.codebooks(number);
    for (const [group, index] of indices.entries()) {
      const { shape, data } = this.weights.array(`prior.${number}.${kind}.${group}`);
      lookUp(planes, channel, index, books[group], shape, data, places);
      channel += books[group] * shape[2];
    }
  }

  /** How many codebooks each group of a level has. */
  private codebooks(number: number): number[] {
    return this.weights.config.groups[number].map(([, , count]) => count);
  }

  /** How many planes the indices of a level stand for. */
  private dimensions(number: number): number {
    const groups = this.weights.config.groups[number];
    return groups.reduce((sum, [dimensions, , count]) => sum + dimensions * count, 0);
  }

  private layer(name: string): IntegerLayer {
    let layer = this.layers.get(name);
    if (!layer) {
      const { shape, data } = this.weights.array(`${name}.weight`);
      layer = integerLayer(data, this.weights.numbers(`${name}.bias`), shape);
      this.layers.set(name, layer);
    }
    return layer;
  }

  /** Which classes of a table are quiet. */
  private quiet(name: string, table: number, size: number): boolean[] {
    const counts = this.weights.numbers(name);
    const rows = Array.from({ length: CLASSES }, (_, class_) => table * CLASSES + class_);
    return rows.map((row) => counts[row * size] >= ALL - QUIET);
  }

  private row(name: string, row: number, size: number): Frequencies {
    const key = `${name} ${row}`;
    let frequencies = this.rows.get(key);
    if (!frequencies) {
      const counts = this.weights.numbers(name).subarray(row * size, (row + 1) * size);
      frequencies = frequenciesOf(counts);
      this.rows.set(key, frequencies);
    }
    return frequencies;
  }
}

/** Read the flags of a table; give symbols that they spare CLASSES for a class. */
function hush(classes: Uint8Array, size: number, quiet: boolean[], symbols: Symbols): void {
  const blocks: Uint8Array[] = [];
  for (let book = 0; book < classes.length; book += size) {
    for (let start = book; start < book + size; start += BLOCK) {
      const block = classes.subarray(start, Math.min(start + BLOCK, book + size));
      let count = 0;
      for (const class_ of block) if (quiet[class_]) count++;
      if (count >= FEWEST) blocks.push(block);
    }
  }
  for (const [number, flag] of symbols.read(FLAGS, blocks.length).entries()) {
    if (flag) continue;
    const block = blocks[number];
    for (let place = 0; place < block.length; place++) {
      if (quiet[block[place]]) block[place] = CLASSES;
    }
  }
}

/** The quality planes, then those given. */
function withQuality(quality: number, planes: BytePlanes): BytePlanes {
  const constants = [0, 1, 2].map((knot) => {
    const hat = Math.max(0, 99 - Math.abs(2 * (quality - 1) - 99 * knot));
    return Math.floor((127 * 2 * hat + 99) / 198);
  });
  const result = among(planes, constants.length + planes.channels, constants.length);
  const places = planes.height * planes.width;
  for (let place = 0; place < places; place++) result.data.set(constants, place * result.channels);
  return result;
}
