/** A stream taken apart: one segment, or several ("Segments" of docs/format.md). */

import { Reader } from "./container.js";
import { VqcError } from "./errors.js";
import { Symbols } from "./stream.js";

export class Segments {
  private readonly reader: Reader;

  /** The segments of a stream, which is one unless there are `several`; a cut one may end early. */
  constructor(
    stream: Uint8Array,
    private readonly cut: boolean,
    private readonly several: boolean,
  ) {
    this.reader = new Reader(stream);
  }

  /** Return what reads the next segment. Throws a VqcError (CorruptError) if it is not whole. */
  next(): Symbols {
    if (!this.several) return new Symbols(this.reader.bytes(this.left()), this.cut);
    const size = this.size();
    const missing = size > this.left();
    if (missing && !this.cut) throw new VqcError("CorruptError", "a segment is not whole");
    return new Symbols(this.reader.bytes(Math.min(size, this.left())), missing);
  }

  /** Throw a VqcError (CorruptError) if anything is left. */
  end(): void {
    if (this.left()) throw new VqcError("CorruptError", "bytes after the last segment");
  }

  private left(): number {
    return this.reader.data.length - this.reader.offset;
  }

  private size(): number {
    if (!this.left()) return 0; // zeros at the end are left out
    try {
      return this.reader.varint();
    } catch (error) {
      if (!(error instanceof VqcError && error.code === "TruncatedError")) throw error;
      if (!this.cut) throw new VqcError("CorruptError", "the size of a segment is not whole");
      this.reader.offset = this.reader.data.length;
      return 0;
    }
  }
}
