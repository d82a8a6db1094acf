/** Files to indices and pixels. */

import type { Engine } from "./chain.js";
import { type Container, parse, Tag } from "./container.js";
import { VqcError } from "./errors.js";
import { Network } from "./network.js";
import { type Picture, toPixels } from "./picture.js";
import { plain } from "./plain.js";
import type { Planes } from "./planes.js";
import { readGrayPng } from "./png.js";
import { type LevelIndices, Prior } from "./prior.js";
import { Symbols } from "./stream.js";
import { inStrips } from "./strips.js";
import { hexadecimal, type Weights } from "./weights.js";

/** Above which pixels a file is refused unless it is told otherwise. */
export const MAX_PIXELS = 2 ** 24;

export interface ReadOptions {
  /** The weights, or several to choose from by a file's model id. */
  weights: Weights | readonly Weights[];
  /** Whether to take what is there of a file whose end is missing. */
  partial?: boolean;
  /** How many pixels a file may have; 2^24 if it is not said. */
  maxPixels?: number;
}

export interface DecodeOptions extends ReadOptions {
  /** What computes the network: `plain`, which is there if it is not said, or `onnx`. */
  engine?: () => Engine;
  /**
   * Called with a small picture, a pixel for each square of 8 x 8 as a rule, as soon as the coarse
   * levels are read; not if the file has opacity, since colours that it hides are not to be seen.
   */
  preview?: (picture: Picture, whole: { width: number; height: number }) => void;
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
  const { file, weights } = open(data, options);
  const engine = inStrips((options.engine ?? plain)());
  const hides = file.chunks.has(Tag.ALPHA) || file.chunks.has(Tag.COARSE_ALPHA);
  const shown = (planes: Planes) => {
    const [width, height] = [file.width, file.height].map((side) =>
      Math.ceil(side / weights.config.strides.at(-1)!),
    );
    const pixels = toPixels(planes, width, height, file.gray);
    options.preview?.(described(file, pixels, width, height), file);
  };
  try {
    const preview = options.preview && !hides ? shown : undefined;
    const pixels = await pixelsOf(file, weights, engine, preview);
    if (hides) {
      const opacity = await readOpacity(file, weights, engine);
      for (let place = 0; place < opacity.length; place++) pixels[4 * place + 3] = opacity[place];
    }
    return described(file, pixels, file.width, file.height);
  } finally {
    await engine.release();
  }
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
  const symbols = new Symbols(file.stream, file.cut);
  return new Prior(weights).levels(symbols, file.quality, file.height, file.width);
}

async function pixelsOf(
  file: Container,
  weights: Weights,
  engine: Engine,
  preview?: (planes: Planes) => void,
): Promise<Uint8ClampedArray<ArrayBuffer>> {
  const network = new Network(weights, file.quality, engine);
  const { width, height } = file;
  const planes = await network.picture(levels(file, weights), height, width, preview);
  return toPixels(planes, width, height, file.gray);
}

/** Opacity, a value a pixel. */
async function readOpacity(
  file: Container,
  weights: Weights,
  engine: Engine,
): Promise<Uint8ClampedArray | Uint8Array> {
  const { width, height, chunks } = file;
  const png = chunks.get(Tag.ALPHA);
  const coarse = chunks.get(Tag.COARSE_ALPHA);
  if (png && coarse) throw new VqcError("CorruptError", "opacity twice");
  if (coarse) {
    const quality = coarse[0]; // undefined if there is none
    if (!(quality >= 1 && quality <= 100)) {
      throw new VqcError("CorruptError", "coarse opacity without a quality");
    }
    const own = { ...file, gray: true, cut: false, quality, stream: coarse.subarray(1) };
    const pixels = await pixelsOf(own, weights, engine);
    return pixels.filter((_, place) => place % 4 === 0);
  }
  if (!png?.length) return new Uint8Array(width * height).fill(255);
  return readGrayPng(png, width, height);
}

function described(
  { chunks, gray, quality, cut }: Container,
  data: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): Picture {
  const alpha = chunks.has(Tag.ALPHA) || chunks.has(Tag.COARSE_ALPHA);
  const [icc, exif, xmp] = [Tag.ICC, Tag.EXIF, Tag.XMP].map((tag) => chunks.get(tag));
  return { width, height, data, gray, alpha, quality, cut, icc, exif, xmp };
}
