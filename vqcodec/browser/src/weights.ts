/** The weights of a network: configuration, arrays, and the id by which files name them. */

import { VqcError } from "./errors.js";
import { type NumberArray, type Numbers, readSafetensors } from "./safetensors.js";

export type Transform = "dct" | "lapped" | "wavelet";
export type Activation = "rooted" | "relu";

/** What a decoder goes by: the keys of `vqcodec_config` that docs/format.md lists. */
export interface Config {
  strides: number[];
  transforms: Transform[];
  /** Of each grid, how many phases each of its levels has. */
  phases: number[][];
  /** Of each level, the groups of its codebooks. */
  groups: [dimensions: number, codewords: number, codebooks: number][][];
  activation: Activation;
  pictureAfter: number[];
  gainRange: number;
  synthesisBlocks: number;
}

/** A network's arrays by their names in docs/format.md. */
export class Weights {
  constructor(
    readonly modelId: string,
    readonly config: Config,
    private readonly arrays: ReadonlyMap<string, NumberArray>,
  ) {}

  has(name: string): boolean {
    return this.arrays.has(name);
  }

  /** Return an array. Throws a VqcError (ModelError) if there is none of that name. */
  array(name: string): NumberArray {
    const array = this.arrays.get(name);
    if (!array) throw new VqcError("ModelError", `the weights lack ${name}`);
    return array;
  }

  numbers(name: string): Numbers {
    return this.array(name).data;
  }

  /** Return `name.0`, `name.1`, … as far as there are any. */
  groups(name: string): NumberArray[] {
    const found = [];
    while (this.has(`${name}.${found.length}`)) found.push(this.array(`${name}.${found.length}`));
    return found;
  }
}

/**
 * Read a weights file (`.safetensors`), which is what a `.vqc` file's model id names.
 *
 * Throws a VqcError (ModelError) for what is none. Takes Web Crypto, which pages have that come
 * from https, from this machine or from a file.
 */
export async function loadWeights(data: ArrayBuffer | Uint8Array): Promise<Weights> {
  const bytes = new Uint8Array(data as ArrayBuffer);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return readWeights(bytes, hexadecimal(digest.subarray(0, 4)));
}

/**
 * Read what decoding takes of the weights file that `.vqc` files name by a model id.
 *
 * Throws a VqcError (ModelError).
 */
export function readWeights(data: Uint8Array, modelId: string): Weights {
  const { metadata, arrays } = readSafetensors(data);
  return new Weights(modelId, readConfig(metadata), arrays);
}

export function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function readConfig(metadata: Record<string, string>): Config {
  let stored: Record<string, any>;
  try {
    stored = JSON.parse(metadata["vqcodec_config"]);
  } catch {
    throw new VqcError("ModelError", "the weights lack their configuration");
  }
  const config: Config = {
    strides: stored["strides"] ?? [8, 8],
    transforms: stored["transforms"] ?? ["lapped", "lapped"],
    phases: stored["phases"],
    groups: stored["groups"],
    activation: stored["activation"] ?? "rooted",
    pictureAfter: stored["picture_after"] ?? [1, 3],
    gainRange: stored["gain_range"] ?? 1,
    synthesisBlocks: stored["synthesis_blocks"] ?? 2,
  };
  const { strides, transforms, phases, groups } = config;
  const known =
    Array.isArray(phases) &&
    Array.isArray(groups) &&
    strides.length === phases.length &&
    strides.length === transforms.length &&
    transforms.every((kind) => ["dct", "lapped", "wavelet"].includes(kind)) &&
    ["rooted", "relu"].includes(config.activation);
  if (!known) throw new VqcError("ModelError", "the weights are of a network not known here");
  return config;
}

/** The rows and columns of the coarsest grid of a picture. */
export function coarsestGrid(config: Config, height: number, width: number): [number, number] {
  const side = config.strides.reduce((product, stride) => product * stride, 1);
  return [Math.ceil(height / side), Math.ceil(width / side)];
}
