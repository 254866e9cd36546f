/** Leaks and churns between three dumps of itself, and says its own numbers: argv[2] is the folder. */
import { join } from "node:path";
import { dump } from "../../src/capture/producer.js";

class LeakedSession {
  constructor(readonly number: number) {}
}
class ChurnedRequest {
  constructor(readonly number: number) {}
}

const leaked: LeakedSession[] = [];
let churned: ChurnedRequest[] = [];
const folder = process.argv[2] ?? "";
const numbers: Record<string, { leaked: number; churned: number }> = {};

for (const [name, count] of [
  ["A", 100],
  ["B", 500],
  ["C", 300],
] as const) {
  churned = Array.from({ length: 3_000 }, (_, number) => new ChurnedRequest(number));
  for (let number = 0; number < count; number++) leaked.push(new LeakedSession(number));
  await dump({ file: join(folder, `${name}.json`) });
  numbers[name] = { leaked: leaked.length, churned: churned.length };
}
process.stdout.write(`${JSON.stringify(numbers)}\n`);
