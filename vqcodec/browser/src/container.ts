/** The bytes of a file around its stream: header, chunks, checksums ("Layout" of docs/format.md). */

import { crc16, crc32 } from "./checksums.js";
import { VqcError } from "./errors.js";

export const MAX_SIDE = 65536;
const MAGIC = [0x56, 0x51, 0x43];
const VERSION = 1;
const GRAY = 1;
const CHUNKS = 2;
const CUT = 4;
const FIRST_OPTIONAL_TAG = 128;

/** What the chunks of a file are known by. */
export const Tag = { ICC: 1, EXIF: 2, ALPHA: 3, COARSE_ALPHA: 4, XMP: 128 } as const;
const KNOWN = new Set<number>(Object.values(Tag));

/** A file, taken apart. The stream of a `cut` one may lack its end. */
export interface Container {
  modelId: Uint8Array;
  gray: boolean;
  cut: boolean;
  quality: number;
  width: number;
  height: number;
  chunks: Map<number, Uint8Array>;
  stream: Uint8Array;
}

/** Reads bytes from their front. */
export class Reader {
  offset = 0;

  constructor(readonly data: Uint8Array) {}

  bytes(count: number): Uint8Array {
    if (count > this.data.length - this.offset) {
      throw new VqcError("TruncatedError", "the file ends too early");
    }
    this.offset += count;
    return this.data.subarray(this.offset - count, this.offset);
  }

  byte(): number {
    return this.bytes(1)[0];
  }

  varint(): number {
    let value = 0;
    for (let place = 0; place < 5; place++) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** (7 * place);
      if (byte < 128) {
        if (value >= 2 ** 32 || (byte === 0 && place)) break;
        return value;
      }
    }
    throw new VqcError("CorruptError", "a number is not in its shortest form");
  }
}

/** Whether the last four bytes are the CRC-32 of those before them. */
function isSound(data: Uint8Array): boolean {
  const end = data.length - 4;
  if (end < 0) return false;
  const stored = new DataView(data.buffer, data.byteOffset + end, 4).getUint32(0, true);
  return crc32(data.subarray(0, end)) === stored;
}

/**
 * Take a file apart, or as much as there is of it if `partial`.
 *
 * Throws a VqcError, in the order of docs/format.md; memory is taken for nothing unchecked.
 */
export function parse(data: Uint8Array, partial: boolean, maxPixels: number): Container {
  const reader = new Reader(data);
  const { file, hasChunks } = readHeader(reader, maxPixels);
  const sound = isSound(data);
  let size: number;
  try {
    if (hasChunks) readChunks(reader, file.chunks, sound);
    size = reader.varint();
  } catch (error) {
    if (!partial || !(error instanceof VqcError && error.code === "TruncatedError")) throw error;
    file.cut = true;
    return file;
  }
  const end = reader.offset + size;
  const missing = end + 4 - data.length;
  if (missing > 0 && !partial) {
    throw new VqcError("TruncatedError", `${missing} bytes are missing at the file's end`);
  }
  if (missing < 0) throw new VqcError("CorruptError", `${-missing} bytes follow the file's end`);
  if (missing === 0 && !sound) throw new VqcError("CorruptError", "the checksum does not fit");
  file.stream = data.subarray(reader.offset, end);
  file.cut ||= missing > 0;
  return file;
}

function readHeader(reader: Reader, maxPixels: number): { file: Container; hasChunks: boolean } {
  const { data } = reader;
  if (MAGIC.some((byte, place) => place < data.length && data[place] !== byte)) {
    throw new VqcError("NotVqcError", "not a .vqc file");
  }
  reader.bytes(MAGIC.length);
  const version = reader.byte();
  if (version !== VERSION) {
    throw new VqcError("UnsupportedVersionError", `format version ${version}, this reads 1`);
  }
  const modelId = reader.bytes(4);
  const flags = reader.byte();
  const quality = reader.byte();
  const width = reader.varint();
  const height = reader.varint();
  const covered = data.subarray(0, reader.offset);
  const [low, high] = reader.bytes(2);
  if (crc16(covered) !== low + 256 * high) {
    throw new VqcError("CorruptError", "the header's checksum does not fit");
  }
  if (flags & ~(GRAY | CHUNKS | CUT)) {
    throw new VqcError("UnsupportedVersionError", `flags of a later version (${flags})`);
  }
  if (quality < 1 || quality > 100) throw new VqcError("CorruptError", `quality ${quality}`);
  if (!width || !height) throw new VqcError("CorruptError", `${width}x${height} pixels`);
  if (Math.max(width, height) > MAX_SIDE || width * height > maxPixels) {
    throw new VqcError("TooLargeError", `${width}x${height} pixels are above the limit`);
  }
  const gray = Boolean(flags & GRAY);
  const cut = Boolean(flags & CUT);
  const chunks = new Map<number, Uint8Array>();
  const stream = new Uint8Array();
  const file = { modelId, gray, cut, quality, width, height, chunks, stream };
  return { file, hasChunks: Boolean(flags & CHUNKS) };
}

/** Fill `chunks` one by one, so that those before a truncation are kept. */
function readChunks(reader: Reader, chunks: Map<number, Uint8Array>, sound: boolean): void {
  const count = reader.byte();
  if (!count) throw new VqcError("CorruptError", "chunks are announced, and there are none");
  let previous = -1;
  for (let number = 0; number < count; number++) {
    const tag = reader.byte();
    const size = reader.varint();
    if (tag <= previous) throw new VqcError("CorruptError", `chunk ${tag} after ${previous}`);
    if (!KNOWN.has(tag) && tag < FIRST_OPTIONAL_TAG) {
      // Only a sound file is a message from the future.
      const code = sound ? "UnsupportedVersionError" : "CorruptError";
      throw new VqcError(code, `an unknown chunk (tag ${tag})`);
    }
    const bytes = reader.bytes(size);
    if (KNOWN.has(tag)) chunks.set(tag, bytes);
    previous = tag;
  }
}
