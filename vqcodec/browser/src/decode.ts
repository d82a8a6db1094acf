/** Files to indices and pixels. */

import type { Engine } from "./chain.js";
import { type Container, parse, Tag } from "./container.js";
import { VqcError } from "./errors.js";
import { Network } from "./network.js";
import { type About, type Picture, type PictureTile, type Size, toPixels } from "./picture.js";
import { plain } from "./plain.js";
import { cropped, type Planes } from "./planes.js";
import { readGrayPng } from "./png.js";
import { type LevelIndices, Prior } from "./prior.js";
import { split } from "./tiles.js";
import { hexadecimal, type Weights } from "./weights.js";

/** Above which pixels a file is refused unless it is told otherwise. */
export const MAX_PIXELS = 2 ** 27;
const TILE_SIDE = 1024;

export interface ReadOptions {
  /** The weights, or several to choose from by a file's model id. */
  weights: Weights | readonly Weights[];
  /** Whether to take what is there of a file whose end is missing. */
  partial?: boolean;
  /** How many pixels a file may have; 2^27 if it is not said. */
  maxPixels?: number;
}

export interface DecodeOptions extends ReadOptions {
  /** What computes the network: `plain`, which is there if it is not said, or `onnx`. */
  engine?: () => Engine;
  /**
   * Called with a small picture, a pixel for each square of 8 x 8 as a rule, as soon as the coarse
   * levels are read; not if the file has opacity, since colours that it hides are not to be seen.
   */
  preview?: (picture: Picture, whole: Size) => void;
  /** How many pixels a tile has to a side at most; 1024 if it is not said. */
  tileSide?: number;
}

/**
 * Decode a file.
 *
 * Throws a VqcError; which one first, if several would do, is said in docs/format.md.
 */
export async function decode(
  data: ArrayBuffer | Uint8Array,
  options: DecodeOptions,
): Promise<Picture> {
  let pixels = new Uint8ClampedArray();
  const about = await decodeTiles(data, options, (tile, { width, height }) => {
    if (tile.width === width && tile.height === height) {
      pixels = tile.data;
      return;
    }
    if (!pixels.length) pixels = new Uint8ClampedArray(4 * width * height);
    for (let row = 0; row < tile.height; row++) {
      const line = tile.data.subarray(4 * row * tile.width, 4 * (row + 1) * tile.width);
      pixels.set(line, 4 * ((tile.top + row) * width + tile.left));
    }
  });
  return { ...about, data: pixels };
}

/**
 * Decode a file tile by tile, which `show` is called with as soon as they are there.
 *
 * The picture is nowhere as a whole. Throws a VqcError as `decode` does.
 */
export async function decodeTiles(
  data: ArrayBuffer | Uint8Array,
  options: DecodeOptions,
  show: (tile: PictureTile, whole: Size) => void,
): Promise<About> {
  const { file, weights } = open(data, options);
  const { width, height } = file;
  const engine = (options.engine ?? plain)();
  const hides = file.chunks.has(Tag.ALPHA) || file.chunks.has(Tag.COARSE_ALPHA);
  const preview = (planes: Planes) => {
    const pixels = toPixels(planes, planes.width, planes.height, file.gray);
    const small = { width: planes.width, height: planes.height };
    options.preview?.({ ...about(file, small), data: pixels }, { width, height });
  };
  try {
    const opacity = hides ? await readOpacity(file, weights, engine, options) : undefined;
    const previewed = options.preview && !hides ? preview : undefined;
    await eachTile(file, weights, engine, options, previewed, (tile) => {
      if (opacity) setOpacity(tile, opacity, width);
      show(tile, { width, height });
    });
  } finally {
    await engine.release();
  }
  return about(file, { width, height });
}

/**
 * Return the indices in a file, level by level, `[codebooks, rows, columns]` a group.
 *
 * Throws a VqcError.
 */
export function indices(data: ArrayBuffer | Uint8Array, options: ReadOptions): LevelIndices[] {
  const { file, weights } = open(data, options);
  return [...levels(file, weights)];
}

function open(
  data: ArrayBuffer | Uint8Array,
  { weights, partial = false, maxPixels = MAX_PIXELS }: ReadOptions,
): { file: Container; weights: Weights } {
  const file = parse(new Uint8Array(data as ArrayBuffer), partial, maxPixels);
  const id = hexadecimal(file.modelId);
  const fitting = [weights].flat().find(({ modelId }) => modelId === id);
  if (!fitting) throw new VqcError("UnknownModelError", `the file takes the weights ${id}`);
  return { file, weights: fitting };
}

function levels(file: Container, weights: Weights): Generator<LevelIndices, void> {
  const { stream, cut, quality, height, width } = file;
  return new Prior(weights).levels(stream, cut, quality, height, width);
}

/** Make the opaque tiles of a picture, one after the other. */
async function eachTile(
  file: Container,
  weights: Weights,
  engine: Engine,
  { tileSide = TILE_SIDE }: DecodeOptions,
  preview: ((planes: Planes) => void) | undefined,
  show: (tile: PictureTile) => void,
): Promise<void> {
  const network = new Network(weights, file.quality, engine);
  const { width, height } = file;
  const stride = weights.config.strides.at(-1)!;
  const read = levels(file, weights);
  const means = await network.means(read, height, width);
  if (preview) {
    const [rows, columns] = [height, width].map((side) => ({
      start: 0,
      end: Math.ceil(side / stride),
    }));
    preview(await network.pictureOfMeans(cropped(means, rows, columns)));
  }
  const fine = [...read];
  const side = Math.max(Math.floor(tileSide / stride), 1);
  for (const tile of split(means.height, means.width, side)) {
    const [top, left] = [stride * tile.rows.start, stride * tile.columns.start];
    // The last square of a grid may reach beyond the picture, and whole positions too.
    const rows = Math.min(stride * tile.rows.end, height) - top;
    const columns = Math.min(stride * tile.columns.end, width) - left;
    if (rows <= 0 || columns <= 0) continue;
    const planes = await network.tile(means, fine, tile);
    const data = toPixels(planes, columns, rows, file.gray);
    show({ left, top, width: columns, height: rows, data });
  }
}

/** Opacity, a value a pixel. */
async function readOpacity(
  file: Container,
  weights: Weights,
  engine: Engine,
  options: DecodeOptions,
): Promise<Uint8Array> {
  const { width, height, chunks } = file;
  const png = chunks.get(Tag.ALPHA);
  const coarse = chunks.get(Tag.COARSE_ALPHA);
  if (png && coarse) throw new VqcError("CorruptError", "opacity twice");
  const opacity = new Uint8Array(width * height);
  if (coarse) {
    const quality = coarse[0]; // undefined if there is none
    if (!(quality >= 1 && quality <= 100)) {
      throw new VqcError("CorruptError", "coarse opacity without a quality");
    }
    const own = { ...file, gray: true, cut: false, quality, stream: coarse.subarray(1) };
    await eachTile(own, weights, engine, options, undefined, (tile) => {
      eachPixel(tile, width, (pixel, at) => (opacity[pixel] = tile.data[at]));
    });
    return opacity;
  }
  if (!png?.length) return opacity.fill(255);
  return readGrayPng(png, width, height);
}

function setOpacity(tile: PictureTile, opacity: Uint8Array, width: number): void {
  eachPixel(tile, width, (pixel, at) => (tile.data[at + 3] = opacity[pixel]));
}

/** Visit the pixels of a tile: their places in a picture of such a width, and in the tile's data. */
function eachPixel(
  tile: PictureTile,
  width: number,
  visit: (pixel: number, at: number) => void,
): void {
  for (let row = 0, at = 0; row < tile.height; row++) {
    const line = (tile.top + row) * width + tile.left;
    for (let column = 0; column < tile.width; column++, at += 4) visit(line + column, at);
  }
}

function about({ chunks, gray, quality, cut }: Container, size: Size): About {
  const alpha = chunks.has(Tag.ALPHA) || chunks.has(Tag.COARSE_ALPHA);
  const [icc, exif, xmp] = [Tag.ICC, Tag.EXIF, Tag.XMP].map((tag) => chunks.get(tag));
  return { ...size, gray, alpha, quality, cut, icc, exif, xmp };
}
