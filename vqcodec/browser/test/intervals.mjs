/** The range decoder against one in BigInt: at the ends of intervals, and on random words. */

import assert from "node:assert";

import { frequenciesOf, RangeDecoder } from "../dist/stream.js";

const ENDING = 0; // of the words
const WORD = 32n;

/** As docs/format.md has it, word for word. */
class Exact {
  constructor(words) {
    this.words = [...words];
    this.r = 2n ** 64n - 1n;
    this.d = (this.word() << WORD) | this.word();
  }

  word() {
    return BigInt(this.words.shift() ?? 0);
  }

  symbol(cumulative) {
    const s = this.r >> 24n;
    const q = this.d / s;
    if (q >= 2n ** 24n) return -1;
    const symbol = cumulative.findLastIndex((frequency) => BigInt(frequency) <= q);
    this.d -= s * BigInt(cumulative[symbol]);
    this.r = s * BigInt(cumulative[symbol + 1] - cumulative[symbol]);
    if (this.r < 2n ** 32n) {
      this.r <<= WORD;
      this.d = (this.d << WORD) | this.word();
    }
    return symbol;
  }
}

let state = 1;
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

/** Counts that sum to 2^24: many of 1, and a few large ones. */
function counts(size) {
  const result = Array(size).fill(1);
  for (let left = 2 ** 24 - size; left > 0;) {
    const part = Math.min(left, 1 + random(2 ** (1 + random(24))));
    result[random(size)] += part;
    left -= part;
  }
  return result;
}

function same(words, tables) {
  const [decoder, exact] = [new RangeDecoder(Uint32Array.from(words), ENDING), new Exact(words)];
  for (const frequencies of tables) {
    const expected = exact.symbol(frequencies.cumulative);
    assert.strictEqual(decoder.symbol(frequencies), expected);
    if (expected < 0) return;
  }
}

for (let round = 0; round < 40; round++) {
  const tables = Array.from({ length: 60 }, () => frequenciesOf(counts(2 + random(400))));
  const step = 2n ** 40n - 1n; // s of the first symbol
  for (const frequency of tables[0].cumulative) {
    for (const beside of [-1n, 0n, 1n]) {
      const d = BigInt.asUintN(64, step * BigInt(frequency) + beside);
      const words = [d >> WORD, d & (2n ** WORD - 1n)].map(Number);
      same([...words, random(2 ** 32), random(2 ** 32)], tables.slice(0, 8));
    }
  }
  same(
    Array.from({ length: 80 }, () => random(2 ** 32)),
    tables,
  );
}
