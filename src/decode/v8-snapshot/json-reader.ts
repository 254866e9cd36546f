import { HeapdumpError } from "../../errors.js";
import { createTextPool, type TextPool } from "./text-pool.js";

/** What a part that is parsed whole may hold: only the small description of the fields is. Unit: bytes. */
const partBytesMax = 1 << 24;
/** Rows of numbers that are handed on together. */
const rowsAtOnce = 1 << 13;
const quote = 0x22;
const comma = 0x2c;
const opening = 0x5b;
const backslash = 0x5c;
const closing = 0x5d;

/** Reads JSON from chunks, piece by piece. Asynchronous where a chunk ends, synchronous within. */
export class JsonReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #path: string;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #offsetOfBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>, path: string) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#path = path;
  }

  /** Lets the source close its file. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  fail(what: string): never {
    const offset = this.#offsetOfBytes + this.#at;
    throw new HeapdumpError("decode/corrupt", `${this.#path}: byte ${offset}: ${what}`);
  }

  async expect(character: string): Promise<void> {
    await this.oneOf(character);
  }

  /** Skips white space and takes the next character, which must be one of these. */
  async oneOf(characters: string): Promise<string> {
    const found = String.fromCharCode(await this.#peek());
    if (!characters.includes(found)) {
      this.fail(`expected ${[...characters].join(" or ")}, found ${JSON.stringify(found)}`);
    }
    this.#at++;
    return found;
  }

  /** Nothing but white space may follow. */
  async end(): Promise<void> {
    for (;;) {
      for (; this.#at < this.#bytes.length; this.#at++) {
        if ((this.#bytes[this.#at] as number) > 0x20) this.fail("something follows the snapshot");
      }
      if (!(await this.#next())) return;
    }
  }

  /**
   * An array of whole numbers below 2^53, in rows of `width`. The rows are handed on in parts; the receiver must use
   * them before it returns.
   *
   * @param rows - how many there must be; undefined: any number
   * @returns how many there were
   */
  async rows(
    name: string,
    width: number,
    rows: number | undefined,
    take: (numbers: Float64Array, rowFirst: number, rowCount: number) => void,
  ): Promise<number> {
    const numbers = new Float64Array(rowsAtOnce * width);
    const numberMax = rows === undefined ? Infinity : rows * width;
    let filled = 0;
    let before = 0;
    const flush = (): void => {
      take(numbers, before / width, filled / width);
      before += filled;
      filled = 0;
    };
    await this.expect("[");
    if ((await this.#peek()) === closing) this.#at++;
    else {
      let value = 0;
      /** 0: a number must begin; 1: within one; 2: behind one, in white space. */
      let state = 0;
      scan: for (;;) {
        const bytes = this.#bytes;
        const length = bytes.length;
        for (let at = this.#at; at < length; at++) {
          const byte = bytes[at] as number;
          const digit = byte - 0x30;
          if (digit >= 0 && digit <= 9 && state < 2) {
            value = value * 10 + digit;
            state = 1;
          } else if (byte === comma || byte === closing) {
            if (state === 0 || value > Number.MAX_SAFE_INTEGER) {
              this.#at = at;
              this.fail(`${name}: expected a number`);
            }
            if (before + filled >= numberMax) {
              this.#at = at;
              this.fail(`${name}: more than the ${numberMax} numbers announced`);
            }
            numbers[filled++] = value;
            value = 0;
            state = 0;
            if (filled === numbers.length) {
              this.#at = at;
              flush();
            }
            if (byte === closing) {
              this.#at = at + 1;
              break scan;
            }
          } else if (byte <= 0x20) {
            if (state === 1) state = 2;
          } else {
            this.#at = at;
            this.fail(`${name}: expected a number`);
          }
        }
        this.#at = length;
        await this.#more();
      }
    }
    const found = before + filled;
    if (rows !== undefined && found !== numberMax) {
      this.fail(`${name}: ${found} numbers, ${numberMax} announced`);
    }
    if (found % width !== 0) this.fail(`${name}: ${found} numbers, not a multiple of ${width}`);
    flush();
    return found / width;
  }

  /** An array of texts; their bytes are kept as they stand. */
  async texts(): Promise<TextPool> {
    const pool = createTextPool();
    await this.expect("[");
    if ((await this.#peek()) === closing) {
      this.#at++;
      return pool;
    }
    do {
      if ((await this.#peek()) !== quote) this.fail("strings: expected a text");
      if (!this.#textHere(pool)) pool.add(await this.#rawText());
    } while ((await this.oneOf(",]")) === ",");
    return pool;
  }

  async text(): Promise<string> {
    if ((await this.#peek()) !== quote) this.fail("expected a text");
    return this.#parsed(
      Buffer.concat([Buffer.from('"'), await this.#rawText(), Buffer.from('"')]),
    ) as string;
  }

  /** A small value, by JSON.parse. */
  async value(): Promise<unknown> {
    const parts: Buffer[] = [];
    let length = 0;
    await this.skip((bytes) => {
      length += bytes.length;
      if (length > partBytesMax) this.fail(`a description of more than ${partBytesMax} bytes`);
      parts.push(Buffer.from(bytes));
    });
    return this.#parsed(Buffer.concat(parts));
  }

  /** Passes over a value of any size and depth without keeping it. */
  async skip(pass: (bytes: Uint8Array) => void = () => undefined): Promise<void> {
    const first = await this.#peek();
    let depth = 0;
    let inText = false;
    let escaped = false;
    for (;;) {
      const start = this.#at;
      const bytes = this.#bytes;
      for (let at = start; at < bytes.length; at++) {
        const byte = bytes[at] as number;
        let over = false;
        if (inText) {
          if (escaped) escaped = false;
          else if (byte === backslash) escaped = true;
          else if (byte === quote) {
            inText = false;
            over = depth === 0;
          }
        } else if (byte === quote) inText = true;
        else if (byte === 0x7b || byte === opening) depth++;
        else if (byte === 0x7d || byte === closing || (byte === comma && depth === 0)) {
          // A bare number or word ends in front of what follows it.
          if (depth === 0) {
            this.#at = at;
            if (first === byte) this.fail("expected a value");
            pass(bytes.subarray(start, at));
            return;
          }
          over = --depth === 0;
        }
        if (!over) continue;
        this.#at = at + 1;
        pass(bytes.subarray(start, at + 1));
        return;
      }
      pass(bytes.subarray(start));
      this.#at = bytes.length;
      await this.#more();
    }
  }

  /** Numbers and brackets of nested arrays, one by one: however deep, nothing is held. */
  async nested(
    name: string,
    visit: { number(value: number): void; open(): void; close(): void },
  ): Promise<void> {
    await this.expect("[");
    let depth = 1;
    let value = -1;
    const endNumber = (): void => {
      if (value >= 0) visit.number(value);
      value = -1;
    };
    for (;;) {
      const bytes = this.#bytes;
      for (let at = this.#at; at < bytes.length; at++) {
        const byte = bytes[at] as number;
        const digit = byte - 0x30;
        if (digit >= 0 && digit <= 9) {
          value = (value < 0 ? 0 : value) * 10 + digit;
          continue;
        }
        endNumber();
        if (byte === opening) {
          depth++;
          visit.open();
        } else if (byte === closing) {
          if (--depth === 0) {
            this.#at = at + 1;
            return;
          }
          visit.close();
        } else if (byte !== comma && byte > 0x20) {
          this.#at = at;
          this.fail(`${name}: expected a number or a list`);
        }
      }
      this.#at = bytes.length;
      await this.#more();
    }
  }

  #parsed(raw: Buffer): unknown {
    try {
      return JSON.parse(raw.toString("utf8"));
    } catch {
      return this.fail("no JSON before this place");
    }
  }

  /** Takes the text that begins here, if it ends in this chunk. */
  #textHere(pool: TextPool): boolean {
    const bytes = this.#bytes;
    for (let at = this.#at + 1; at < bytes.length; at++) {
      const byte = bytes[at] as number;
      if (byte === backslash) at++;
      else if (byte === quote) {
        pool.add(bytes.subarray(this.#at + 1, at));
        this.#at = at + 1;
        return true;
      }
    }
    return false;
  }

  /** The bytes of the text that begins here, without its quotes. */
  async #rawText(): Promise<Buffer> {
    const parts: Buffer[] = [];
    let escaped = false;
    this.#at++;
    for (;;) {
      const start = this.#at;
      const bytes = this.#bytes;
      for (let at = start; at < bytes.length; at++) {
        const byte = bytes[at] as number;
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) {
          this.#at = at + 1;
          parts.push(Buffer.from(bytes.subarray(start, at)));
          return Buffer.concat(parts);
        }
      }
      parts.push(Buffer.from(bytes.subarray(start)));
      this.#at = bytes.length;
      await this.#more();
    }
  }

  /** The next byte that is no white space. */
  async #peek(): Promise<number> {
    for (;;) {
      for (; this.#at < this.#bytes.length; this.#at++) {
        const byte = this.#bytes[this.#at] as number;
        if (byte > 0x20) return byte;
      }
      await this.#more();
    }
  }

  async #more(): Promise<void> {
    if (!(await this.#next())) this.fail("the snapshot ends here: it is cut");
  }

  async #next(): Promise<boolean> {
    this.#offsetOfBytes += this.#bytes.length;
    this.#at = 0;
    this.#bytes = new Uint8Array(0);
    const { value, done } = await this.#chunks.next();
    if (done === true) return false;
    this.#bytes = value as Uint8Array;
    return true;
  }
}
