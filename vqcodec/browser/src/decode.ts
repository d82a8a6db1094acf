/** Files to indices and pixels. */

import { type Container, parse } from "./container.js";
import { VqcError } from "./errors.js";
import { type LevelIndices, Prior } from "./prior.js";
import { Symbols } from "./stream.js";
import { hexadecimal, type Weights } from "./weights.js";

/** Above which pixels a file is refused unless it is told otherwise. */
export const MAX_PIXELS = 2 ** 25;

export interface ReadOptions {
  /** The weights, or several to choose from by a file's model id. */
  weights: Weights | readonly Weights[];
  /** Whether to take what is there of a file whose end is missing. */
  partial?: boolean;
  /** How many pixels a file may have; 2^25 if it is not said. */
  maxPixels?: number;
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
