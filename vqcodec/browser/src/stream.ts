/**
 * The range coder and streams that were cut, exact in doubles.
 *
 * Range and offset have 64 bits. Each is kept as `high * 2^24 + low`, with a high part of 40 bits,
 * which is what a range is divided into; products with frequencies are taken in parts of 20 bits.
 */

import { VqcError } from "./errors.js";

const BITS_24 = 2 ** 24;
const BITS_20 = 2 ** 20;
const PART_BITS = 14; // of 24: how wide a part of all frequencies is
const INVALID = -1;
const WORDS_AFTER_A_CUT = 4;

/** How the symbols of a table share 2^24. */
export interface Frequencies {
  /** Where the interval of each symbol begins, and 2^24. */
  cumulative: Uint32Array;
  /** The symbol whose interval holds the beginning of each part, and the last symbol. */
  starts: Uint16Array;
}

/** Reads symbols from 32-bit words, which four words of `ending` follow, then zeros without end. */
export class RangeDecoder {
  private next = 0;
  private range = 2 ** 40 - 1; // >> 24: its lower bits have no part in what is read
  private high: number;
  private low: number;
  private productHigh = 0;
  private productLow = 0;

  constructor(
    private readonly words: Uint32Array,
    private readonly ending: number,
  ) {
    const first = this.word();
    const second = this.word();
    this.high = first * 256 + (second >>> 24);
    this.low = second & (BITS_24 - 1);
  }

  private word(): number {
    const place = this.next++;
    if (place < this.words.length) return this.words[place];
    return place < this.words.length + WORDS_AFTER_A_CUT ? this.ending : 0;
  }

  private multiply(frequency: number): void {
    const upper = Math.floor(this.range / BITS_20);
    const top = upper * frequency;
    const sixteenths = Math.floor(top / 16);
    const bottom = (this.range - upper * BITS_20) * frequency + (top - sixteenths * 16) * BITS_20;
    const carry = Math.floor(bottom / BITS_24);
    this.productHigh = sixteenths + carry;
    this.productLow = bottom - carry * BITS_24;
  }

  /** Return a symbol, or INVALID. */
  symbol({ cumulative, starts }: Frequencies): number {
    if (this.high >= this.range) return INVALID;
    // Rounded, this may be one off; the offset within the interval tells.
    const quotient = Math.floor((this.high * BITS_24 + this.low) / this.range);
    const quantile = Math.min(quotient, BITS_24 - 1);
    const part = quantile >> PART_BITS;
    let symbol = starts[part];
    for (let end = starts[part + 1] + 1; end - symbol > 1;) {
      const middle = (symbol + end) >> 1;
      if (cumulative[middle] <= quantile) symbol = middle;
      else end = middle;
    }
    for (;;) {
      this.multiply(cumulative[symbol]);
      let high = this.high - this.productHigh;
      let low = this.low - this.productLow;
      if (low < 0) {
        low += BITS_24;
        high -= 1;
      }
      if (high < 0) {
        symbol -= 1;
        continue;
      }
      this.multiply(cumulative[symbol + 1] - cumulative[symbol]);
      if (high > this.productHigh || (high === this.productHigh && low >= this.productLow)) {
        symbol += 1;
        continue;
      }
      this.narrow(high, low);
      return symbol;
    }
  }

  /** Take the last product for the range, and an offset within it. */
  private narrow(high: number, low: number): void {
    if (this.productHigh >= 256) {
      this.range = this.productHigh;
      this.high = high;
      this.low = low;
      return;
    }
    const word = this.word();
    this.range = (this.productHigh * BITS_24 + this.productLow) * 256;
    this.high = (high * BITS_24 + low) * 256 + (word >>> 24);
    this.low = word & (BITS_24 - 1);
  }
}

/** Reads symbols; of a cut stream those that do not depend on what is missing. */
export class Symbols {
  private readonly decoders: RangeDecoder[];
  private over = false;

  constructor(stream: Uint8Array, cut: boolean) {
    const count = cut ? Math.floor(stream.length / 4) : Math.ceil(stream.length / 4);
    const padded = new Uint8Array(4 * count);
    padded.set(stream.subarray(0, padded.length));
    const view = new DataView(padded.buffer);
    const words = Uint32Array.from({ length: count }, (_, place) =>
      view.getUint32(4 * place, true),
    );
    const endings = cut ? [0, 0xffffffff] : [0];
    this.decoders = endings.map((ending) => new RangeDecoder(words, ending));
  }

  /** Return the next `count` symbols, which share a table. Throws a VqcError if there are none. */
  read(frequencies: Frequencies, count: number): Uint16Array {
    const symbols = new Uint16Array(count);
    if (this.over) return symbols;
    const [decoder, other] = this.decoders;
    if (other === undefined) {
      for (let place = 0; place < count; place++) {
        const symbol = decoder.symbol(frequencies);
        if (symbol === INVALID) throw new VqcError("CorruptError", "the stream is invalid");
        symbols[place] = symbol;
      }
      return symbols;
    }
    let differs = count;
    for (let place = 0; place < count; place++) {
      const symbol = decoder.symbol(frequencies);
      const second = other.symbol(frequencies);
      if (symbol === INVALID || second === INVALID) {
        this.over = true;
        return symbols.fill(0);
      }
      symbols[place] = symbol;
      if (symbol !== second) differs = Math.min(differs, place);
    }
    this.over = differs < count;
    return symbols.fill(0, differs);
  }
}

/** Return the frequencies of as many symbols as there are counts, which sum to 2^24. */
export function frequenciesOf(counts: ArrayLike<number>): Frequencies {
  const size = counts.length;
  const cumulative = new Uint32Array(size + 1);
  let before = 0;
  for (let symbol = 0; symbol < size; symbol++) {
    cumulative[symbol] = Math.floor((before * (BITS_24 - size)) / BITS_24) + symbol;
    before += counts[symbol];
  }
  cumulative[size] = BITS_24;
  const starts = new Uint16Array((BITS_24 >> PART_BITS) + 1);
  for (let part = 0, symbol = 0; part < starts.length; part++) {
    while (symbol + 1 < size && cumulative[symbol + 1] <= part << PART_BITS) symbol++;
    starts[part] = symbol;
  }
  return { cumulative, starts };
}
