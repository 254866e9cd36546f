import { parseArgs, type ParseArgsConfig } from "node:util";
import { HeapdumpError } from "../../src/errors.js";

type Options = NonNullable<ParseArgsConfig["options"]>;

/**
 * Parses a command line strictly.
 *
 * @throws {HeapdumpError} `usage/bad-option` on an unknown option or a missing value: `util.parseArgs` throws a
 * plain TypeError, which would tell the user that the fault is ours.
 */
export function parseOptions<const T extends Options>(
  argv: readonly string[],
  options: T,
): ReturnType<
  typeof parseArgs<{ args: string[]; options: T; allowPositionals: true; strict: true }>
> {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    if (error instanceof TypeError) {
      throw new HeapdumpError("usage/bad-option", firstSentence(error.message), { cause: error });
    }
    throw error;
  }
}

/**
 * The option's value as a whole number between the bounds, or undefined where it was not given.
 *
 * @throws {HeapdumpError} `usage/bad-option` on anything else
 */
export function wholeNumber(
  name: string,
  value: string | undefined,
  bounds: { min: number; max: number },
): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < bounds.min || number > bounds.max) {
    throw new HeapdumpError(
      "usage/bad-option",
      `--${name}: expected a whole number from ${bounds.min} to ${bounds.max}, found "${value.slice(0, 60)}"`,
    );
  }
  return number;
}

function firstSentence(message: string): string {
  const sentence = message.split(". ")[0] ?? message;
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
