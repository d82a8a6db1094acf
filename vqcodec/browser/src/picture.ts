/** Planes of floats to pixels. */

import type { Planes } from "./planes.js";

const OPAQUE = 255;

export interface Size {
  width: number;
  height: number;
}

/** What is known of a picture beside its pixels. */
export interface About extends Size {
  gray: boolean;
  /** Whether the file says how opaque its pixels are. */
  alpha: boolean;
  quality: number;
  /** Whether the picture lacks what stood at the end of a stream that was cut. */
  cut: boolean;
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
}

/** A decoded picture, which may be taken for an ImageData: sRGB unless there is a profile. */
export interface Picture extends About {
  /** R, G, B and opacity of pixel after pixel; of a gray picture R, G and B are equal. */
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** A part of a picture, with pixels as there. */
export interface PictureTile extends Size {
  left: number;
  top: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** Return the first columns and rows of planes R, G, B as opaque pixels. */
export function toPixels(
  x: Planes,
  width: number,
  height: number,
  gray: boolean,
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * width * height);
  const area = x.width * x.height;
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0; column < width; column++, to += 4) {
      const place = row * x.width + column;
      for (let colour = 0; colour < 3; colour++) {
        pixels[to + colour] = 255 * (x.data[colour * area + place] / 4 + 0.5);
      }
      if (gray) pixels.fill(luma(pixels, to), to, to + 3);
      pixels[to + 3] = OPAQUE;
    }
  }
  return pixels;
}

function luma(pixels: Uint8ClampedArray, at: number): number {
  return (19595 * pixels[at] + 38470 * pixels[at + 1] + 7471 * pixels[at + 2] + 32768) >> 16;
}
