/**
 * Makes a V8 snapshot of about 12 million nodes, 42 million edges and more than 1 GB, the same shape each time:
 *
 *     node --max-old-space-size=6000 bench/make-snapshot.mjs FILE [ORDERS]
 *
 * Each order is four nodes: itself, its list, the list's backing store, a line. Orders hang in customers' chains.
 */
import { writeHeapSnapshot } from "node:v8";

class Line {
  constructor(order, product) {
    this.order = order;
    this.product = product;
  }
}
class Order {
  constructor(number, customer, before, product) {
    this.number = number;
    this.customer = customer;
    this.before = before;
    this.lines = [new Line(this, product)];
  }
}
class Customer {
  constructor(number) {
    this.name = `customer ${number}`;
    this.last = undefined;
  }
}

const [file, orderCount = "3000000"] = process.argv.slice(2);
const products = Array.from({ length: 1000 }, (_, number) => ({ sku: `product ${number}` }));
const customers = Array.from({ length: 20_000 }, (_, number) => new Customer(number));
for (let number = 0; number < Number(orderCount); number++) {
  const customer = customers[(number * 7919) % customers.length];
  customer.last = new Order(number, customer, customer.last, products[number % 1000]);
}
globalThis.shop = { customers, products };
writeHeapSnapshot(file);
